"""What monitoring asks of the store: the figures behind the metrics, and finished cases for traces."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from collector.store.ingest import Connection
from collector.telemetry.metrics import RUN_BUCKETS_S, STEP_BUCKETS_S, Histogram, histogram
from collector.telemetry.traces import Case, Sent, Step

SUMMARY_MS_MAX = 60_000
"""How long the database may work on one flow's summary before it gives up."""

_EXPORT_LOCK = 0x74696574726163  # "tietrac": one exporter at a time

_RECORDS = """
WITH unread AS (
    SELECT stream, sum(most) AS unread FROM (
        SELECT stream, part_name, max(coalesce(unread, 1)) AS most
        FROM tieout.batch WHERE ending IS NOT NULL GROUP BY stream, part_name) p GROUP BY stream)
SELECT s.source, s.stream, sum(greatest(b.accepted, 0))::bigint AS accepted, sum(b.duplicate)::bigint AS duplicate,
       sum(b.quarantined)::bigint AS quarantined, coalesce(max(u.unread), 0)::bigint AS unread
FROM tieout.stream s JOIN tieout.batch b ON b.stream = s.id LEFT JOIN unread u ON u.stream = s.id
GROUP BY s.source, s.stream
"""

# A batch that ends its part has an ending. Replayed and swept records come in batches without a part.
_BEHIND = """
SELECT s.source, s.stream, CASE WHEN last.ending IS NULL THEN
       greatest(extract(epoch FROM $1 - (SELECT recorded_at FROM tieout.commit_log WHERE seq = coalesce(
           (SELECT max(seq) FROM tieout.batch WHERE stream = s.id AND part IS NOT NULL AND ending IS NOT NULL),
           (SELECT min(seq) FROM tieout.batch WHERE stream = s.id AND part IS NOT NULL)))), 0)
       ELSE 0 END::float8
FROM tieout.stream s CROSS JOIN LATERAL (
    SELECT ending FROM tieout.batch WHERE stream = s.id AND part IS NOT NULL ORDER BY seq DESC LIMIT 1) last
"""

_CONTROLS = """
SELECT control, verdict, complete, count(*) AS runs, max(finished_at) AS last
FROM tieout.control_run GROUP BY control, verdict, complete
"""

# A run that ended in an error evaluated nothing: it must not turn the exceptions before it into 0.
_EVALUATED = """
SELECT DISTINCT ON (control) control, coalesce((population ->> 'in_scope')::bigint, 0) AS in_scope,
       coalesce((population ->> 'exceptions')::bigint, 0) AS exceptions
FROM tieout.control_run WHERE verdict NOT IN ('ERROR', 'SKIPPED') ORDER BY control, seq DESC
"""

_DURATIONS = """
SELECT control, (SELECT count(*) FROM unnest($1::float8[]) b WHERE b < took) AS exceeded,
       count(*) AS n, sum(took) AS total
FROM (SELECT control, greatest(extract(epoch FROM finished_at - started_at), 0)::float8 AS took
      FROM tieout.control_run) r GROUP BY 1, 2
"""

# Where each open case waits: at its first step that is neither done nor needless. A case without one
# is over, as is one in an end state. And how long the steps took that are done, in rows with `exceeded`:
# both in one query, since the steps are what costs.
_SUMMARY = """
WITH steps AS MATERIALIZED (SELECT * FROM read.steps($1, $2, $3)),
cases AS (
    SELECT anchor, max(entity) AS entity, max(state) AS state,
           min(ordinal) FILTER (WHERE done_at IS NULL AND NOT skipped) AS waits_at,
           min(done_at) AS begun_at
    FROM steps GROUP BY anchor),
done AS (
    SELECT step, greatest(extract(epoch FROM done_at - basis_at), 0)::float8 AS took
    FROM steps WHERE done_at IS NOT NULL AND basis_at IS NOT NULL)
SELECT coalesce(c.entity, '') AS entity,
       CASE WHEN c.state <> 'open' THEN c.state WHEN s.step IS NULL THEN 'completed' END AS outcome,
       CASE WHEN c.state = 'open' THEN s.step END AS step, count(*) AS n,
       extract(epoch FROM $2 - min(coalesce(s.basis_at, c.begun_at, (
           SELECT min(t.first_at) FROM tieout.step t WHERE t.document = c.anchor))))::float8 AS seconds,
       NULL::bigint AS exceeded
FROM cases c LEFT JOIN steps s ON s.anchor = c.anchor AND s.ordinal = c.waits_at
GROUP BY 1, 2, 3
UNION ALL
SELECT '', NULL, step, count(*), sum(took), exceeded
FROM (SELECT step, took, (SELECT count(*) FROM unnest($4::float8[]) b WHERE b < took) AS exceeded
      FROM done) d GROUP BY step, exceeded
"""

