import asyncio
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from api.wiring import Application
from collector.clock import stopwatch
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.measure import Meter, measure
from collector.settings.load import Configuration
from collector.store import alerts, ingest, observed
from collector.store.session import Store
from collector.telemetry.metrics import (
    BY_NAME,
    CATALOGUE,
    ENTITIES_MAX,
    OTHER,
    Measurement,
    bounded,
    render,
)
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from tests.support import shop
from tests.support.debian import require
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at, collect

NOW = shop.NOW


@pytest.fixture
async def filled(database: Database, tmp_path: Path) -> tuple[Store, Configuration]:
    store = DatabaseStore(database)
    configuration, _ = await collect(store, shop.write(tmp_path), at(NOW - timedelta(hours=1)))
    return store, configuration


async def run(store: Store, configuration: Configuration, now: datetime) -> None:
    engine = Engine(configuration, store, CHECKS, at(now))
    await engine.run("late_payments", None, None, trigger="command", actor="test")


def samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        yield from family.samples


def value(text: str, metric: str, **labels: str) -> float | None:
    found = [s.value for s in samples(text) if s.name == metric and s.labels == labels]
    assert len(found) <= 1
    return found[0] if found else None


async def test_every_metric_of_the_catalogue_is_exported_and_no_other(
    filled: tuple[Store, Configuration],
) -> None:
    await run(*filled, NOW)
    text = render(await measure(*filled, NOW))
    families = {f.name: f for f in text_string_to_metric_families(text)}
    expected = {m.name.removesuffix("_total") if m.kind == "counter" else m.name for m in CATALOGUE}
    assert set(families) == expected
    absent = {"tieout_control_last_pass_timestamp_seconds"}  # nothing has passed yet
    absent |= {name for name in BY_NAME if name.startswith("tieout_conservation_")}  # no bridge yet
    assert {name for name, family in families.items() if not family.samples} == absent
    for metric in CATALOGUE:
        family = families[metric.name.removesuffix("_total")]
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample
        assert family.documentation == metric.help


async def test_an_empty_store_says_zero_of_everything_configured(
    database: Database, tmp_path: Path
) -> None:
    store = DatabaseStore(database)
    configuration, _ = await collect(store, shop.write(tmp_path), at(NOW))
    erp = configuration.settings.sources["erp"]
    stream = erp.streams["invoices"].model_copy(update={"complete": None})
    silent = erp.model_copy(update={"streams": {"invoices": stream}})
    empty = configuration._replace(
        settings=configuration.settings.model_copy(
            update={"sources": {"erp2": erp, "erp3": silent}}
        )
    )
    text = render(await measure(store, empty, NOW))
    for outcome in ("accepted", "duplicate", "quarantined", "unread"):
        labels = {"source": "erp2", "stream": "invoices", "outcome": outcome}
        assert value(text, "tieout_ingest_events_total", **labels) == 0
    never = {"source": "erp2", "stream": "invoices"}
    assert value(text, "tieout_ingest_lag_seconds", **never) is None
    assert value(text, "tieout_coverage_ratio", **never, measure="count") == 0
    assert value(text, "tieout_coverage_gap_records", **never, measure="count") == 12
    silence = {"source": "erp3", "stream": "invoices"}
    assert value(text, "tieout_ingest_watermark_timestamp_seconds", **silence) is None
    assert value(text, "tieout_coverage_gap_records", **silence, measure="count") == 1
    for control in ("late_payments", "never_run"):
        for verdict in ("pass", "warn", "fail", "incomplete", "error", "skipped"):
            labels = {"control": control, "verdict": verdict, "complete": "true"}
            assert value(text, "tieout_control_runs_total", **labels) == 0
    assert value(text, "tieout_control_exceptions", control="never_run", severity="high") == 0


