"""Look-ups by key: whatever name a person has leads to the transaction's events."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from collector.model.reference import fold, value_hash
from collector.store.ingest import Connection

TRANSACTIONS_MAX = 10
"""More transactions than this are not told as stories but offered as candidates."""

CANDIDATES_MAX = 20

_STORY = """
SELECT hit.role, hit.value, d.component, d.id, d.content_id, d.kind, e.event_id, e.type, e.occurred_at,
       e.sequence, e.amount_minor, e.currency, e.entity, s.source, s.stream, s.namespace, e.body
FROM (SELECT min(r.role) AS role, min(r.value) AS value, d.component,
             CASE WHEN x.component IS NOT NULL THEN d.id END AS alone
      FROM tieout.reference r JOIN tieout.document d ON d.id = r.document
      LEFT JOIN tieout.suspended x ON x.component = d.component
      WHERE r.value_hash = $1 AND r.role <= $2 AND ($3::uuid IS NULL OR d.content_id = $3)
      GROUP BY d.component, CASE WHEN x.component IS NOT NULL THEN d.id END LIMIT $4) hit
JOIN tieout.document d ON d.component = hit.component AND (hit.alone IS NULL OR d.id = hit.alone)
CROSS JOIN LATERAL (SELECT * FROM tieout.standing_event e WHERE e.document = d.id
                    AND e.month >= d.first_month AND e.month <= d.last_month) e
JOIN tieout.batch b ON b.id = e.batch
JOIN tieout.stream s ON s.id = b.stream
"""

_LENT = """
SELECT n.document AS member, m.kind AS member_kind, g.id, g.content_id, g.kind, o.value AS number, e.event_id,
       e.type, e.occurred_at, e.sequence, e.amount_minor, e.currency, e.entity, s.source, s.stream, e.body
FROM tieout.reference n
JOIN tieout.document m ON m.id = n.document
JOIN tieout.reference o ON o.value_hash = n.value_hash AND o.role = 0
                       AND (o.kind, o.scope, o.value) = (n.kind, n.scope, n.value)
JOIN tieout.document g ON g.id = o.document
    AND (g.component <> m.component
         OR g.id <> m.id AND m.component IN (SELECT component FROM tieout.suspended))
CROSS JOIN LATERAL (SELECT * FROM tieout.standing_event e WHERE e.document = g.id
                    AND e.month >= g.first_month AND e.month <= g.last_month) e
JOIN tieout.batch b ON b.id = e.batch
JOIN tieout.stream s ON s.id = b.stream
WHERE n.document = ANY ($1) AND n.role = 2 AND n.kind = ANY ($2)
"""

_MEMBERS = """
SELECT DISTINCT own.kind, own.value, own.role, d.content_id, d.kind AS document_kind
FROM tieout.reference g
JOIN tieout.reference n ON n.value_hash = g.value_hash AND n.role = 2
                       AND (n.kind, n.scope, n.value) = (g.kind, g.scope, g.value)
JOIN tieout.document d ON d.id = n.document AND d.id <> g.document
JOIN tieout.reference own ON own.document = d.id AND own.role = 0
WHERE g.document = ANY ($1) AND g.role = 0
ORDER BY own.value, d.content_id LIMIT $2
"""

_CANDIDATES = """
SELECT r.kind, r.scope, r.value, r.role, d.component, d.content_id, d.kind AS document_kind
FROM tieout.reference r JOIN tieout.document d ON d.id = r.document
WHERE strpos(lower(r.value), lower($1)) > 0 ORDER BY r.role, length(r.value), r.value LIMIT $2
"""


async def events_by_key(conn: Connection, key: str) -> list[asyncpg.Record]:
    """Return the events of the transactions that a key names: any reference, or a document's id.

    A value held as identity goes before one that only links (group), and that before context. The
    events of at most TRANSACTIONS_MAX + 1 transactions are returned.
    """
    handle = _handle(key)
    if handle is not None:
        number = int.from_bytes(handle.bytes[:8], "big", signed=True)
        found: list[asyncpg.Record] = await conn.fetch(
            _STORY, number, 0, handle, TRANSACTIONS_MAX + 1
        )
        if found:
            return found
    number, folded = value_hash(key), fold(key)
    for role in (1, 2, 3):
        found = await conn.fetch(_STORY, number, role, None, TRANSACTIONS_MAX + 1)
        found = [row for row in found if fold(row["value"]) == folded]
        if found:
            return found
    return []


async def lent_events(
    conn: Connection, documents: Sequence[int], kinds: Sequence[str]
) -> list[asyncpg.Record]:
    """Return the events of the group documents of some kinds that documents of other transactions name.

    `member` is the document that names the group document; an event is there for each of them.
    """
    found: list[asyncpg.Record] = await conn.fetch(_LENT, documents, kinds)
    return found


async def members(conn: Connection, documents: Sequence[int]) -> list[asyncpg.Record]:
    """Return the documents that name one of some documents as a group, at most CANDIDATES_MAX + 1."""
    found: list[asyncpg.Record] = await conn.fetch(_MEMBERS, documents, CANDIDATES_MAX + 1)
    return found


def _handle(key: str) -> UUID | None:
    try:
        return UUID(key)
    except ValueError:
        return None


async def candidates(conn: Connection, fragment: str) -> Sequence[asyncpg.Record]:
    """Return references whose value contains a fragment, names first, at most CANDIDATES_MAX + 1."""
    found: Sequence[asyncpg.Record] = await conn.fetch(_CANDIDATES, fragment, CANDIDATES_MAX + 1)
    return found
