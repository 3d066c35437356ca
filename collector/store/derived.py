"""Everything derived, thrown away and written anew from the facts."""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import date
from typing import Any

import msgspec

from collector.store.ingest import Connection

FETCH_ROWS = 10_000

_FOLD_ALL = """
INSERT INTO tieout.step (document, type, first_at, last_at, n, seen, amount_minor, currency)
SELECT document, type, min(occurred_at), max(occurred_at), count(*)::int, bit_or(tieout.event_bit(event_id)),
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


Key = tuple[int, str, str, str]
"""A reference: role, kind, scope, value."""

Span = tuple[int, int, int]
"""From which commit up to which an event stands, and its batch."""

NOW = 2**63 - 1


class DocumentFacts(msgspec.Struct):
    """What the events say of one document: its name, months and references.

    Those that standing events tell, each with the batch since which some event always told it. Where none stands, there
    are none.
    """

    document: int
    name: tuple[str, str, str]
    months: set[date]
    references: dict[Key, int]

    @property
    def stands(self) -> bool:
        """Whether an event of it stands."""
        return (0, *self.name) in self.references


_EVENTS = """
SELECT e.document, e.batch, e.month, e.body, b.seq, coalesce(x.seq, {}) AS until
FROM {} JOIN tieout.batch b ON b.id = e.batch
LEFT JOIN tieout.supersession x ON (x.event_id, x.revision_no, x.month) = (e.event_id, e.revision_no, e.month)
{} ORDER BY e.document
"""
_OF_ALL = _EVENTS.format(NOW, "tieout.event e", "")
_OF_SOME = _EVENTS.format(
    NOW,
    "tieout.document d CROSS JOIN LATERAL (SELECT * FROM tieout.event e WHERE e.document = d.id"
    " AND e.month >= d.first_month AND e.month <= d.last_month) e",
    "WHERE d.id = ANY ($1)",
)


async def documents(
    conn: Connection, only: Iterable[int] | None = None
) -> AsyncIterator[DocumentFacts]:
    """Read events, document by document: of all documents, or of some."""
    query, arguments = (_OF_ALL, []) if only is None else (_OF_SOME, [list(only)])
    decode = msgspec.json.Decoder(type=dict[str, Any]).decode
    current: DocumentFacts | None = None
    told: dict[Key, list[Span]] = {}
    async for row in conn.cursor(query, *arguments, prefetch=FETCH_ROWS):
        body = decode(row["body"])
        if current is None or current.document != row["document"]:
            if current is not None:
                yield _standing(current, told)
            current = DocumentFacts(row["document"], tuple(body["document"]), set(), {})
            told = {}
        current.months.add(row["month"])
        span = row["seq"], row["until"], row["batch"]
        for role, (kind, scope, value) in ((0, current.name), *body.get("references", ())):
            told.setdefault((role, kind, scope, value), []).append(span)
    if current is not None:
        yield _standing(current, told)


def _standing(facts: DocumentFacts, told: Mapping[Key, list[Span]]) -> DocumentFacts:
    """Give a document the references that are told now."""
    for key, spans in told.items():
        if (batch := told_since(spans)) is not None:
            facts.references[key] = batch
    return facts


def told_since(spans: Iterable[Span]) -> int | None:
    """Return the batch since which at least one event always stood; None where none does now."""
    since, found = NOW, None
    for seq, until, batch in sorted(spans, reverse=True):
        if until >= since:
            since, found = seq, batch
    return found


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
