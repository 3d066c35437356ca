"""Open items of both sides of a link rule and the pairs among them, found by an index; in one snapshot.

The items lie in a temporary table until the transaction ends.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from collector.store.ingest import Connection

FETCH_ROWS = 10_000
CHUNK_PAIRS = 50_000
"""Whole buckets are handed on as soon as they hold so many pairs."""

_TABLE = """
SET LOCAL jit = off;
DROP TABLE IF EXISTS link_item;
CREATE TEMPORARY TABLE link_item (
    side text, document bigint, component bigint, content_id uuid, at timestamptz, entity text, key text[],
    bucket bigint, texts text[]) ON COMMIT DROP;
CREATE INDEX ON link_item (side, bucket, at);
CREATE INDEX ON link_item (document)
"""
"""The indexes come first: one that is made after an update cannot be used before its transaction ends."""

# $1 side, $2 event types, $3 kinds of documents, $4 sources; the fields that must be equal and the texts are
# expressions over e.
_ITEMS = """
INSERT INTO link_item
SELECT $1, document, component, content_id, occurred_at, entity,
       CASE WHEN array_position(key, NULL) IS NULL THEN key END, hashtextextended(key::text, 0), texts
FROM (
    SELECT e.*, ARRAY[{equal}]::text[] AS key, ARRAY[{texts}]::text[] AS texts
    FROM (
        SELECT DISTINCT ON (e.document) e.document, d.content_id, e.occurred_at, e.amount_minor, e.currency, e.entity,
               e.body, coalesce(p.fields, '{{}}') AS fields,
               CASE WHEN u.component IS NULL THEN d.component ELSE -d.id END AS component
        FROM tieout.standing_event e JOIN tieout.document d ON d.id = e.document
        JOIN tieout.batch b ON b.id = e.batch JOIN tieout.stream s ON s.id = b.stream
        LEFT JOIN tieout.suspended u ON u.component = d.component
        LEFT JOIN tieout.personal p ON p.event_id = e.event_id AND p.revision_no = e.revision_no
        WHERE (e.type = ANY ($2) OR d.kind = ANY ($3)) AND ($4::text[] = '{{}}' OR s.source = ANY ($4))
        ORDER BY e.document, e.amount_minor IS NULL, e.occurred_at DESC, e.sequence DESC NULLS LAST, e.event_id DESC,
                 e.revision DESC) e) e
"""
_COLUMNS = {
    "amount": "e.amount_minor",
    "-amount": "-e.amount_minor",
    "currency": "e.currency",
    "entity": "e.entity",
}
_OF_BODY = "coalesce(e.fields ->> '{name}', e.body #>> '{{{path}}}')"
_OF_REFERENCES = (
    "(SELECT min(r #>> '{{1,2}}') FROM jsonb_array_elements(e.body -> 'references') r"
    " WHERE r #>> '{{1,0}}' = '{name}')"
)

_TOLD = """
UPDATE link_item i SET component = t.label
FROM unnest($1::bigint[], $2::bigint[]) t(document, label) WHERE i.document = t.document AND i.component > 0
"""

# What sources or persons joined with a document of the other side has found its counterpart.
_CLOSE = """
UPDATE link_item i SET key = NULL FROM link_item o WHERE o.component = i.component AND o.side <> i.side
"""

# $1 by how long right may come before left, $2 after, $3 one more candidate than is looked at. A bucket holds all
# pairs with the same key, and is often that of no other.
_PAIRS = """
SELECT l.bucket, l.document, r.document
FROM link_item l CROSS JOIN LATERAL (
    SELECT r.document FROM link_item r
    WHERE r.side = 'right' AND r.bucket = l.bucket AND r.key = l.key
      AND r.at BETWEEN l.at - $1::interval AND l.at + $2::interval
    LIMIT $3) r
WHERE l.side = 'left' AND l.key IS NOT NULL
ORDER BY l.bucket
"""

_FETCH = """
SELECT document, content_id, at, entity, texts FROM link_item WHERE document = ANY ($1)
"""

_LINKED = """
WITH made AS (
    SELECT d.document, d.other, e.score FROM tieout.link_standing d
    JOIN tieout.link_evidence e ON e.decision = d.id AND e.automatic)
SELECT l.content_id, r.content_id, l.component = r.component, d.score
FROM (SELECT * FROM made UNION ALL SELECT other, document, score FROM made) d
JOIN link_item l ON l.side = 'left' AND l.content_id = d.document
JOIN link_item r ON r.side = 'right' AND r.content_id = d.other
"""


class Wanted(NamedTuple):
    """What a side of a rule looks for, and by which fields."""

    events: Sequence[str]
    documents: Sequence[str]
    sources: Sequence[str]
    equal: Sequence[str]
    texts: Sequence[str]


class Item(NamedTuple):
    """A document on one side: its content id, and what its event says."""

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
        fields = {
            name: ", ".join(map(_expression, getattr(wanted, name))) for name in ("equal", "texts")
        }
        asked = list(wanted.events), list(wanted.documents), list(wanted.sources)
        await conn.execute(_ITEMS.format(**fields), side, *asked)
    if told:
        await conn.execute(_TOLD, list(told.keys()), list(told.values()))
    await conn.execute(_CLOSE)
    await conn.execute("ANALYZE link_item")


def _expression(field: str) -> str:
    """Write a field of an event in SQL: its name is one that the settings let pass, letters, digits and _."""
    group, _, name = field.partition(".")
    if group == "references":
        return _OF_REFERENCES.format(name=name)
    return _COLUMNS.get(field) or _OF_BODY.format(name=name or group, path=field.replace(".", ","))


async def last_told(conn: Connection) -> int:
    """Return the last commit that can change what rules link: not one of a control run, nor of a match."""
    found = await conn.fetchval(
        "SELECT seq FROM tieout.commit_log WHERE what NOT IN ('control run', 'link match') ORDER BY seq DESC LIMIT 1"
    )
    return int(found or 0)


class Linked(NamedTuple):
    """A pair that a rule linked before, with this score; `confirmed`: by now sources or persons join the two as well."""

    left: bytes
    right: bytes
    confirmed: bool
    score: int


async def linked(conn: Connection) -> list[Linked]:
    """Return the links that rules made between the items of both sides, open or not."""
    found = await conn.fetch(_LINKED)
    return [Linked(left.bytes, right.bytes, *rest) for left, right, *rest in found]


async def pairs(
    conn: Connection, before: timedelta, after: timedelta, most: int
) -> AsyncIterator[tuple[list[list[tuple[int, int]]], dict[int, Item]]]:
    """Yield pairs within the window as (left, right) by document, in buckets, and the items that they name.

    All pairs with equal fields are in one bucket. Of a left item with more than `most` candidates
    `most + 1` are given, whichever.
    """
    buckets: list[list[tuple[int, int]]] = []
    last, n = None, 0
    async for bucket, left, right in conn.cursor(
        _PAIRS, before, after, most + 1, prefetch=FETCH_ROWS
    ):
        if bucket != last:
            if n >= CHUNK_PAIRS:
                yield buckets, await _items(conn, buckets)
                buckets, n = [], 0
            buckets.append([])
            last = bucket
        buckets[-1].append((left, right))
        n += 1
    yield buckets, await _items(conn, buckets)


async def _items(conn: Connection, buckets: Iterable[Iterable[tuple[int, int]]]) -> dict[int, Item]:
    wanted = {document for bucket in buckets for pair in bucket for document in pair}
    return {
        document: Item(content.bytes, at, entity, tuple(texts))
        for document, content, at, entity, texts in await conn.fetch(_FETCH, list(wanted))
    }