async def test_ingest_and_coverage_tell_what_became_of_the_records(
    filled: tuple[Store, Configuration],
) -> None:
    text = render(await measure(*filled, NOW))
    people = {"source": "hr", "stream": "people"}
    counted = {
        outcome: value(text, "tieout_ingest_events_total", **people, outcome=outcome)
        for outcome in ("accepted", "duplicate", "quarantined", "unread")
    }
    assert counted == {"accepted": 1, "duplicate": 0, "quarantined": 1, "unread": 0}
    assert value(text, "tieout_ingest_lag_seconds", **people) == pytest.approx(3600, abs=1e-3)
    watermark = datetime.fromisoformat("2026-03-01T00:00:00Z").timestamp()
    assert value(text, "tieout_ingest_watermark_timestamp_seconds", **people) == watermark
    assert value(text, "tieout_coverage_ratio", **people, measure="count") == 1 / 2
    assert value(text, "tieout_coverage_gap_records", **people, measure="count") == 1
    assert value(text, "tieout_source_time_to_data_loss_seconds", **people) is None
    payments = {"source": "bank", "stream": "payments"}
    left = timedelta(days=30).total_seconds() - 3600  # read an hour ago
    found = value(text, "tieout_source_time_to_data_loss_seconds", **payments)
    assert found == pytest.approx(left, abs=1e-3)
    assert value(text, "tieout_ingest_watermark_timestamp_seconds", **payments) == watermark
    assert value(text, "tieout_coverage_ratio", **payments, measure="count") is None
    assert value(text, "tieout_coverage_gap_records", **payments, measure="count") == 0


async def test_a_stream_is_behind_while_its_end_is_not_reached(
    filled: tuple[Store, Configuration], tmp_path: Path
) -> None:
    """The first batch of a pass holds 1,000 records; the collector ends after it, once."""
    store, configuration = filled

    async def behind(now: datetime = NOW) -> tuple[float | None, float | None]:
        text = render(await measure(store, configuration, now))
        invoices, people = (
            value(text, "tieout_ingest_behind_seconds", source=source, stream=stream)
            for source, stream in (("erp", "invoices"), ("hr", "people"))
        )
        return invoices, people

    def interrupted(*_: object) -> None:
        raise InterruptedError

    async def read(progress: Callable[..., None] | None) -> None:
        application = Application(configuration, store, at(NOW - timedelta(minutes=10)))
        async with store.connect() as conn:
            with application.collector(conn) as collector:
                await collector.sync(application.sources(("erp",))[0], progress)

    assert await behind() == (0, 0)
    with (tmp_path / "invoices.jsonl").open("a") as more:
        more.writelines(shop.line(f"N{n}", "received", 1) + "\n" for n in range(1_001))
    with pytest.raises(InterruptedError):
        await read(interrupted)
    invoices, people = await behind(NOW + timedelta(minutes=1))
    assert invoices == pytest.approx(3660, abs=1e-3)
    assert people == 0
    await read(None)
    assert await behind() == (0, 0)
    async with store.connect() as conn:  # as a replay of quarantined records does
        replayed = ingest.BatchRow(0, 1, None, "quarantine", "a mapping", None, None)
        await commit(conn, batch_of(replayed, []), lambda _: 20, at(NOW))
    assert await behind() == (0, 0)


async def test_transactions_are_counted_where_they_wait_or_how_they_ended(
    filled: tuple[Store, Configuration],
) -> None:
    text = render(await measure(*filled, NOW))
    flow = {"flow": "invoices", "entity": "DE10"}
    waiting = {
        step: (
            value(text, "tieout_transactions_in_flight", **flow, step=step),
            value(text, "tieout_oldest_in_flight_seconds", **flow, step=step),
        )
        for step in ("received", "approved", "paid")
    }
    day = 86_400
    assert waiting == {"received": (0, 0), "approved": (1, 24 * day), "paid": (2, 26 * day)}
    ended = {
        outcome: value(text, "tieout_transactions_completed_total", **flow, outcome=outcome)
        for outcome in ("completed", "rejected")
    }
    assert ended == {"completed": 3, "rejected": 1}


async def test_the_time_from_step_to_step_is_told_with_zeros_for_steps_that_never_happened(
    filled: tuple[Store, Configuration],
) -> None:
    text = render(await measure(*filled, NOW))
    days = {invoice: {} for invoice, _, _ in shop.INVOICES}  # type: dict[str, dict[str, float]]
    for invoice, what, day in (*shop.INVOICES, *shop.PAYMENTS):
        days[invoice][what] = day
    name, bounds = "tieout_step_latency_seconds", (1, 10, 60, 600, 3600, 21600)
    for step, before, kind in (("approved", "received", "waiting"), ("paid", "approved", "system")):
        took = [d[step] - d[before] for d in days.values() if {step, before} <= d.keys()]
        assert len(took) > 1
        labels = {"flow": "invoices", "step": step, "kind": kind}
        assert value(text, f"{name}_count", **labels) == len(took)
        assert value(text, f"{name}_sum", **labels) == sum(took) * 86_400
        for bound in bounds:
            assert value(text, f"{name}_bucket", **labels, le=str(float(bound))) == 0
        for limit in (1, 3, 7, 14, 30):
            under = sum(t <= limit for t in took)
            assert value(text, f"{name}_bucket", **labels, le=str(limit * 86_400.0)) == under
    nothing = render(await measure(*filled, shop.START))
    labels = {"flow": "invoices", "step": "paid", "kind": "system"}
    assert value(nothing, f"{name}_count", **labels) == 0


