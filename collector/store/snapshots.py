"""Lists that were read whole: what the next one of a list lacks is gone.

Which rows are gone or there again is nowhere stored: it follows from the whole lists, in whatever order they were read.
"""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

from collector.store.ingest import Connection


class Whole(NamedTuple):
    """A list that was read whole: one of its rows, which tells the instant, and how many there are.

    `refused` is the content of rows that are in quarantine: it is whole once all of them are replayed.
    """

    event_id: bytes
    month: date
    rows: int
    refused: Sequence[bytes] = ()


async def enter(conn: Connection, batch: int, whole: Whole) -> None:
    """Enter that a list was read whole; it ended with this batch."""
    await conn.execute(
        "INSERT INTO tieout.snapshot VALUES ($1, $2, $3, $4, $5)",
        batch,
        UUID(bytes=whole.event_id),
        whole.month,
        whole.rows,
        [UUID(bytes=content) for content in whole.refused],
    )


async def begins_anew(conn: Connection, stream: int, part: int) -> bool:
    """Tell whether a part's last reading did not come to its end: a list is read whole or again."""
    return bool(
        await conn.fetchval(
            "SELECT coalesce(ending NOT IN ('intact', 'broken'), true) FROM tieout.batch"
            " WHERE stream = $1 AND part = $2 ORDER BY seq DESC LIMIT 1",
            stream,
            part,
        )
    )
