"""Why documents belong to one transaction: the names they hold, who told them, and when that changed."""

from collections.abc import Sequence

import asyncpg

from collector.store.ingest import Connection

_MEMBERS = """
SELECT d.id, d.content_id, d.component, d.kind, n.value AS number, s.component IS NOT NULL AS suspended
FROM tieout.document d
JOIN tieout.reference n ON n.document = d.id AND n.role = 0
LEFT JOIN tieout.suspended s ON s.component = d.component
WHERE d.component = $1 ORDER BY d.content_id LIMIT $2
"""

_NAMES = """
SELECT r.document, r.role, r.kind, r.scope, r.value, r.value_hash, r.name_hash, s.source, s.stream, b.part_name,
       l.recorded_at
FROM tieout.reference r
LEFT JOIN tieout.batch b ON b.id = r.batch
LEFT JOIN tieout.stream s ON s.id = b.stream
LEFT JOIN tieout.commit_log l ON l.seq = b.seq
WHERE r.document = ANY ($1) AND r.role IN (0, 1, 4)
ORDER BY r.kind, r.scope, r.value, r.document
"""

# Who left a transaction together with one of these documents, and where each of them went.
_MOVES = """
WITH left_at AS (
    SELECT DISTINCT component, known_to FROM tieout.membership_history WHERE document = ANY ($1))
SELECT a.component, a.known_to, l.recorded_at, l.what, n.kind, n.value AS number, d.content_id,
       coalesce((SELECT o.component FROM tieout.membership_history o
                 WHERE o.document = h.document AND o.known_from = a.known_to), d.component) AS went_to
FROM left_at a
JOIN tieout.membership_history h ON h.component = a.component AND h.known_to = a.known_to
JOIN tieout.commit_log l ON l.seq = a.known_to
JOIN tieout.document d ON d.id = h.document
JOIN tieout.reference n ON n.document = d.id AND n.role = 0
ORDER BY a.known_to, went_to, d.content_id
"""


async def members(conn: Connection, component: int, most: int) -> list[asyncpg.Record]:
    """Return the documents that are joined, at most so many."""
    found: list[asyncpg.Record] = await conn.fetch(_MEMBERS, component, most)
    return found


async def names(conn: Connection, documents: Sequence[int]) -> list[asyncpg.Record]:
    """Return the names that documents hold as their own, as identity or cut, each with who told it first."""
    found: list[asyncpg.Record] = await conn.fetch(_NAMES, documents)
    return found


async def moves(conn: Connection, documents: Sequence[int]) -> list[asyncpg.Record]:
    """Return the documents that left a transaction when one of these did, and where they went."""
    found: list[asyncpg.Record] = await conn.fetch(_MOVES, documents)
    return found
