"""Open items of both sides of a link rule and the pairs among them, found by an index; in one snapshot.

The items lie in a temporary table until the transaction ends.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from asyncpg.pgproto.pgproto import UUID

from collector.store.ingest import Connection

FETCH_ROWS = 10_000

_TABLE = """
DROP TABLE IF EXISTS link_item;
CREATE TEMPORARY TABLE link_item (
    side text, document bigint, component bigint, content_id uuid, at timestamptz, entity text, key text[],
    texts text[]) ON COMMIT DROP
"""

# $1 side, $2 event types, $3 kinds of documents, $4 sources, $5 fields that must be equal, $6 texts
_ITEMS = """
INSERT INTO link_item
SELECT $1, document, component, content_id, occurred_at, entity,
       CASE WHEN array_position(key, NULL) IS NULL THEN key END, texts
FROM (
    SELECT e.*,
           ARRAY(SELECT tieout.link_field(f, e.amount_minor, e.currency, e.entity, e.body, e.fields)
                 FROM unnest($5::text[]) WITH ORDINALITY u(f, n) ORDER BY n) AS key,
           ARRAY(SELECT tieout.link_field(f, e.amount_minor, e.currency, e.entity, e.body, e.fields)
                 FROM unnest($6::text[]) WITH ORDINALITY u(f, n) ORDER BY n) AS texts
    FROM (
        SELECT DISTINCT ON (e.document) e.document, d.content_id, e.occurred_at, e.amount_minor, e.currency, e.entity,
               e.body, p.fields,
               CASE WHEN u.component IS NULL THEN d.component ELSE -d.id END AS component
        FROM tieout.event e JOIN tieout.document d ON d.id = e.document
        JOIN tieout.batch b ON b.id = e.batch JOIN tieout.stream s ON s.id = b.stream
        LEFT JOIN tieout.suspended u ON u.component = d.component
        LEFT JOIN tieout.personal p ON p.event_id = e.event_id AND p.revision_no = e.revision_no
        WHERE (e.type = ANY ($2) OR d.kind = ANY ($3)) AND ($4::text[] = '{}' OR s.source = ANY ($4))
        ORDER BY e.document, e.amount_minor IS NULL, e.occurred_at DESC, e.sequence DESC NULLS LAST, e.event_id DESC,
                 e.revision DESC) e) e
"""

_TOLD = """
UPDATE link_item i SET component = t.label
FROM unnest($1::bigint[], $2::bigint[]) t(document, label) WHERE i.document = t.document AND i.component > 0
"""

# What sources or persons joined with a document of the other side has found its counterpart.
_CLOSE = """
UPDATE link_item i SET key = NULL FROM link_item o WHERE o.component = i.component AND o.side <> i.side
"""

_INDEX = "CREATE INDEX ON link_item (side, key, at); ANALYZE link_item"

# $1 by how long right may come before left, $2 after, $3 one more candidate than is looked at
_PAIRS = """
SELECT l.key, l.document, l.content_id, l.at, l.entity, l.texts, r.document, r.content_id, r.at, r.entity, r.texts
FROM link_item l CROSS JOIN LATERAL (
    SELECT * FROM link_item r
    WHERE r.side = 'right' AND r.key = l.key AND r.at BETWEEN l.at - $1::interval AND l.at + $2::interval
    LIMIT $3) r
WHERE l.side = 'left' AND l.key IS NOT NULL
ORDER BY l.key, l.content_id, r.content_id
"""

_LINKED = """
SELECT l.content_id, r.content_id, l.component = r.component
FROM tieout.link_standing d JOIN tieout.link_evidence e ON e.decision = d.id AND e.automatic
JOIN link_item l ON l.side = 'left' AND l.content_id IN (d.document, d.other)
JOIN link_item r ON r.side = 'right' AND r.content_id IN (d.document, d.other) AND r.content_id <> l.content_id
"""


class Wanted(NamedTuple):
    """What a side of a rule looks for, and by which fields."""

    events: Sequence[str]
    documents: Sequence[str]
    sources: Sequence[str]
    equal: Sequence[str]
    texts: Sequence[str]


class Item(NamedTuple):
    """A document on one side: its number and content id, and what its event says."""

    document: int
    id: bytes
    at: datetime
    entity: str | None
    texts: tuple[str | None, ...]


async def gather(conn: Connection, left: Wanted, right: Wanted, told: Mapping[int, int]) -> None:
    """Find the open items of both sides; call it inside a transaction.

    `told` gives the components of documents as they would be without the links that rules made.
    """
    await conn.execute(_TABLE)
    for side, wanted in (("left", left), ("right", right)):
        await conn.execute(_ITEMS, side, *map(list, wanted))
    if told:
        await conn.execute(_TOLD, list(told.keys()), list(told.values()))
    await conn.execute(_CLOSE)
    await conn.execute(_INDEX)


class Linked(NamedTuple):
    """A pair that a rule linked before; `confirmed`: by now sources or persons join the two as well."""

    left: bytes
    right: bytes
    confirmed: bool


async def linked(conn: Connection) -> list[Linked]:
    """Return the links that rules made between the items of both sides, open or not."""
    found = await conn.fetch(_LINKED)
    return [Linked(left.bytes, right.bytes, confirmed) for left, right, confirmed in found]


async def pairs(
    conn: Connection, before: timedelta, after: timedelta, most: int
) -> AsyncIterator[tuple[list[str], Item, Item]]:
    """Yield (equal fields, left, right) of all pairs within the window, those with equal fields together.

    Of a left item with more than `most` candidates `most + 1` are given, whichever.
    """
    async for row in conn.cursor(_PAIRS, before, after, most + 1, prefetch=FETCH_ROWS):
        key, *fields = row
        yield key, _item(*fields[:5]), _item(*fields[5:])


def _item(
    document: int, content: UUID, at: datetime, entity: str | None, texts: list[str | None]
) -> Item:
    return Item(document, content.bytes, at, entity, tuple(texts))
