"""Control totals: what the store knows of each stream, as known at a time."""

from datetime import datetime
from typing import Any

import msgspec

from collector.store.ingest import Connection
from collector.store.trailers import Trailers, trailers

_TOTALS = """
WITH k AS (SELECT read.seq_at($1) AS seq),
latest AS (
    SELECT DISTINCT ON (b.stream, b.part_name) b.stream, b.part_name, b.ending, b.unread, b.remark,
           b.stated
    FROM tieout.batch b, k WHERE b.seq <= k.seq AND b.ending IS NOT NULL
    ORDER BY b.stream, b.part_name, b.seq DESC),
parts AS (
    SELECT stream, count(*) AS parts,
           coalesce(jsonb_agg(jsonb_build_object('part', part_name, 'unread', unread,
                    'remark', remark) ORDER BY part_name) FILTER (WHERE ending = 'broken'
                    OR unread IS NULL OR unread > 0), '[]') AS broken,
           CASE WHEN count(stated #>> '{covers,1}') = count(*) THEN jsonb_build_object(
                'grade', max(stated ->> 'grade'),
                'since', max((stated #>> '{covers,0}')::timestamptz),
                'until', min((stated #>> '{covers,1}')::timestamptz),
                'kept_until', min((stated ->> 'kept_until')::timestamptz)) END AS reach
    FROM latest GROUP BY stream),
held AS (
    SELECT q.stream, count(*) FILTER (WHERE r.quarantine IS NULL) AS open,
           count(*) FILTER (WHERE r.kind = 'accepted') AS waived,
           count(*) FILTER (WHERE r.kind = 'replayed') AS replayed
    FROM tieout.quarantine q JOIN tieout.batch b ON b.id = q.batch
    CROSS JOIN k LEFT JOIN tieout.quarantine_resolution r ON r.quarantine = q.id AND r.seq <= k.seq
    WHERE b.seq <= k.seq GROUP BY q.stream),
reasons AS (
    SELECT stream, jsonb_object_agg(reason, records) AS reasons FROM (
        SELECT q.stream, q.reason, count(*) AS records
        FROM tieout.quarantine q JOIN tieout.batch b ON b.id = q.batch CROSS JOIN k
        WHERE b.seq <= k.seq AND NOT EXISTS (SELECT FROM tieout.quarantine_resolution r
                                             WHERE r.quarantine = q.id AND r.seq <= k.seq)
        GROUP BY q.stream, q.reason) x GROUP BY stream),
read AS (
    SELECT b.stream, sum(b.read) AS read, sum(b.accepted) AS accepted, sum(b.duplicate) AS duplicate,
           sum(b.ignored) AS ignored, sum(b.quarantined) AS quarantined, sum(b.events) AS events,
           mod(sum(b.hash_total), 340282366920938463463374607431768211456) AS hash_total,
           max(c.recorded_at) AS last_read,
           max(c.recorded_at) FILTER (WHERE b.accepted + b.quarantined + b.ignored > 0) AS last_new
    FROM tieout.batch b JOIN tieout.commit_log c ON c.seq = b.seq, k WHERE b.seq <= k.seq
    GROUP BY b.stream),
money AS (
    SELECT stream, jsonb_object_agg(currency, amount) AS amounts FROM (
        SELECT b.stream, a.key AS currency, sum(a.value::numeric) AS amount
        FROM tieout.batch b, k, jsonb_each_text(b.amounts) a WHERE b.seq <= k.seq
        GROUP BY b.stream, a.key) x GROUP BY stream)
SELECT s.source, s.stream, coalesce(r.read, 0)::bigint AS read,
       coalesce(r.accepted, 0)::bigint AS accepted, coalesce(r.duplicate, 0)::bigint AS duplicate,
       coalesce(r.ignored, 0)::bigint AS ignored, coalesce(r.events, 0)::bigint AS events,
       coalesce(h.open, 0) AS quarantined, coalesce(h.waived, 0) AS waived,
       coalesce(p.parts, 0) AS parts, coalesce(p.broken, '[]') AS broken, p.reach,
       coalesce(m.amounts, '{}') AS amounts, coalesce(r.hash_total, 0)::text AS hash_total,
       r.last_read, r.last_new, coalesce(q.reasons, '{}') AS reasons
FROM tieout.stream s LEFT JOIN read r ON r.stream = s.id LEFT JOIN parts p ON p.stream = s.id
LEFT JOIN held h ON h.stream = s.id LEFT JOIN money m ON m.stream = s.id LEFT JOIN reasons q ON q.stream = s.id
ORDER BY s.source, s.stream
"""


