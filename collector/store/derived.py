"""Everything derived, thrown away and written anew from the facts."""

from collections.abc import AsyncIterator, Container, Iterable
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
    FROM tieout.standing_event e) e
WHERE choice = 1 GROUP BY document, type
"""

_REVISED_ALL = """
INSERT INTO tieout.revised
SELECT event_id FROM tieout.event GROUP BY event_id HAVING count(*) > 1 AND count(DISTINCT revision) > 1
"""


class DocumentFacts(msgspec.Struct):
    """What the events say of one document: its name, months and references (role, kind, scope, value).

    Those of standing events count, each with the first batch that ever said so. Where none stands, the document has no
    reference, and `stands` is False.
    """

    document: int
    name: tuple[str, str, str]
    first_month: date
    last_month: date
    references: dict[tuple[int, str, str, str], int]
    stands: bool = False


_EVENTS = """
SELECT e.document, e.batch, e.month, e.body, NOT EXISTS (
    SELECT FROM tieout.supersession x
    WHERE (x.event_id, x.revision_no, x.month) = (e.event_id, e.revision_no, e.month)) AS stands
FROM {} JOIN tieout.batch b ON b.id = e.batch ORDER BY e.document, b.seq
"""
_OF_ALL = _EVENTS.format("tieout.event e")
_OF_SOME = _EVENTS.format(
    "unnest($1::bigint[]) asked JOIN tieout.document d ON d.id = asked CROSS JOIN LATERAL (SELECT * FROM tieout.event e"
    " WHERE e.document = d.id AND e.month >= d.first_month AND e.month <= d.last_month) e"
)


async def documents(
    conn: Connection, only: Iterable[int] | None = None
) -> AsyncIterator[DocumentFacts]:
    """Read events, document by document: of all documents, or of some."""
    query, arguments = (_OF_ALL, []) if only is None else (_OF_SOME, [list(only)])
    decode = msgspec.json.Decoder(type=dict[str, Any]).decode
    current: DocumentFacts | None = None
    told: set[tuple[int, str, str, str]] = set()
    async for row in conn.cursor(query, *arguments, prefetch=FETCH_ROWS):
        body = decode(row["body"])
        if current is None or current.document != row["document"]:
            if current is not None:
                yield _standing(current, told)
            current = DocumentFacts(
                row["document"], tuple(body["document"]), row["month"], row["month"], {}
            )
            told = set()
        current.first_month = min(current.first_month, row["month"])
        current.last_month = max(current.last_month, row["month"])
        current.stands = current.stands or row["stands"]
        for role, (kind, scope, value) in ((0, current.name), *body.get("references", ())):
            current.references.setdefault((role, kind, scope, value), row["batch"])
            if row["stands"]:
                told.add((role, kind, scope, value))
    if current is not None:
        yield _standing(current, told)


def _standing(facts: DocumentFacts, told: Container[tuple[int, str, str, str]]) -> DocumentFacts:
    """Leave out the references that no standing event tells, except the document's own name."""
    facts.references = {
        key: batch for key, batch in facts.references.items() if key in told or key[0] == 0
    }
    return facts


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
