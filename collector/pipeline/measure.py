"""Measure the store for `/metrics`.

What is cheap is measured at every scrape. What needs the state of every transaction (it is computed,
never stored) can take seconds on a large store: it comes from a summary that is refreshed in the
background and says its age.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from itertools import product

import msgspec

from collector.clock import Clock, stopwatch
from collector.errors import TieoutError
from collector.pipeline.completeness import Coverage, coverage
from collector.pipeline.export import receiver
from collector.settings.definitions import Flow
from collector.settings.load import Configuration
from collector.store import alerts, bridges, observed, totals
from collector.store.bridges import Residual
from collector.store.connection import DATABASE_ERRORS
from collector.store.ingest import Connection
from collector.store.session import Store
from collector.telemetry.metrics import (
    AGE_BUCKETS_DAYS,
    BRIDGE_STATES,
    OTHER,
    OUTCOMES,
    RUN_BUCKETS_S,
    STEP_BUCKETS_S,
    VERDICTS,
    WAITS,
    Histogram,
    Measurement,
    bounded,
    histogram,
    latest,
)
from collector.telemetry.push import push

REFRESH_S = 60
"""A summary older than this is made anew, in the background, when somebody scrapes."""
REST_FACTOR = 10
"""But the store rests this many times as long as the last one took: it has other work."""
FIRST_WAIT_S = 5.0
"""How long the first scrape waits for the first summary: half of Prometheus's default time limit."""

_AGES_S = [86_400.0 * days for _, days in AGE_BUCKETS_DAYS if days is not None]
_log = logging.getLogger(__name__)