class Broken(msgspec.Struct, frozen=True):
    """A part of which something is known to be unread (`unread` None: nobody knows how much)."""

    part: str
    unread: int | None
    remark: str


class Reach(msgspec.Struct, frozen=True):
    """How far a source was read by its own word, of all parts: by `grade` it gave all of [since, until).

    What follows and is not read by `kept_until` is lost; None where the source keeps everything.
    """

    grade: str
    since: datetime
    until: datetime
    kept_until: datetime | None


class Totals(msgspec.Struct, frozen=True):
    """Our side's control totals of a stream. Counts are records; `amounts` minor units by currency.

    `quarantined` lie open, `reasons` says why how many; `waived` were accepted as they are. `hash_total` is the sum of the 128-bit
    hashes of the accepted events' keys, modulo 2^128. `last_read` is when the stream was last read,
    `last_new` when that last brought something new. `trailers` and `reach` are the source's side.
    """

    source: str
    stream: str
    read: int
    accepted: int
    duplicate: int
    ignored: int
    events: int
    quarantined: int
    waived: int
    parts: int
    broken: list[Broken]
    amounts: dict[str, int]
    hash_total: str
    last_read: datetime | None
    last_new: datetime | None = None
    trailers: Trailers = Trailers()
    reach: Reach | None = None
    reasons: dict[str, int] = {}

    @property
    def known(self) -> int:
        """How many different records are accounted for, the quarantined ones included."""
        return self.accepted + self.ignored + self.quarantined + self.waived


async def totals(conn: Connection, as_known: datetime) -> dict[tuple[str, str], Totals]:
    """Return the control totals by (source, stream)."""
    out = {}
    stated = await trailers(conn, as_known)
    for row in await conn.fetch(_TOTALS, as_known):
        fields: dict[str, Any] = dict(row)
        fields["broken"] = msgspec.json.decode(fields["broken"], type=list[Broken])
        if fields["reach"] is not None:
            fields["reach"] = msgspec.json.decode(fields["reach"], type=Reach)
        fields["reasons"] = msgspec.json.decode(fields["reasons"])
        fields["amounts"] = {c: int(a) for c, a in msgspec.json.decode(fields["amounts"]).items()}
        stream = fields["source"], fields["stream"]
        out[stream] = Totals(**fields, trailers=stated.get(stream, Trailers()))
    return out


async def configuration(conn: Connection, as_known: datetime) -> dict[str, Any] | None:
    """Return the configuration that was in force at a time, as it was published."""
    found = await conn.fetchval("SELECT read.configuration($1)", as_known)
    return None if found is None else msgspec.json.decode(found)


async def last_recorded(conn: Connection, otherwise: datetime) -> datetime:
    """Return the time of the last commit: what "as known now" means, and can be repeated."""
    found: datetime | None = await conn.fetchval("SELECT max(recorded_at) FROM tieout.commit_log")
    return found or otherwise


async def transactions(conn: Connection) -> int:
    """Count the transactions."""
    return int(
        await conn.fetchval(
            "SELECT count(DISTINCT component) FROM tieout.membership("
            " (SELECT coalesce(max(seq), 0) FROM tieout.commit_log))"
        )
    )
