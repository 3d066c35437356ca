"""What lies open in quarantine, by defect: the records of a stream with one reason, field and shape."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from collector.store.ingest import Connection
from collector.store.quarantine import Wanted

# The id is the hash of what makes the group: it names the same defect on any day.
_GROUPS = """
WITH grouped AS MATERIALIZED (
    SELECT stream, reason, field, shape, count(*) AS records, min(id) AS first_id, max(id) AS last_id,
           min(seq) AS first_seq, max(seq) AS last_seq
    FROM tieout.quarantined($1) WHERE resolution IS NULL GROUP BY stream, reason, field, shape),
named AS (
    SELECT s.source, s.stream AS stream_name, g.*,
           left(md5(concat_ws(E'\\n', s.source, s.stream, g.reason, g.field, g.shape)), 8) AS id
    FROM grouped g JOIN tieout.stream s ON s.id = g.stream)
SELECT n.id, n.source, n.stream_name AS stream, n.reason, n.field, n.shape, n.records, f.recorded_at AS first_at,
       l.recorded_at AS last_at,
       (SELECT sum(b.read) FROM tieout.batch b
        WHERE b.stream = n.stream AND b.seq BETWEEN n.first_seq AND $1)::bigint AS read_since,
       n.first_id, n.last_id, n.first_seq, coalesce(e.sentence, q.sentence) AS sentence
FROM named n JOIN tieout.commit_log f ON f.seq = n.first_seq JOIN tieout.commit_log l ON l.seq = n.last_seq
JOIN tieout.quarantine q ON q.id = n.first_id
LEFT JOIN LATERAL (SELECT sentence FROM tieout.quarantine_refusal e WHERE e.quarantine = n.first_id AND e.seq <= $1
                   ORDER BY seq DESC LIMIT 1) e ON true
WHERE ($2::text IS NULL OR n.source = $2) AND ($3::text IS NULL OR n.stream_name = $3)
  AND ($4::text IS NULL OR n.reason = $4) AND ($5::text IS NULL OR n.field = $5) AND ($6::text IS NULL OR n.shape = $6)
  AND ($7::text IS NULL OR n.id = $7) AND (-n.records, n.id) > ($8, $9)
ORDER BY -n.records, n.id LIMIT $10
"""

FIRST = (-(2**62), "")
"""The place before the first group."""

_BEFORE = """
SELECT coalesce(r.body, r.raw) AS body
FROM (SELECT id FROM tieout.batch WHERE stream = (
          SELECT id FROM tieout.stream WHERE source = $1 AND stream = $2) AND seq < $3
      ORDER BY seq DESC LIMIT $4) b
JOIN tieout.raw_record r ON r.batch = b.id ORDER BY r.batch DESC, r.position DESC LIMIT $4
"""


class Group(msgspec.Struct, frozen=True):
    """Open records with one defect. `read_since`: how many the stream gave from the first of them on.

    `first_id` and `last_id` are samples; `sentence` is the first one's.
    """

    id: str
    source: str
    stream: str
    reason: str
    field: str
    shape: str
    records: int
    first_at: datetime
    last_at: datetime
    read_since: int
    first_id: int
    last_id: int
    first_seq: int
    sentence: str


async def groups(
    conn: Connection,
    seq: int,
    wanted: Wanted,
    *,
    group: str | None = None,
    after: tuple[int, str] = FIRST,
    limit: int = 100,
) -> list[Group]:
    """List defects as known at commit `seq`, the most frequent first; `after` is the place (-records, id) before."""
    asked = msgspec.structs.astuple(wanted)
    found = await conn.fetch(_GROUPS, seq, *asked, group, *after, limit)
    return [Group(**dict(row)) for row in found]


async def bodies_before(
    conn: Connection, stream: tuple[str, str], seq: int, most: int
) -> Sequence[bytes]:
    """Return the last accepted records of a stream before commit `seq`, as JSON, where it keeps them."""
    found = await conn.fetch(_BEFORE, *stream, seq, most)
    return [row["body"] for row in found]