class Meter:
    """Measures a store, again and again, and keeps the summary of its flows between times."""

    def __init__(self, store: Store, configuration: Configuration, clock: Clock) -> None:
        self._store = store
        self._configuration = configuration
        self._clock = clock
        self._summary = Measurement()
        self._summed_at: datetime | None = None
        self._rest = timedelta(seconds=REFRESH_S)
        self._refreshing: asyncio.Task[None] | None = None

    async def measure(self) -> Measurement:
        """Measure now.

        Raises:
            NotConnected: the store cannot be reached.
        """
        now = self._clock()
        if self._summed_at is None or now - self._summed_at > self._rest:
            self._refresh()
        if self._summed_at is None and self._refreshing is not None:
            await asyncio.wait([self._refreshing], timeout=FIRST_WAIT_S)
        async with self._store.connect() as conn:
            out = await _cheap(conn, self._configuration, now)
        out.join(self._summary)
        if self._summed_at is not None:
            age_s = (self._clock() - self._summed_at).total_seconds()
            out.set("tieout_flow_state_age_seconds", max(age_s, 0))
        return out

    async def push(self) -> bool:
        """Measure now and send that by OTLP, where an endpoint is configured; say whether it arrived.

        Raises:
            NotConnected: the store cannot be reached.
            Misconfigured: a header's secret cannot be resolved.
        """
        endpoint, headers = receiver(self._configuration)
        if endpoint is None:
            return False
        measured = await self.measure()
        done = await asyncio.to_thread(push, measured, endpoint, headers, self._clock())
        if not done:
            _log.warning(
                "The OTLP receiver did not take the metrics; the next push holds them again."
            )
        return done

    async def close(self) -> None:
        """Give up a refresh that is under way."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])

    def _refresh(self) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._sum_up())

    async def _sum_up(self) -> None:
        """Make the summary; where that fails the last one stays, and its age tells."""
        now, took_s = self._clock(), stopwatch()
        try:
            async with self._store.connect() as conn:
                summary = await _flows(conn, self._configuration, now)
                await _open_exceptions(conn, self._configuration, now, summary)
        except (TieoutError, *DATABASE_ERRORS, TimeoutError) as error:
            _log.warning("The summary of the flows could not be made: %s", error)
            return
        self._summary, self._summed_at = summary, now
        self._rest = timedelta(seconds=max(REFRESH_S, REST_FACTOR * took_s()))


async def measure(store: Store, configuration: Configuration, now: datetime) -> Measurement:
    """Measure everything once, however long it takes."""
    async with store.connect() as conn:
        out = await _cheap(conn, configuration, now)
        out.join(await _flows(conn, configuration, now))
        await _open_exceptions(conn, configuration, now, out)
    out.set("tieout_flow_state_age_seconds", 0)
    return out


async def _cheap(conn: Connection, configuration: Configuration, now: datetime) -> Measurement:
    out = Measurement()
    counted = await observed.records(conn)
    behind = await observed.behind(conn, now)
    for stream in configuration.streams():
        if stream in behind:
            out.set("tieout_ingest_behind_seconds", behind[stream], *stream)
        for outcome in OUTCOMES:
            found = counted.get(stream, {}).get(outcome, 0)
            out.set("tieout_ingest_events_total", found, *stream, outcome)
    known = await totals.totals(conn, await totals.last_recorded(conn, now))
    for stream, covered in coverage(configuration.document(), known).items():
        _coverage(out, stream, covered, now)
    await _controls(conn, configuration, out)
    await _bridges(conn, configuration, now, out)
    await _alerts(conn, configuration, now, out)
    return out


def _coverage(out: Measurement, stream: tuple[str, str], of: Coverage, now: datetime) -> None:
    held = of.totals
    if held is not None and held.last_new is not None:
        lag_s = (now - held.last_new).total_seconds()
        out.set("tieout_ingest_lag_seconds", max(lag_s, 0), *stream)
    if of.watermark is not None:
        out.set("tieout_ingest_watermark_timestamp_seconds", of.watermark.timestamp(), *stream)
    if of.kept_until is not None:
        left_s = (of.kept_until - now).total_seconds()
        out.set("tieout_source_time_to_data_loss_seconds", left_s, *stream)
    if of.declared_records:
        taken_in = held.known - held.quarantined if held is not None else 0
        out.set("tieout_coverage_ratio", taken_in / of.declared_records, *stream, "count")
    out.set("tieout_coverage_gap_records", _gap_records(of), *stream, "count")


def _gap_records(of: Coverage) -> int:
    """Count what is known to be missing; a damaged part and a shortfall are not counted twice."""
    sizes = {gap.what: 0 for gap in of.gaps}
    for gap in of.gaps:
        sizes[gap.what] += 1 if gap.records is None else gap.records
    quarantined = sizes.pop("QUARANTINED", 0)
    return quarantined + max(sizes.values(), default=0)


async def _controls(conn: Connection, configuration: Configuration, out: Measurement) -> None:
    evaluated = await observed.evaluated(conn)
    durations = await observed.durations(conn)
    nothing = histogram((), len(RUN_BUCKETS_S))
    for control_id, control in configuration.settings.controls.items():
        for verdict in VERDICTS:
            for complete in ("true", "false"):
                out.set("tieout_control_runs_total", 0, control_id, verdict, complete)
        in_scope, exceptions = evaluated.get(control_id, (0, 0))
        labels = control_id, control.severity
        out.set("tieout_control_population", in_scope, *labels)
        out.set("tieout_control_exceptions", exceptions, *labels)
        took = durations.get(control_id, nothing)
        out.distribution("tieout_control_run_duration_seconds", took, control_id)
    for row in await observed.control_runs(conn):
        if row["control"] in configuration.settings.controls:
            _runs(out, row)


async def _alerts(
    conn: Connection, configuration: Configuration, now: datetime, out: Measurement
) -> None:
    counted = await alerts.counts(conn)
    for name in configuration.settings.alerts:
        found = counted.get(name, alerts.Counts())
        oldest_s = (now - found.oldest).total_seconds() if found.oldest is not None else 0
        out.set("tieout_alerts_total", found.sent, name, "sent")
        out.set("tieout_alerts_total", found.given_up, name, "given_up")
        out.set("tieout_alerts_pending", found.pending, name)
        out.set("tieout_alerts_oldest_pending_seconds", max(oldest_s, 0), name)


async def _bridges(
    conn: Connection, configuration: Configuration, now: datetime, out: Measurement
) -> None:
    """Show the last bridge of each flow and month: an explicit 0 of all that it can be 0 of."""
    flows = [flow for flow in configuration.flows if flow.bridge]
    computed_at = await bridges.computed_at(conn)
    found = await bridges.residuals(conn)
    months = latest(r.period for r in found)
    entities = bounded({*configuration.settings.entities, *(r.entity or "" for r in found)})
    for flow in flows:
        if flow.flow in computed_at:
            age_s = (now - computed_at[flow.flow]).total_seconds()
            out.set("tieout_conservation_age_seconds", max(age_s, 0), flow.flow)
        of_flow = [_named(r, months, entities) for r in found if r.flow == flow.flow]
        _states(out, flow, of_flow)
        _residuals(out, flow, of_flow)


def _named(of: Residual, months: frozenset[str], entities: frozenset[str]) -> Residual:
    """Name the entity of a residual; what is too much for labels of their own is counted together."""
    entity = of.entity or ""
    return msgspec.structs.replace(
        of,
        period=of.period if of.period in months else OTHER,
        entity=entity if entity in entities else OTHER,
    )


def _states(out: Measurement, flow: Flow, found: list[Residual]) -> None:
    """Count bridges by state: each of them is one row or several."""
    for r in {r.bridge: r for r in found}.values():
        state = "failed" if not r.computed else "complete" if r.complete else "incomplete"
        for name in BRIDGE_STATES:
            out.add("tieout_conservation_bridges", int(name == state), flow.flow, r.period, name)


def _residuals(out: Measurement, flow: Flow, found: list[Residual]) -> None:
    """Sum up what is unexplained; a bridge that could not be computed says nothing, not even 0."""
    money = {(r.entity or "", r.currency or "") for r in found if r.from_step}
    periods = {r.period for r in found if r.computed}
    sums = {
        (flow.flow, p, *hop, *of): (0, 0) for p, hop, of in product(periods, flow.hops(), money)
    }
    for r in found:
        if r.from_step and r.to_step and r.from_system and r.to_system:
            hop = (r.from_step, r.to_step, r.from_system, r.to_system)
            labels = (flow.flow, r.period, *hop, r.entity or "", r.currency or "")
            items, minor = sums.get(labels, (0, 0))
            sums[labels] = items + (r.unexplained_items or 0), minor + (r.unexplained_minor or 0)
    for labels, (items, minor) in sums.items():
        out.set("tieout_conservation_residual_count", items, *labels)
        out.set("tieout_conservation_residual_minor_units", minor, *labels)


def _runs(out: Measurement, row: dict[str, object]) -> None:
    control, verdict = str(row["control"]), str(row["verdict"]).lower()
    complete = "true" if row["complete"] else "false"
    last = row["last"]
    assert isinstance(last, datetime)  # noqa: S101 -- max() of a column that is never null
    out.set("tieout_control_runs_total", int(str(row["runs"])), control, verdict, complete)
    names = ["tieout_control_last_run_timestamp_seconds"]
    if verdict == "pass":
        names.append("tieout_control_last_pass_timestamp_seconds")
    for name in names:
        before = out.values[name].get((control,), 0)
        out.set(name, max(before, last.timestamp()), control)


async def _flows(conn: Connection, configuration: Configuration, now: datetime) -> Measurement:
    """Sum up all flows, with zeros for every configured step, entity and event type."""
    out = Measurement()
    as_known = await totals.last_recorded(conn, now)
    named_by = [
        (t, flow.anchor) for flow in configuration.flows for t in sorted(flow.event_types())
    ]
    lends = sorted({pair for flow in configuration.flows for pair in flow.lends()})
    lonely = await observed.orphans(conn, named_by, lends)
    for event_type, _ in named_by:
        out.set("tieout_orphan_events", lonely.get(event_type, 0), event_type)
    for flow in configuration.flows:
        summary = await observed.summary(conn, flow.flow, now, as_known)
        _latency(out, flow, summary.latency)
        rows = summary.waiting
        named = bounded({*configuration.settings.entities, *(r.entity for r in rows)})
        outcomes = {"completed", *flow.ends}
        for entity in named:
            for step in flow.steps:
                out.set("tieout_transactions_in_flight", 0, flow.flow, step.name, entity)
                out.set("tieout_oldest_in_flight_seconds", 0, flow.flow, step.name, entity)
            for outcome in outcomes:
                out.set("tieout_transactions_completed_total", 0, flow.flow, entity, outcome)
        for row in rows:
            _case_count(out, flow.flow, row, row.entity if row.entity in named else OTHER)
    return out


def _latency(out: Measurement, flow: Flow, took: dict[str, Histogram]) -> None:
    nothing = histogram((), len(STEP_BUCKETS_S))
    for step in flow.steps:
        if step.after is not None:
            kind = WAITS[step.waits_for is not None]
            found = took.get(step.name, nothing)
            out.distribution("tieout_step_latency_seconds", found, flow.flow, step.name, kind)


def _case_count(out: Measurement, flow: str, row: observed.Waiting, entity: str) -> None:
    if row.step is None:
        outcome = row.outcome or "completed"
        out.add("tieout_transactions_completed_total", row.cases, flow, entity, outcome)
        return
    out.add("tieout_transactions_in_flight", row.cases, flow, row.step, entity)
    oldest = "tieout_oldest_in_flight_seconds"
    before = out.values[oldest].get((flow, row.step, entity), 0)
    out.set(oldest, max(before, row.oldest_s), flow, row.step, entity)


async def _open_exceptions(
    conn: Connection, configuration: Configuration, now: datetime, out: Measurement
) -> None:
    name, controls = "tieout_exceptions_open", configuration.settings.controls
    rows = await observed.open_exceptions(conn, now, _AGES_S)
    named = bounded({*configuration.settings.entities, *(entity for _, entity, _, _ in rows)})
    for control_id, control in controls.items():
        for bucket, _ in AGE_BUCKETS_DAYS:
            for entity in named:
                out.set(name, 0, control_id, control.severity, bucket, entity)
    for control_id, entity, age, count in rows:
        if control_id in controls:
            label = entity if entity in named else OTHER
            bucket = AGE_BUCKETS_DAYS[age][0]
            out.add(name, count, control_id, controls[control_id].severity, bucket, label)
