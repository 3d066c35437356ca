"""What the store holds of streams by part and day: the rows that a coverage ledger is made of.

Days are those of `occurred_at` in UTC. Of each event the revision that counts at K is taken.
"""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from collector.store.ingest import Connection

# An event's id is its key's hash; its two halves are summed as they are: a negative upper half is right
# modulo 2^128, a negative lower one lacks 2^64.
_HELD = """
WITH k AS (SELECT read.seq_at($1) AS seq),
fact AS (
    SELECT b.stream, b.part_name, e.occurred_at, e.entity, e.currency, e.amount_minor,
           replace(e.event_id::text, '-', '') AS key
    FROM k JOIN tieout.batch b ON b.seq <= k.seq JOIN tieout.event e ON e.batch = b.id
    JOIN tieout.stream s ON s.id = b.stream AND s.source || '/' || s.stream = ANY ($2)
    LEFT JOIN tieout.revised r ON r.event_id = e.event_id
    LEFT JOIN tieout.supersession x
        ON (x.event_id, x.revision_no, x.month) = (e.event_id, e.revision_no, e.month) AND x.seq <= k.seq
    WHERE x.seq IS NULL AND (r.event_id IS NULL OR NOT EXISTS (
        SELECT FROM tieout.event o JOIN tieout.batch ob ON ob.id = o.batch AND ob.seq <= k.seq
        LEFT JOIN tieout.supersession ox
            ON (ox.event_id, ox.revision_no, ox.month) = (o.event_id, o.revision_no, o.month) AND ox.seq <= k.seq
        WHERE o.event_id = e.event_id AND ox.seq IS NULL
          AND (o.occurred_at, coalesce(o.sequence, -9223372036854775808), o.revision)
            > (e.occurred_at, coalesce(e.sequence, -9223372036854775808), e.revision))))
SELECT s.source || '/' || s.stream AS stream, f.part_name AS part,
       (f.occurred_at AT TIME ZONE 'UTC')::date AS day, f.entity, f.currency, count(*) AS events,
       coalesce(sum(f.amount_minor), 0)::bigint AS amount_minor, count(f.amount_minor) AS amounts,
       (sum(('x' || left(f.key, 16))::bit(64)::bigint) * 18446744073709551616
        + sum(('x' || right(f.key, 16))::bit(64)::bigint)
        + count(*) FILTER (WHERE right(f.key, 16) >= '8') * 18446744073709551616)::text AS hash_sum
FROM fact f JOIN tieout.stream s ON s.id = f.stream
GROUP BY s.source, s.stream, f.part_name, day, f.entity, f.currency
ORDER BY 1, 2, 3, 4, 5
"""

_QUARANTINED = """
SELECT s.source || '/' || s.stream AS stream, q.part_name AS part, q.reason, count(*) AS records
FROM tieout.quarantine q JOIN tieout.batch b ON b.id = q.batch AND b.seq <= (SELECT read.seq_at($1))
JOIN tieout.stream s ON s.id = q.stream AND s.source || '/' || s.stream = ANY ($2)
WHERE NOT EXISTS (SELECT FROM tieout.quarantine_resolution r
                  WHERE r.quarantine = q.id AND r.seq <= (SELECT read.seq_at($1)))
GROUP BY s.source, s.stream, q.part_name, q.reason ORDER BY 1, 2, 3
"""


class Held(msgspec.Struct, frozen=True):
    """The events of a part, a day, an entity and a currency; `amounts` of them have one."""

    stream: str
    part: str
    day: date
    entity: str | None
    currency: str | None
    events: int
    amount_minor: int
    amounts: int
    hash_sum: int


class Quarantined(msgspec.Struct, frozen=True):
    """How many records of a part lie in quarantine for a reason."""

    stream: str
    part: str
    reason: str
    records: int


async def held(conn: Connection, as_known: datetime, streams: Sequence[str]) -> list[Held]:
    """Return what the store holds of streams (`source/stream`)."""
    found = await conn.fetch(_HELD, as_known, streams)
    return [msgspec.convert({**row, "hash_sum": int(row["hash_sum"])}, Held) for row in found]


async def quarantined(
    conn: Connection, as_known: datetime, streams: Sequence[str]
) -> list[Quarantined]:
    """Return what lies open in the quarantine of streams, by part and reason."""
    return [Quarantined(*row) for row in await conn.fetch(_QUARANTINED, as_known, streams)]