# $1 event types and $2, beside each, the anchor of a flow that names it; $3 kinds of group documents and
# $4, beside each, a type that they lend. Counted from the maintained steps of documents, not from the events.
_ORPHANS = """
WITH named AS (SELECT * FROM unnest($1::text[], $2::text[]) n(type, anchor)),
member AS MATERIALIZED (
    SELECT document, component, kind
    FROM tieout.membership((SELECT coalesce(max(seq), 0) FROM tieout.commit_log))),
anchored AS MATERIALIZED (
    SELECT DISTINCT m.component, n.type FROM member m JOIN named n ON n.anchor = m.kind),
lent AS MATERIALIZED (
    SELECT DISTINCT o.document, v.type
    FROM unnest($3::text[], $4::text[]) v(kind, type)
    JOIN tieout.reference o ON o.kind = v.kind AND o.role = 0
    JOIN tieout.reference n ON n.name_hash = o.name_hash AND n.role = 2
                           AND (n.kind, n.scope, n.value) = (o.kind, o.scope, o.value)
    JOIN member m ON m.document = n.document
    JOIN anchored a ON (a.component, a.type) = (m.component, v.type)
    WHERE cardinality($3::text[]) > 0)
SELECT s.type, sum(s.n)::bigint AS events
FROM tieout.step s JOIN member m ON m.document = s.document
WHERE s.type = ANY ($1)
  AND NOT EXISTS (SELECT FROM anchored a WHERE a.component = m.component AND a.type = s.type)
  AND NOT EXISTS (SELECT FROM lent l WHERE (l.document, l.type) = (s.document, s.type))
GROUP BY s.type
"""

_OPEN = """
WITH evaluated AS (
    SELECT DISTINCT ON (control) control, seq FROM tieout.control_run
    WHERE verdict NOT IN ('ERROR', 'SKIPPED') ORDER BY control, seq DESC),
open AS (
    SELECT e.control, x.subject, x.reason, coalesce(x.entity, '') AS entity
    FROM evaluated e JOIN tieout.control_exception x ON x.run = e.seq),
first_found AS (
    SELECT o.control, o.subject, o.reason, min(r.finished_at) AS at
    FROM (SELECT DISTINCT control, subject, reason FROM open) o
    JOIN tieout.control_exception x ON x.subject = o.subject AND x.reason = o.reason
    JOIN tieout.control_run r ON r.seq = x.run AND r.control = o.control
    GROUP BY o.control, o.subject, o.reason)
SELECT o.control, o.entity, width_bucket(extract(epoch FROM $1 - f.at)::float8, $2::float8[]) AS age,
       count(*) AS n
FROM open o JOIN first_found f USING (control, subject, reason) GROUP BY 1, 2, 3
"""

# A case is told when it is over, or when every due time that is still to be met has passed. `content`
# holds what the trace shows and nothing that only the passing of time changes.
_FINISHED = """
WITH steps AS MATERIALIZED (SELECT * FROM read.steps($1, $2, $3)),
cases AS (
    SELECT document_id,
           md5(jsonb_agg(jsonb_build_array(state, extract(epoch FROM ended_at), ordinal,
                   CASE status WHEN 'MISSING' THEN 'PENDING' ELSE status END,
                   extract(epoch FROM basis_at), extract(epoch FROM due_at),
                   extract(epoch FROM done_at), extract(epoch FROM failed_at), failed_type,
                   amount_minor, currency) ORDER BY ordinal)::text)::uuid AS content
    FROM steps GROUP BY document_id
    HAVING max(state) <> 'open' OR bool_and(done_at IS NOT NULL OR skipped)
        OR max(due_at) FILTER (WHERE done_at IS NULL AND NOT skipped) < $2),
told AS (
    SELECT DISTINCT ON (document) document, revision, content,
           first_value(trace_id) OVER (PARTITION BY document ORDER BY revision) AS first
    FROM tieout.trace_sent WHERE flow = $1 ORDER BY document, revision DESC),
wanted AS (
    SELECT c.document_id, c.content, coalesce(t.revision + 1, 0) AS revision, t.first
    FROM cases c LEFT JOIN told t ON t.document = c.document_id
    WHERE t.content IS DISTINCT FROM c.content ORDER BY c.document_id LIMIT $4)
SELECT s.*, w.content, w.revision, w.first,
       (SELECT min(t.first_at) FROM tieout.step t WHERE t.document = s.anchor) AS begun_at
FROM wanted w JOIN steps s USING (document_id)
ORDER BY s.document_id, s.ordinal
"""


class Waiting(msgspec.Struct, frozen=True):
    """Cases of a flow that wait at one step, or (step None) that ended with one outcome."""

    entity: str
    outcome: str | None
    step: str | None
    cases: int
    oldest_s: float


class Summary(msgspec.Struct, frozen=True):
    """A flow at a time: where its cases are, and how long steps took in seconds, by step."""

    waiting: list[Waiting]
    latency: dict[str, Histogram]


async def records(conn: Connection) -> dict[tuple[str, str], dict[str, int]]:
    """Count records by what became of them, by (source, stream)."""
    return {
        (r["source"], r["stream"]): {
            outcome: r[outcome] for outcome in ("accepted", "duplicate", "quarantined", "unread")
        }
        for r in await conn.fetch(_RECORDS)
    }


