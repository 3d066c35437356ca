"""Sweeps: the keys that a source has today, noted for the length of one, and what was concluded from them.

A key is an event's id. What is noted lies in a temporary table, so that any number of keys needs no memory.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from collector.store import ingest
from collector.store.ingest import Connection

DOCUMENTS_SHOWN_MAX = 100

# $1 stream, $2 last commit before the sweep, $3 names of the parts that were listed whole, $4 since, $5 until, $6
# this commit, $7 whether the record of an event may be there while its id is not: then its document must be gone.
_DELETED = """
WITH last AS (SELECT DISTINCT ON (event_id) event_id, kind FROM tieout.deletion ORDER BY event_id, seq DESC),
gone AS (
    SELECT DISTINCT e.event_id, e.month FROM tieout.batch b JOIN tieout.standing_event e ON e.batch = b.id
    WHERE b.stream = $1 AND b.seq <= $2 AND b.part_name = ANY ($3)
      AND ($4::timestamptz IS NULL OR e.occurred_at >= $4) AND e.occurred_at < $5
      AND NOT EXISTS (SELECT FROM swept s WHERE s.event_id = e.event_id)
      AND NOT ($7 AND EXISTS (SELECT FROM tieout.standing_event o JOIN swept s ON s.event_id = o.event_id
                              WHERE o.document = e.document)))
INSERT INTO tieout.deletion (event_id, seq, month, kind)
SELECT g.event_id, $6, g.month, 'deleted' FROM gone g LEFT JOIN last l ON l.event_id = g.event_id
WHERE l.kind IS DISTINCT FROM 'deleted'
"""

_RETURNED = """
WITH last AS (SELECT DISTINCT ON (event_id) event_id, month, kind FROM tieout.deletion ORDER BY event_id, seq DESC)
INSERT INTO tieout.deletion (event_id, seq, month, kind)
SELECT l.event_id, $1, l.month, 'returned' FROM last l
WHERE l.kind = 'deleted' AND EXISTS (SELECT FROM swept s WHERE s.event_id = l.event_id)
"""

_DOCUMENTS = """
SELECT DISTINCT r.kind || ' ' || r.value AS named
FROM tieout.deletion d JOIN tieout.event e ON e.event_id = d.event_id AND e.month = d.month
JOIN tieout.reference r ON r.document = e.document AND r.role = 0
WHERE d.seq = $1 AND d.kind = 'deleted' ORDER BY named LIMIT $2
"""

_LAST = """
WITH k AS (SELECT read.seq_at($1) AS seq),
swept AS (
    SELECT DISTINCT ON (w.stream) w.stream, c.recorded_at, w.since, w.until, w.whole, w.remark
    FROM tieout.sweep w JOIN tieout.commit_log c ON c.seq = w.seq, k WHERE w.seq <= k.seq
    ORDER BY w.stream, w.seq DESC),
fact AS (
    SELECT DISTINCT ON (d.event_id) w.stream, d.kind FROM tieout.deletion d
    JOIN tieout.sweep w ON w.seq = d.seq, k WHERE d.seq <= k.seq ORDER BY d.event_id, d.seq DESC),
gone AS (SELECT stream, count(*) AS n FROM fact WHERE kind = 'deleted' GROUP BY stream)
SELECT s.source, s.stream, w.recorded_at AS at, w.since, w.until, w.whole, coalesce(g.n, 0) AS deleted, w.remark
FROM swept w JOIN tieout.stream s ON s.id = w.stream LEFT JOIN gone g ON g.stream = w.stream
"""


class Sweep(msgspec.Struct):
    """What a sweep concluded. `listed` counts the records that the source has today.

    `found` and `changed` count records that were read in: unknown ones, and known ones with other content.
    `deleted` and `returned` count events. Nothing is concluded to be deleted where `whole` is False: `remark`
    says why.
    """

    since: datetime | None
    until: datetime
    whole: bool = True
    listed: int = 0
    found: int = 0
    changed: int = 0
    deleted: int = 0
    returned: int = 0
    remark: str = ""


class Judged(NamedTuple):
    """The events that are judged: those that `parts` gave up to commit `before`.

    `by_document`: ids hold more than the records' keys, so that an event is gone only if its document is.
    """

    before: int
    parts: list[str]
    by_document: bool


class LastSweep(msgspec.Struct, frozen=True):
    """A stream's last sweep, and how many keys stand as deleted at the source since whenever."""

    at: datetime
    since: datetime | None
    until: datetime
    whole: bool
    deleted: int
    remark: str


async def begin(conn: Connection) -> None:
    """Make room for the keys of one sweep."""
    await conn.execute("DROP TABLE IF EXISTS swept; CREATE TEMPORARY TABLE swept (event_id uuid)")


async def note(conn: Connection, keys: Sequence[bytes]) -> None:
    """Note keys that the source has today."""
    await conn.copy_records_to_table(
        "swept", records=[(UUID(bytes=key),) for key in keys], columns=["event_id"]
    )


async def end(
    conn: Connection, stream: int, judged: Judged, sweep: Sweep, now: datetime
) -> tuple[Sweep, list[str]]:
    """Conclude a sweep and keep it; return it, with the first names of documents whose events are gone."""
    async with conn.transaction():
        await conn.execute("ANALYZE swept")
        seq = await ingest.lock(conn) + 1
        await ingest.append_commit(conn, seq, "sweep", now)
        gone = await conn.execute(
            _DELETED,
            stream,
            judged.before,
            judged.parts,
            sweep.since,
            sweep.until,
            seq,
            judged.by_document,
        )
        back = await conn.execute(_RETURNED, seq)
        sweep.deleted, sweep.returned = (int(done.split()[-1]) for done in (gone, back))
        await conn.execute(
            "INSERT INTO tieout.sweep VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            seq,
            stream,
            *msgspec.structs.astuple(sweep),
        )
        documents = [row["named"] for row in await conn.fetch(_DOCUMENTS, seq, DOCUMENTS_SHOWN_MAX)]
        await conn.execute("DROP TABLE swept")
    return sweep, documents


async def last(conn: Connection, as_known: datetime) -> dict[tuple[str, str], LastSweep]:
    """Return the last sweep of each stream (source, stream) that was swept, as known at K."""
    return {
        (row["source"], row["stream"]): LastSweep(*list(row.values())[2:])
        for row in await conn.fetch(_LAST, as_known)
    }
