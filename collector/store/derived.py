"""Everything derived, thrown away and written anew from the facts."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import msgspec

from collector.store.ingest import Connection

FETCH_ROWS = 10_000

_FOLD_ALL = """
INSERT INTO tieout.step (document, type, first_at, last_at, n, amount_minor, currency)
SELECT document, type, min(occurred_at), max(occurred_at), count(*)::int,
       (array_agg(amount_minor ORDER BY occurred_at DESC, sequence DESC NULLS LAST, event_id DESC))[1],
       (array_agg(currency ORDER BY occurred_at DESC, sequence DESC NULLS LAST, event_id DESC))[1]
FROM (
    SELECT e.*, row_number() OVER (PARTITION BY e.document, e.type, e.event_id
               ORDER BY e.occurred_at DESC, e.sequence DESC NULLS LAST, e.revision DESC) AS choice
    FROM tieout.event e) e
WHERE choice = 1 GROUP BY document, type
"""

_REVISED_ALL = """
INSERT INTO tieout.revised SELECT event_id FROM tieout.event GROUP BY event_id HAVING count(*) > 1
"""


class DocumentFacts(msgspec.Struct):
    """What the events say of one document: its name, months and references (role, kind, scope, value)."""

    document: int
    name: tuple[str, str, str]
    first_month: date
    last_month: date
    references: dict[tuple[int, str, str, str], int]  # with the first batch that said so


async def documents(conn: Connection) -> AsyncIterator[DocumentFacts]:
    """Read all events, document by document."""
    decode = msgspec.json.Decoder(type=dict[str, Any]).decode
    current: DocumentFacts | None = None
    async for row in conn.cursor(
        "SELECT e.document, e.batch, e.month, e.body FROM tieout.event e JOIN tieout.batch b ON b.id = e.batch"
        " ORDER BY e.document, b.seq",
        prefetch=FETCH_ROWS,
    ):
        body = decode(row["body"])
        if current is None or current.document != row["document"]:
            if current is not None:
                yield current
            current = DocumentFacts(
                row["document"], tuple(body["document"]), row["month"], row["month"], {}
            )
        current.first_month = min(current.first_month, row["month"])
        current.last_month = max(current.last_month, row["month"])
        for role, (kind, scope, value) in body.get("references", ()):
            current.references.setdefault((role, kind, scope, value), row["batch"])
        current.references.setdefault((0, *current.name), row["batch"])
    if current is not None:
        yield current


async def placements(conn: Connection) -> dict[int, tuple[int, int]]:
    """Return {document: (component, known from)} as stored."""
    found = await conn.fetch("SELECT id, component, known_from FROM tieout.document")
    return {row["id"]: (row["component"], row["known_from"]) for row in found}


async def clear(conn: Connection) -> None:
    """Throw away what is derived, but for memberships and suspensions: what was known of them is history."""
    for table in ("document", "reference", "step", "revised"):
        await conn.execute(f"DELETE FROM tieout.{table}")  # noqa: S608 -- names of our own


async def fold_all(conn: Connection) -> None:
    """Compute all steps, and which events have several revisions."""
    await conn.execute(_FOLD_ALL)
    await conn.execute(_REVISED_ALL)
