"""The metric catalogue as data, and the text of `/metrics`.

A name has its unit in it. No label ever holds a transaction, a document, a person or an account: what
a label can hold is bounded by the configuration (`ENTITIES_MAX` bounds the one that records bring).
PostgreSQL is the record: every value is measured from the store, so a restart loses none.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.registry import Collector
from typing_extensions import override

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ENTITIES_MAX = 200
"""More entities than these are counted together under OTHER."""
OTHER = "(other)"

OUTCOMES = ("accepted", "duplicate", "quarantined", "unread")
VERDICTS = ("pass", "warn", "fail", "incomplete", "error", "skipped")
AGE_BUCKETS_DAYS = (("0-1", 2), ("2-7", 8), ("8-30", 31), (">30", None))
"""Name of an age bucket, and the number of days at which it is over."""
RUN_BUCKETS_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0)
STEP_BUCKETS_S = (
    *(1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0),
    *(86_400.0 * days for days in (1, 3, 7, 14, 30)),
)
WAITS = ("system", "waiting")
"""What a step's time is: a system's work, or waiting for a person."""

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric: its name, what it counts in which unit, for people, and its labels.

    `falls` marks a counter of states rather than facts, which a corrected fact can make smaller.
    `buckets` are a histogram's bounds.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...]
    falls: bool = False
    buckets: tuple[float, ...] = ()


PERIODS_MAX = 24
"""Bridges of earlier months than these are counted together under OTHER."""
BRIDGE_STATES = ("complete", "incomplete", "failed")
"""Of a bridge: all was seen, something was not, it could not be computed."""

STREAM = ("source", "stream")
HOP = ("flow", "period", "from", "to", "from_system", "to_system", "entity", "currency")
STEP = ("flow", "step", "entity")
CONTROL = ("control", "severity")

CATALOGUE = (
    Metric(
        "tieout_ingest_events_total",
        "counter",
        "records",
        "Records by what became of them. Unread: found damaged, per part the most at one time.",
        (*STREAM, "outcome"),
    ),
    Metric(
        "tieout_ingest_lag_seconds",
        "gauge",
        "seconds",
        "Time since the stream last brought something new; absent where it never did.",
        STREAM,
    ),
    Metric(
        "tieout_ingest_behind_seconds",
        "gauge",
        "seconds",
        "Time since the stream was last read to its present end; 0 where nothing waits to be read.",
        STREAM,
    ),
    Metric(
        "tieout_ingest_watermark_timestamp_seconds",
        "gauge",
        "seconds",
        "Unix time up to which the stream is known to be complete; absent where nobody says.",
        STREAM,
    ),
    Metric(
        "tieout_source_time_to_data_loss_seconds",
        "gauge",
        "seconds",
        "Until the source drops what was not read; negative once it has; absent where it keeps all.",
        STREAM,
    ),
    Metric(
        "tieout_coverage_ratio",
        "gauge",
        "ratio",
        "Records taken in per record that the control total states; absent without a control total.",
        (*STREAM, "measure"),
    ),
    Metric(
        "tieout_coverage_gap_records",
        "gauge",
        "records",
        "Records known to be missing, unreadable or quarantined; at least 1 where nobody knows.",
        (*STREAM, "measure"),
    ),
    Metric(
        "tieout_transactions_in_flight",
        "gauge",
        "transactions",
        "Open transactions by the step that they wait at.",
        STEP,
    ),
    Metric(
        "tieout_oldest_in_flight_seconds",
        "gauge",
        "seconds",
        "How long the oldest open transaction has waited at the step; 0 where none does.",
        STEP,
    ),
    Metric(
        "tieout_step_latency_seconds",
        "histogram",
        "seconds",
        "From the step before to the step, of steps that are done, as known now; 0 where it came first.",
        ("flow", "step", "kind"),
        falls=True,
        buckets=STEP_BUCKETS_S,
    ),
    Metric(
        "tieout_orphan_events",
        "gauge",
        "events",
        "Events that a flow names whose transaction holds no anchor of any such flow.",
        ("type",),
    ),
    Metric(
        "tieout_transactions_completed_total",
        "counter",
        "transactions",
        "Transactions that are over, as known now. One reopened leaves the count: see the value, not a rate.",
        ("flow", "entity", "outcome"),
        falls=True,
    ),
    Metric(
        "tieout_flow_state_age_seconds",
        "gauge",
        "seconds",
        "Age of the summary of all transactions behind the transactions and open exceptions.",
        (),
    ),
    Metric(
        "tieout_control_runs_total",
        "counter",
        "runs",
        "Runs of a control by verdict, and whether its population was complete.",
        ("control", "verdict", "complete"),
    ),
    Metric(
        "tieout_control_last_run_timestamp_seconds",
        "gauge",
        "seconds",
        "Unix time at which the last run ended, whatever its verdict; absent before the first.",
        ("control",),
    ),
    Metric(
        "tieout_control_last_pass_timestamp_seconds",
        "gauge",
        "seconds",
        "Unix time at which the last run that passed ended; absent before the first.",
        ("control",),
    ),
    Metric(
        "tieout_control_population",
        "gauge",
        "items",
        "Items in scope of the last run that evaluated its population.",
        CONTROL,
    ),
    Metric(
        "tieout_control_exceptions",
        "gauge",
        "items",
        "Exceptions of the last run that evaluated its population.",
        CONTROL,
    ),
    Metric(
        "tieout_control_run_duration_seconds",
        "histogram",
        "seconds",
        "How long runs of a control took.",
        ("control",),
        buckets=RUN_BUCKETS_S,
    ),
    Metric(
        "tieout_exceptions_open",
        "gauge",
        "items",
        "Open exceptions by control, severity, age since first found (calendar days) and entity.",
        ("class", "severity", "age_bucket", "entity"),
    ),
    Metric(
        "tieout_conservation_residual_minor_units",
        "gauge",
        "minor units",
        "What the last bridge of a month leaves unexplained between two steps; absent where it failed.",
        HOP,
    ),
    Metric(
        "tieout_conservation_residual_count",
        "gauge",
        "items",
        "Items that the last bridge of a month leaves unexplained; their amounts may add up to 0.",
        HOP,
    ),
    Metric(
        "tieout_conservation_bridges",
        "gauge",
        "bridges",
        "Last bridges by month and state: complete, incomplete (something was not seen), or failed.",
        ("flow", "period", "state"),
    ),
    Metric(
        "tieout_conservation_age_seconds",
        "gauge",
        "seconds",
        "Since the flow's bridges were last computed; absent where they never were.",
        ("flow",),
    ),
    Metric(
        "tieout_alerts_total",
        "counter",
        "alerts",
        "Alerts by destination and what became of them: sent, or given up.",
        ("destination", "outcome"),
    ),
    Metric(
        "tieout_alerts_pending",
        "gauge",
        "alerts",
        "Alerts that are still to be delivered.",
        ("destination",),
    ),
    Metric(
        "tieout_alerts_oldest_pending_seconds",
        "gauge",
        "seconds",
        "How long the oldest alert has waited for its delivery; 0 where none does.",
        ("destination",),
    ),
)

BY_NAME = {metric.name: metric for metric in CATALOGUE}

Labels = tuple[str, ...]


class Histogram(NamedTuple):
    """A distribution: how many lay at or under each bound of the metric, in all, and their sum."""

    under: tuple[int, ...]
    n: int
    total: float


def histogram(found: Iterable[tuple[int, int, float]], bounds: int) -> Histogram:
    """Fold (how many bounds were exceeded, how many times, their sum) over a number of bounds."""
    between = [0] * (bounds + 1)
    total = 0.0
    for exceeded, n, amount in found:
        between[exceeded] += n
        total += amount
    under = tuple(accumulate(between))
    return Histogram(under[:-1], under[-1], total)


class Measurement:
    """Values by metric and labels, as measured at one time. Only the catalogue's names exist."""

    def __init__(self) -> None:
        self.values: dict[str, dict[Labels, float]] = {m.name: {} for m in CATALOGUE}
        self.histograms: dict[str, dict[Labels, Histogram]] = {
            m.name: {} for m in CATALOGUE if m.kind == "histogram"
        }

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set the value of a counter or gauge, with its labels in the catalogue's order."""
        self._own(name, labels)
        self.values[name][labels] = value

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add to a value that is set already or 0."""
        self._own(name, labels)
        self.values[name][labels] = self.values[name].get(labels, 0) + value

    def distribution(self, name: str, value: Histogram, *labels: str) -> None:
        """Set a histogram."""
        self._own(name, labels)
        self.histograms[name][labels] = value

    def join(self, other: "Measurement") -> None:
        """Take over another measurement's values."""
        for name, values in other.values.items():
            self.values[name].update(values)
        for name, histograms in other.histograms.items():
            self.histograms[name].update(histograms)

    @staticmethod
    def _own(name: str, labels: Labels) -> None:
        if len(labels) != len(BY_NAME[name].labels):
            raise ValueError(f"{name} has the labels {BY_NAME[name].labels}, not {labels}")


