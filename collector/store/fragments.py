"""Names by a part of them: the index behind the facts, and the search that uses it."""

from collections.abc import Sequence

import asyncpg

from collector.model.reference import LINK
from collector.store.ingest import Connection
from collector.store.stories import at

BATCHES = 20
"""Batches whose names become searchable in one transaction: some seconds' work where they are full."""

NAMES_MAX = 1_000
"""Names that contain a fragment, of which the shortest are shown: a fragment in more of them tells nothing."""

# $1 up to which commit it is done, $2 up to which it is to be. Names that nothing tells any more were told once. With `=` the
# planner could search the trigrams for each of them, which takes milliseconds a name.
_ADD = """
INSERT INTO tieout.searchable_name
SELECT DISTINCT r.value_hash, lower(r.value) FROM tieout.naming r
WHERE r.batch IN (SELECT id FROM tieout.batch WHERE seq > $1 AND seq <= $2)
  AND r.batch BETWEEN (SELECT min(id) FROM tieout.batch WHERE seq > $1 AND seq <= $2)
                  AND (SELECT max(id) FROM tieout.batch WHERE seq > $1 AND seq <= $2)
  AND r.kind <> $3 AND NOT EXISTS (SELECT FROM tieout.searchable_name s
                                   WHERE s.value_hash = r.value_hash AND s.folded IS NOT DISTINCT FROM lower(r.value))
"""

# The shortest first, and no more looked up than are shown: one name may be held by many documents.
_FIND = """
SELECT r.* FROM (
    SELECT DISTINCT length(folded), folded, value_hash FROM tieout.names_with($1, $4) ORDER BY 1, 2, 3) n
CROSS JOIN LATERAL (
    SELECT r.kind, r.scope, r.value, r.role, p.component, d.content_id, d.kind AS document_kind
    FROM tieout.naming r JOIN tieout.document d ON d.id = r.document
    JOIN tieout.batch b ON b.id = r.batch AND b.seq <= $3
    JOIN tieout.placement p ON p.document = r.document AND p.known_from <= $3 AND p.known_to > $3
    WHERE r.value_hash = n.value_hash AND lower(r.value) = n.folded AND r.known_to > $3 AND r.kind <> $5
    ORDER BY r.role LIMIT $2) r
LIMIT $2
"""


async def extend(conn: Connection) -> int:
    """Make the names of the next batches searchable; return of how many: fewer than BATCHES when all are.

    One does it at a time; whoever else tries has nothing to do.
    """
    async with conn.transaction():
        upto = await conn.fetchval("SELECT upto FROM tieout.searchable FOR UPDATE SKIP LOCKED")
        if upto is None:
            return 0
        found = await conn.fetch(
            "SELECT seq FROM tieout.batch WHERE seq > $1 ORDER BY seq LIMIT $2", upto, BATCHES
        )
        if found:
            await conn.execute(_ADD, upto, found[-1]["seq"], LINK)
            await conn.execute("UPDATE tieout.searchable SET upto = $1", found[-1]["seq"])
    return len(found)


async def find(
    conn: Connection, fragment: str, most: int, seq: int | None
) -> Sequence[asyncpg.Record]:
    """Return at most `most` references, known at commit `seq` or now, whose value contains a fragment, in any case; the shortest first.

    Where more than NAMES_MAX values contain it, those are of so many, whichever they are.
    """
    found: Sequence[asyncpg.Record] = await conn.fetch(
        _FIND, fragment, most, at(seq), NAMES_MAX, LINK
    )
    return found
