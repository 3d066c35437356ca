import json
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from api.wiring import Application
from collector.pipeline import export
from collector.pipeline.export import export_finished
from collector.settings.definitions import Telemetry
from collector.settings.load import Configuration
from collector.store import observed
from collector.store.session import Store
from collector.telemetry import traces
from collector.telemetry.traces import trace_id
from tests.support import shop
from tests.support.hooks import Answer, Post, receiving
from tests.support.otlp import Receiver
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at, collect

NOW = shop.NOW
TITLE = "Invoices, from receipt to payment"


class Shop:
    """The shop, its store and its receiver."""

    def __init__(self, store: Store, configuration: Configuration, receiver: Receiver) -> None:
        self.store, self.receiver, self.now = store, receiver, NOW
        self.configuration = configuration._replace(
            settings=configuration.settings.model_copy(
                update={
                    "telemetry": Telemetry(
                        otlp_endpoint=receiver.address,
                        headers={"x-token": "${file:token}"},
                    )
                }
            )
        )

    async def tell(self, limit: int = 100) -> int:
        return await export_finished(self.store, self.configuration, lambda: self.now, limit)

    async def happens(self, invoice: str, what: str, day: float) -> None:
        path = self.configuration.folder / f"payments-{invoice}.jsonl"
        path.write_text(shop.line(invoice, what, day) + "\n")
        application = Application(self.configuration, self.store, at(self.now))
        async with self.store.connect() as conn:
            for source in application.sources(("bank",)):
                with application.collector(conn) as collector:
                    await collector.sync(source)

    def told(self, number: str) -> list[dict[str, Span]]:
        """Return the traces told of an invoice, in order: their spans by name."""
        roots = [
            s.trace_id
            for _, s in self.receiver.spans
            if s.name == TITLE and attributes(s)["tieout.key"] == number
        ]
        return [{s.name: s for _, s in self.receiver.spans if s.trace_id == root} for root in roots]

    def found(self, number: str) -> list[Span]:
        """Return the small spans of the present time for an invoice."""
        spans = [s for _, s in self.receiver.spans if s.name == f"Told: {TITLE}"]
        return [s for s in spans if attributes(s)["tieout.key"] == number]


def attributes(span: Span) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in span.attributes}


def ns(day: float) -> int:
    return int((shop.START + timedelta(days=day)).timestamp()) * 10**9


@pytest.fixture
async def place(database: Database, tmp_path: Path) -> AsyncIterator[Shop]:
    store = DatabaseStore(database)
    configuration, _ = await collect(store, shop.write(tmp_path), at(NOW - timedelta(hours=1)))
    (tmp_path / "token").write_text("secret\n")
    with receiving(Receiver) as receiver:
        yield Shop(store, configuration, receiver)


async def test_what_is_over_is_told_once_and_what_is_open_is_not(place: Shop) -> None:
    assert await place.tell() == 5
    told = {attributes(s)["tieout.key"] for _, s in place.receiver.spans if not s.parent_span_id}
    assert told == {"A-PAID", "B-MISSING", "D-REJECTED", "E-LATE", "F-SHORTCUT"}
    before = len(place.receiver.spans)
    assert await place.tell() == 0
    place.now += timedelta(days=365)
    assert await place.tell() == 1  # the recent one is due by now, and missing
    assert {s.name for _, s in place.receiver.spans[before:]} >= {"Paid", TITLE}
    first = place.receiver.posts[0]
    assert (first.path, first.headers["x-token"]) == ("/v1/traces", "secret")


async def test_a_trace_has_the_real_times_and_tells_waiting_from_system_time(place: Shop) -> None:
    await place.tell()
    (trace,) = place.told("A-PAID")
    times = {name: (s.start_time_unix_nano, s.end_time_unix_nano) for name, s in trace.items()}
    assert times == {
        TITLE: (ns(0), ns(5)),
        "Received": (ns(0), ns(0)),
        "Waiting for supervisor": (ns(0), ns(2)),
        "Approved": (ns(2), ns(2)),
        "Paid": (ns(2), ns(5)),
    }
    assert attributes(trace["Waiting for supervisor"])["tieout.time"] == "waiting"
    assert attributes(trace["Paid"])["tieout.time"] == "system"
    root = trace[TITLE]
    assert root.status.code == Status.STATUS_CODE_UNSET
    assert {s.parent_span_id for n, s in trace.items() if n != TITLE} == {root.span_id}
    assert len({s.span_id for s in trace.values()}) == 5
    services = {s.name: service for service, s in place.receiver.spans if s in trace.values()}
    assert (services[TITLE], services["Paid"]) == ("tieout", "bank")
    shown = attributes(root)
    assert shown["tieout.key"] == "A-PAID"
    assert shown["tieout.amount_minor"] == 125_000
    assert shown["tieout.state"] == "completed"


async def test_a_missing_step_is_a_span_of_its_own_until_it_was_due(place: Shop) -> None:
    await place.tell()
    (trace,) = place.told("B-MISSING")
    paid = trace["Paid"]
    assert attributes(paid)["tieout.step.status"] == "MISSING"
    assert paid.status.code == Status.STATUS_CODE_ERROR
    assert (paid.start_time_unix_nano, paid.end_time_unix_nano) == (ns(1), ns(11))
    assert trace[TITLE].status.code == Status.STATUS_CODE_ERROR
    assert trace[TITLE].status.message == "1 of 3 steps failed or are missing"