def latest(periods: Iterable[str], most: int = PERIODS_MAX) -> frozenset[str]:
    """Choose the months that get a label of their own: the last; the rest is OTHER."""
    return frozenset(sorted(set(periods))[-most:])


def bounded(entities: Iterable[str], most: int = ENTITIES_MAX) -> frozenset[str]:
    """Choose the entities that get a label of their own: the first in order; the rest is OTHER."""
    return frozenset(sorted(set(entities))[:most])


def render(measurement: Measurement) -> str:
    """Write a measurement in the Prometheus text format; every metric of the catalogue is named."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Measured(measurement))
    return generate_latest(registry).decode()


class _Measured(Collector):
    """Hands one measurement to the exposition."""

    def __init__(self, measurement: Measurement) -> None:
        self._measurement = measurement

    @override
    def collect(self) -> Iterator[Family]:
        """Yield each metric of the catalogue in its order, its samples sorted by labels."""
        for metric in CATALOGUE:
            if metric.kind == "histogram":
                yield self._histogram(metric)
                continue
            shape = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = shape(metric.name, metric.help, labels=metric.labels)
            for labels, value in sorted(self._measurement.values[metric.name].items()):
                family.add_metric(labels, value)
            yield family

    def _histogram(self, metric: Metric) -> Family:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, found in sorted(self._measurement.histograms[metric.name].items()):
            bounds = [str(bound) for bound in metric.buckets]
            buckets = [*zip(bounds, found.under, strict=True), ("+Inf", found.n)]
            family.add_metric(labels, buckets=buckets, sum_value=found.total)
        return family