async def behind(conn: Connection, now: datetime) -> dict[tuple[str, str], float]:
    """Return for how many seconds each (source, stream) was not read to its end; 0 where it is."""
    found = await conn.fetch(_BEHIND, now)
    return {(source, stream): seconds for source, stream, seconds in found}


async def control_runs(conn: Connection) -> list[dict[str, Any]]:
    """Count runs by control, verdict and completeness, with the time of the last of each."""
    return [dict(r) for r in await conn.fetch(_CONTROLS)]


async def evaluated(conn: Connection) -> dict[str, tuple[int, int]]:
    """Return (items in scope, exceptions) of each control's last run that evaluated its population."""
    return {r["control"]: (r["in_scope"], r["exceptions"]) for r in await conn.fetch(_EVALUATED)}


async def durations(conn: Connection) -> dict[str, Histogram]:
    """Return how long runs took, in seconds, by control."""
    rows = await conn.fetch(_DURATIONS, list(RUN_BUCKETS_S))
    return _histograms([tuple(row) for row in rows], RUN_BUCKETS_S)


async def summary(conn: Connection, flow: str, as_of: datetime, as_known: datetime) -> Summary:
    """Sum up a flow: its cases by entity and state, and how long its steps took. May take seconds."""
    found = await conn.fetch(
        _SUMMARY, flow, as_of, as_known, list(STEP_BUCKETS_S), timeout=SUMMARY_MS_MAX / 1000
    )
    took = [
        (step, exceeded, n, seconds)
        for _, _, step, n, seconds, exceeded in found
        if exceeded is not None
    ]
    waiting = [Waiting(*row[:5]) for row in found if row["exceeded"] is None]
    return Summary(waiting, _histograms(took, STEP_BUCKETS_S))


async def orphans(
    conn: Connection, named: Sequence[tuple[str, str]], lends: Sequence[tuple[str, str]]
) -> dict[str, int]:
    """Count events by type whose transaction holds no anchor: `named` is (event type, anchor's kind).

    One that happened to a group document which a case names is none: `lends` is (its kind, event type).
    """
    types, anchors = zip(*named, strict=True) if named else ((), ())
    kinds, lent = zip(*lends, strict=True) if lends else ((), ())
    found = await conn.fetch(_ORPHANS, types, anchors, kinds, lent, timeout=SUMMARY_MS_MAX / 1000)
    return {row["type"]: row["events"] for row in found}


def _histograms(
    found: Iterable[tuple[str, int, int, float]], bounds: Sequence[float]
) -> dict[str, Histogram]:
    """Fold rows of (name, bounds exceeded, how many, their sum) into a distribution by name."""
    by_name: dict[str, list[tuple[int, int, float]]] = {}
    for name, exceeded, n, total in found:
        by_name.setdefault(name, []).append((exceeded, n, total))
    return {name: histogram(counts, len(bounds)) for name, counts in by_name.items()}


async def open_exceptions(
    conn: Connection, now: datetime, ages_s: Sequence[float]
) -> list[tuple[str, str, int, int]]:
    """Count open exceptions: (control, entity, number of ages reached, how many).

    Open are those of each control's last run that evaluated; their age counts from the first run that
    found the same subject for the same reason.
    """
    found = await conn.fetch(_OPEN, now, list(ages_s), timeout=SUMMARY_MS_MAX / 1000)
    return [(r["control"], r["entity"], r["age"], r["n"]) for r in found]


async def lock_export(conn: Connection) -> bool:
    """Try to become the one exporter of traces, for as long as the connection lives."""
    return bool(await conn.fetchval("SELECT pg_try_advisory_lock($1)", _EXPORT_LOCK))


async def finished(
    conn: Connection, flow: str, as_of: datetime, as_known: datetime, limit: int
) -> list[tuple[Case, Sent]]:
    """Return finished cases that were never told, or differently, with what is to be noted then."""
    by_case: dict[Any, list[Any]] = {}
    for row in await conn.fetch(_FINISHED, flow, as_of, as_known, limit):
        by_case.setdefault(row["document_id"], []).append(row)
    return [_case(flow, rows) for rows in by_case.values()]


def _case(flow: str, rows: Sequence[Any]) -> tuple[Case, Sent]:
    head = rows[0]
    case = Case(
        flow=flow,
        document=str(head["document_id"]),
        transaction=str(head["transaction_id"]),
        number=head["number"],
        entity=head["entity"],
        state=head["state"],
        begun_at=head["begun_at"],
        ended_at=head["ended_at"],
        amount_minor=head["claimed_minor"],
        currency=head["claimed_currency"],
        steps=[Step(**{name: row[name] for name in Step.__struct_fields__}) for row in rows],
    )
    return case, Sent(flow, case.document, head["revision"], head["first"], str(head["content"]))


async def note_sent(conn: Connection, sent: Sequence[tuple[Sent, str]], now: datetime) -> None:
    """Note that traces arrived: what was told of each case, and the trace's id."""
    await conn.executemany(
        "INSERT INTO tieout.trace_sent (flow, document, revision, trace_id, content, sent_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        [(s.flow, s.document, s.revision, trace_id, s.content, now) for s, trace_id in sent],
    )
