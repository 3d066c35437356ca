"""The catalogue's metrics by OTLP/HTTP: the same names and values as at `/metrics`, pushed."""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.metrics.export import Metric as MetricData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from collector.telemetry.metrics import CATALOGUE, Measurement, Metric

TIMEOUT_S = 10.0
"""How long one push may take, its retries included; the next one holds everything again."""

_UNITS = {"seconds": "s", "ratio": "1"}
_UNKNOWN_START = 0
"""When the counting began: with the store's first fact, not with this process."""


def push(measurement: Measurement, endpoint: str, headers: dict[str, str], now: datetime) -> bool:
    """Send a measurement to an OTLP/HTTP receiver; say whether it took it. Blocks."""
    exporter = OTLPMetricExporter(
        endpoint=f"{endpoint.rstrip('/')}/v1/metrics", headers=headers, timeout=TIMEOUT_S
    )
    try:
        done = exporter.export(data(measurement, now), timeout_millis=TIMEOUT_S * 1_000)
    finally:
        exporter.shutdown()
    return done is MetricExportResult.SUCCESS


def data(measurement: Measurement, now: datetime) -> MetricsData:
    """Turn a measurement into OpenTelemetry's data model."""
    at_ns = int(now.timestamp()) * 1_000_000_000
    metrics = [
        MetricData(
            m.name, m.help, _UNITS.get(m.unit, f"{{{m.unit}}}"), _points(m, measurement, at_ns)
        )
        for m in CATALOGUE
        if measurement.values[m.name] or measurement.histograms.get(m.name)
    ]
    scope = ScopeMetrics(InstrumentationScope("tieout"), metrics, "")
    return MetricsData([ResourceMetrics(Resource({"service.name": "tieout"}), [scope], "")])


def _points(metric: Metric, measurement: Measurement, at_ns: int) -> Gauge | Sum | HistogramData:
    if metric.kind == "histogram":
        points = list(_distributions(metric, measurement, at_ns))
        return HistogramData(points, AggregationTemporality.CUMULATIVE)
    numbers = [
        NumberDataPoint(dict(zip(metric.labels, labels, strict=True)), _UNKNOWN_START, at_ns, value)
        for labels, value in sorted(measurement.values[metric.name].items())
    ]
    if metric.kind == "counter":
        return Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=not metric.falls)
    return Gauge(numbers)


def _distributions(
    metric: Metric, measurement: Measurement, at_ns: int
) -> Iterator[HistogramDataPoint]:
    """Turn counts at or under each bound into counts between bounds."""
    for labels, found in sorted(measurement.histograms[metric.name].items()):
        edges = (0, *found.under, found.n)
        yield HistogramDataPoint(
            dict(zip(metric.labels, labels, strict=True)),
            _UNKNOWN_START,
            at_ns,
            found.n,
            found.total,
            [after - before for before, after in pairwise(edges)],
            metric.buckets,
            min=None,  # type: ignore[arg-type]  # optional in the protocol, and not known
            max=None,  # type: ignore[arg-type]  # likewise
        )
