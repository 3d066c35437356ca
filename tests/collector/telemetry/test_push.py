from pathlib import Path

from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric

from collector.pipeline.measure import Meter, measure
from collector.settings.definitions import Telemetry
from collector.settings.load import Configuration
from collector.telemetry.metrics import BY_NAME, Measurement
from control_checks.bridge.current import keep_current
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from tests.support import shop
from tests.support.hooks import receiving
from tests.support.otlp import Receiver
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at, collect

NOW = shop.NOW


def to(receiver: Receiver | None, configuration: Configuration) -> Configuration:
    telemetry = Telemetry(otlp_endpoint=receiver.address if receiver else None)
    changed = configuration.settings.model_copy(update={"telemetry": telemetry})
    return configuration._replace(settings=changed)


def received(metric: Metric) -> dict[tuple[str, ...], float]:
    """Return a metric's values by labels in the catalogue's order; of a histogram its sum."""
    points = getattr(metric, metric.WhichOneof("data") or "").data_points
    out = {}
    for point in points:
        labels = {a.key: a.value.string_value for a in point.attributes}
        key = tuple(labels[name] for name in BY_NAME[metric.name].labels)
        out[key] = point.sum if metric.HasField("histogram") else point.as_double or point.as_int
    return out


async def test_what_is_pushed_is_what_can_be_scraped(database: Database, tmp_path: Path) -> None:
    store = DatabaseStore(database)
    configuration, _ = await collect(store, shop.write(tmp_path), at(NOW))
    engine = Engine(configuration, store, CHECKS, at(NOW))
    await keep_current(engine)  # runs all three controls
    expected = await measure(store, configuration, NOW)
    with receiving(Receiver) as receiver:
        meter = Meter(store, to(receiver, configuration), at(NOW))
        assert await meter.push()
        await meter.close()
    found = {m.name: m for m in receiver.metrics}
    assert set(found) == set(BY_NAME)
    for name, metric in found.items():
        sums = {k: h.total for k, h in expected.histograms.get(name, {}).items()}
        assert received(metric) == {**expected.values[name], **sums}, name
        assert metric.description == BY_NAME[name].help
    runs = found["tieout_control_run_duration_seconds"].histogram
    assert runs.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    assert sum(sum(p.bucket_counts) for p in runs.data_points) == 3
    assert not runs.data_points[0].HasField("min")
    assert found["tieout_ingest_events_total"].sum.is_monotonic
    assert not found["tieout_transactions_completed_total"].sum.is_monotonic
    assert found["tieout_ingest_events_total"].unit == "{records}"
    assert found["tieout_ingest_lag_seconds"].unit == "s"


async def test_a_push_that_is_refused_says_so_and_harms_nobody(
    database: Database, tmp_path: Path
) -> None:
    store = DatabaseStore(database)
    configuration, _ = await collect(store, shop.write(tmp_path), at(NOW))
    with receiving(Receiver) as receiver:
        receiver.answer = 400
        meter = Meter(store, to(receiver, configuration), at(NOW))
        assert not await meter.push()
        assert len(receiver.posts) == 1
        await meter.close()
    silent = Meter(store, to(None, configuration), at(NOW))
    assert not await silent.push()
    assert Measurement().values.keys() == BY_NAME.keys()