@pytest.mark.parametrize(
    ("invoice", "step", "status", "code"),
    [
        ("E-LATE", "Paid", "LATE", Status.STATUS_CODE_UNSET),
        ("D-REJECTED", "Paid", "SKIPPED", Status.STATUS_CODE_UNSET),
        ("F-SHORTCUT", "Approved", "MISSING", Status.STATUS_CODE_ERROR),
    ],
)
async def test_a_step_says_its_status(
    place: Shop, invoice: str, step: str, status: str, code: int
) -> None:
    await place.tell()
    (trace,) = place.told(invoice)
    assert attributes(trace[step])["tieout.step.status"] == status
    assert trace[step].status.code == code


async def test_a_failed_step_says_how(place: Shop) -> None:
    await place.happens("B-MISSING", "failed", 8)
    await place.tell()
    (trace,) = place.told("B-MISSING")
    paid = trace["Paid"]
    assert paid.status.message == "failed: invoice.failed"
    assert (paid.start_time_unix_nano, paid.end_time_unix_nano) == (ns(1), ns(8))


async def test_a_small_span_of_the_present_carries_the_keys_and_links_to_the_trace(
    place: Shop,
) -> None:
    await place.tell()
    (trace,), (found,) = place.told("A-PAID"), place.found("A-PAID")
    assert found.start_time_unix_nano == int(NOW.timestamp()) * 10**9
    assert found.trace_id != trace[TITLE].trace_id
    (link,) = found.links
    assert (link.trace_id, link.span_id) == (trace[TITLE].trace_id, trace[TITLE].span_id)
    assert attributes(found)["tieout.trace_id"] == trace[TITLE].trace_id.hex()
    assert attributes(found)["tieout.key"] == "A-PAID"


async def test_a_late_fact_makes_one_correction_linked_to_the_first(place: Shop) -> None:
    await place.tell()
    await place.happens("B-MISSING", "paid", 20)
    assert await place.tell() == 1
    assert await place.tell() == 0
    first, second = place.told("B-MISSING")
    (link,) = second[TITLE].links
    assert (link.trace_id, link.span_id) == (first[TITLE].trace_id, first[TITLE].span_id)
    assert first[TITLE].trace_id != second[TITLE].trace_id
    assert attributes(second[TITLE])["tieout.correction"] is True
    assert attributes(second["Paid"])["tieout.step.status"] == "LATE"
    linked = [k.trace_id for k in place.found("B-MISSING")[1].links]
    assert linked == [second[TITLE].trace_id, first[TITLE].trace_id]


async def test_ids_can_be_computed_from_the_document_and_are_in_the_store(
    place: Shop, database: Database
) -> None:
    await place.tell()
    conn = await asyncpg.connect(database.dsn("tieout_reader"))
    rows = await conn.fetch("SELECT * FROM read.trace")
    await conn.close()
    assert len(rows) == 5
    told = {s.trace_id.hex() for _, s in place.receiver.spans if s.name == TITLE}
    assert told == {r["trace_id"] for r in rows}
    for row in rows:
        assert row["trace_id"] == trace_id("invoices", str(row["document_id"]), 0)


async def test_no_number_of_a_document_is_the_name_of_a_span(place: Shop) -> None:
    await place.tell()
    names = json.dumps(sorted({s.name for _, s in place.receiver.spans}))
    for invoice, _, _ in shop.INVOICES:
        assert invoice not in names


async def test_what_the_receiver_refuses_is_sent_again_later(
    place: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    place.receiver.answer = 400
    with caplog.at_level(logging.WARNING, logger=export.__name__):
        assert await place.tell() == 0
    assert "5 of invoices will be sent again" in caplog.text
    assert "secret" not in caplog.text
    place.receiver.answer = 200
    assert await place.tell() == 5


async def test_a_receiver_that_is_not_there_harms_nobody(
    place: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "TIMEOUT_S", 0.5)
    reachable = place.configuration
    place.configuration = reachable._replace(
        settings=reachable.settings.model_copy(
            update={"telemetry": Telemetry(otlp_endpoint="http://127.0.0.1:9")}
        )
    )
    assert await place.tell() == 0
    place.configuration = reachable
    assert await place.tell() == 5


async def test_what_arrived_before_a_failure_is_not_sent_again(
    place: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "BURST", 2)
    take = place.receiver.take

    def once(post: Post) -> Answer:
        place.receiver.answer = 200 if len(place.receiver.posts) < 1 else 400
        return take(post)

    monkeypatch.setattr(place.receiver, "take", once)
    assert await place.tell() == 2
    monkeypatch.setattr(place.receiver, "take", take)
    place.receiver.answer = 200
    assert await place.tell() == 3
    assert len([s for _, s in place.receiver.spans if s.name == TITLE]) == 5


async def test_the_limit_leaves_the_rest_for_the_next_run(place: Shop) -> None:
    assert [await place.tell(limit=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_nothing_is_sent_where_no_endpoint_is_configured_or_another_exports(
    place: Shop,
) -> None:
    async with place.store.connect() as conn:
        assert await observed.lock_export(conn)
        assert await place.tell() == 0
    place.configuration = place.configuration._replace(
        settings=place.configuration.settings.model_copy(update={"telemetry": Telemetry()})
    )
    assert await place.tell() == 0
    assert place.receiver.posts == []


async def test_what_was_sent_cannot_be_changed(place: Shop) -> None:
    await place.tell()
    async with place.store.connect() as conn:
        for statement in (
            "DELETE FROM tieout.trace_sent",
            "UPDATE tieout.trace_sent SET flow = ''",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)


def test_nanoseconds_are_exact() -> None:
    instant = datetime.fromisoformat("2026-01-05T08:00:00.123457+01:00")
    assert traces._nanoseconds(instant) == 1_767_596_400_123_457_000