async def test_events_of_no_case_are_orphans_by_type_and_zero_is_said(
    filled: tuple[Store, Configuration], tmp_path: Path
) -> None:
    name = "tieout_orphan_events"
    text = render(await measure(*filled, NOW))
    types = {s.labels["type"]: s.value for s in samples(text) if s.name == name}
    named = {"received", "approved", "paid", "failed", "rejected"}
    assert types == {f"invoice.{verb}": 0 for verb in named}
    store, _ = filled
    flow = tmp_path / "flow.yaml"
    flow.write_text(flow.read_text().replace("anchor: invoice", "anchor: person"))
    configuration, _ = await collect(store, tmp_path / "tieout.yaml", at(NOW))
    text = render(await measure(store, configuration, NOW))
    seen = [what for _, what, _ in (*shop.INVOICES, *shop.PAYMENTS)]
    for verb in named:
        assert value(text, name, type=f"invoice.{verb}") == seen.count(verb)
    other = shop.FLOW.replace("flow: invoices", "flow: again")  # a flow that has their anchor
    (tmp_path / "again.yaml").write_text(other)
    path = tmp_path / "tieout.yaml"
    path.write_text(path.read_text().replace("[flow.yaml]", "[flow.yaml, again.yaml]"))
    configuration, _ = await collect(store, path, at(NOW))
    text = render(await measure(store, configuration, NOW))
    assert value(text, name, type="invoice.received") == 0


async def test_exceptions_stay_when_a_later_run_ends_in_an_error_and_their_age_counts_from_the_first(
    filled: tuple[Store, Configuration],
) -> None:
    store, configuration = filled
    await run(store, configuration, NOW)
    await run(store, configuration, NOW + timedelta(days=3))
    async with store.connect() as conn:
        await conn.execute(
            "INSERT INTO tieout.commit_log SELECT max(seq) + 1, max(recorded_at) + interval '1 s', 'x'"
            " FROM tieout.commit_log"
        )
        await conn.execute(
            "INSERT INTO tieout.control_run SELECT (SELECT max(seq) FROM tieout.commit_log), control,"
            " 'ERROR', false, as_of, as_known, started_at, finished_at + interval '100 s', trigger,"
            " actor, definition, parameters, rule_hash, code_hash, query, certificate, gaps, '{}',"
            " notes, 'broken' FROM tieout.control_run ORDER BY seq DESC LIMIT 1"
        )
    text = render(await measure(store, configuration, NOW + timedelta(days=4)))
    control = {"control": "late_payments"}
    found = value(text, "tieout_control_exceptions", **control, severity="medium")
    assert found is not None
    assert found > 0
    runs = "tieout_control_runs_total"
    assert value(text, runs, **control, verdict="error", complete="false") == 1
    last = value(text, "tieout_control_last_run_timestamp_seconds", **control)
    assert last == (NOW + timedelta(days=3, seconds=100)).timestamp()
    labels = {"severity": "medium", "entity": "DE10"}
    aged = {
        bucket: value(
            text,
            "tieout_exceptions_open",
            **labels,
            age_bucket=bucket,
            **{"class": "late_payments"},
        )
        for bucket in ("0-1", "2-7", "8-30", ">30")
    }
    assert aged["2-7"]
    assert sum(filter(None, aged.values())) == found


async def test_a_run_that_takes_long_is_in_the_right_bucket(
    filled: tuple[Store, Configuration],
) -> None:
    store, configuration = filled
    clock = iter([NOW, NOW + timedelta(seconds=3), NOW + timedelta(seconds=3)])
    engine = Engine(configuration, store, CHECKS, lambda: next(clock))
    await engine.run("late_payments", NOW, None, trigger="command", actor="test")
    text = render(await measure(store, configuration, NOW))
    name = "tieout_control_run_duration_seconds"
    under = {
        s.labels["le"]: s.value
        for s in samples(text)
        if s.name == f"{name}_bucket" and s.labels["control"] == "late_payments"
    }
    assert under["1.0"] == 0
    assert under["5.0"] == under["+Inf"] == 1
    assert value(text, f"{name}_sum", control="late_payments") == 3
    assert value(text, f"{name}_count", control="never_run") == 0


