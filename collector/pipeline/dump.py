"""Write the store's content as canonical JSON Lines (RFC 8785)."""

from collections.abc import AsyncIterator
from datetime import datetime

import msgspec

from collector.store import dumps
from collector.store.ingest import Connection

# Keys are ASCII words and numbers are integers below 2^53, for which sorting by bytes and this encoder's
# escapes are those of RFC 8785.
_canonical = msgspec.json.Encoder(order="sorted").encode


async def dump(
    conn: Connection, flows: list[str], as_of: datetime | None, as_known: datetime
) -> AsyncIterator[bytes]:
    """Yield the lines of a dump, in one snapshot."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        async for row in dumps.rows(conn, flows, as_of, as_known):
            yield _canonical(row)