async def test_no_number_of_a_transaction_or_document_is_a_label(
    filled: tuple[Store, Configuration],
) -> None:
    await run(*filled, NOW)
    text = render(await measure(*filled, NOW))
    for invoice, _, _ in shop.INVOICES:
        assert invoice not in text


async def test_promtool_finds_nothing_to_say_about_the_exposition(
    filled: tuple[Store, Configuration],
) -> None:
    await run(*filled, NOW)
    promtool = await asyncio.create_subprocess_exec(
        require("prometheus", binary="promtool"), "check", "metrics", stdin=PIPE, stdout=PIPE
    )
    said, _ = await promtool.communicate(render(await measure(*filled, NOW)).encode())
    assert (promtool.returncode, said) == (0, b"")


async def test_alerts_are_counted_by_destination_and_what_became_of_them(
    filled: tuple[Store, Configuration],
) -> None:
    store, _ = filled
    cases = {"destination": "cases"}

    async def counted(now: datetime) -> list[float | None]:
        text = render(await measure(*filled, now))
        return [
            value(text, "tieout_alerts_total", **cases, outcome="sent"),
            value(text, "tieout_alerts_total", **cases, outcome="given_up"),
            value(text, "tieout_alerts_pending", **cases),
            value(text, "tieout_alerts_oldest_pending_seconds", **cases),
        ]

    assert await counted(NOW) == [0, 0, 0, 0]
    await run(*filled, NOW)
    assert await counted(NOW + timedelta(hours=1)) == [0, 0, 1, 3600]
    async with store.connect() as conn:
        (waiting,) = await alerts.due(conn, "cases", NOW)
        await alerts.note_sent(conn, "cases", waiting.run, NOW)
        assert await counted(NOW) == [1, 0, 0, 0]
        await run(*filled, NOW + timedelta(days=9))
        assert (await counted(NOW))[2] in (0, 1)
        given_up = await alerts.give_up(conn, NOW + timedelta(days=13))
    assert await counted(NOW + timedelta(days=13)) == [1, given_up, 0, 0]


async def test_a_warm_meter_answers_fast_and_says_how_old_its_summary_is(
    filled: tuple[Store, Configuration],
) -> None:
    store, configuration = filled
    times = [NOW]
    meter = Meter(store, configuration, lambda: times[-1])
    first = render(await meter.measure())
    assert value(first, "tieout_flow_state_age_seconds") == 0
    times.append(NOW + timedelta(seconds=30))
    elapsed_s = stopwatch()
    second = render(await meter.measure())
    assert elapsed_s() < 0.2
    assert value(second, "tieout_flow_state_age_seconds") == 30
    labels = {"flow": "invoices", "step": "paid", "entity": "DE10"}
    assert value(second, "tieout_transactions_in_flight", **labels) == 2
    await meter.close()


async def test_a_summary_that_fails_leaves_the_last_one_and_its_age_grows(
    filled: tuple[Store, Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, configuration = filled
    times = [NOW]
    meter = Meter(store, configuration, lambda: times[-1])
    await meter.measure()

    async def fails(*_: object) -> observed.Summary:
        raise TimeoutError

    monkeypatch.setattr(observed, "summary", fails)
    text = ""
    for minutes in (2, 4):
        times.append(NOW + timedelta(minutes=minutes))
        text = render(await meter.measure())
    assert value(text, "tieout_flow_state_age_seconds") == 240
    labels = {"flow": "invoices", "entity": "DE10", "outcome": "completed"}
    assert value(text, "tieout_transactions_completed_total", **labels) == 3
    await meter.close()


def test_a_name_outside_the_catalogue_or_a_wrong_label_is_refused() -> None:
    with pytest.raises(KeyError):
        Measurement().set("tieout_unheard_of", 1)
    with pytest.raises(ValueError, match="has the labels"):
        Measurement().set("tieout_ingest_lag_seconds", 1, "erp")


async def test_cases_of_entities_beyond_the_limit_are_counted_together(
    filled: tuple[Store, Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.pipeline.measure.bounded", lambda _: frozenset())
    text = render(await measure(*filled, NOW))
    labels = {"flow": "invoices", "step": "paid", "entity": OTHER}
    assert value(text, "tieout_transactions_in_flight", **labels) == 2
    assert value(text, "tieout_oldest_in_flight_seconds", **labels) == 26 * 86_400


def test_entities_beyond_the_limit_have_no_label_of_their_own() -> None:
    assert len(bounded(str(n) for n in range(1_000))) == ENTITIES_MAX
    assert BY_NAME["tieout_transactions_in_flight"].labels == ("flow", "step", "entity")
