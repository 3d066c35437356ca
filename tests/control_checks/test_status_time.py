"""A run that is given no status time takes one up to which its streams are known: real reads, real watermarks."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from api.wiring import Application, read_configuration
from collector.model.control import Run
from collector.store import runs
from connectors.sap_cloud_integration.sandbox import CLIENT_ID, CLIENT_SECRET, Sandbox, Tenant
from control_checks.schedule import Schedule
from tests.connectors.cpi import DAY, HOUR, MINUTE, NOON, Time, ended
from tests.control_checks.notify.alerting import SECRET, webhook
from tests.control_checks.notify.test_outbox import told
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

CONTROL = "delivered_in_time"
SETTLED = NOON - 10 * MINUTE
"""Up to then the tenant, asked at noon, has nothing more: so long messages may appear late."""
CONFIGURATION = """\
tieout: 1
sources:
  shop:
    connector: files
    system: shop
    streams:
      orders:
        read: {{path: orders.jsonl, format: jsonl, follow: true}}{complete}
        mapping:
          key: order
          document: {{type: order, number: order}}
          occurred_at: {{value: at, timezone: in value}}
          events: [{{rule: placed, type: order.placed}}]
  cpi:
    connector: sap_cloud_integration
    system: middleware
    streams:
      messages:
        read:
          base_url: {base_url}
          token_url: {token_url}
          client_id: {client_id}
          client_secret: "${{file:cpi.secret}}"
        mapping:
          key: MessageGuid
          document: {{type: message, number: MessageGuid}}
          occurred_at: {{value: LogEnd, format: odata, timezone: in value}}
          references: [{{kind: order, role: identity, value: ApplicationMessageId}}]
          events: [{{rule: ended, type: message.delivered}}]
flows:
  - flow: orders
    title: Orders
    anchor: order
    steps:
      - {{name: placed, system: shop, done_by: [order.placed]}}
      - {{name: delivered, system: middleware, after: placed, done_by: [message.delivered]}}
controls:
  delivered_in_time:
    check: approved_not_paid
    flows: [orders]
    schedule: "*/5 * * * *"
    parameters: {{approved: placed, posted: placed, paid: delivered, due: 2 hours}}
alerts: {alerts}
"""


class House:
    """An order in a file and its message in a tenant over HTTP; `time` is the present for both."""

    def __init__(self, store: DatabaseStore, folder: Path, sandbox: Sandbox, time: Time) -> None:
        self.store = store
        self.folder = folder
        self.sandbox = sandbox
        self.time = time
        (folder / "cpi.secret").write_text(CLIENT_SECRET)
        (folder / "webhook.secret").write_text(SECRET)
        self.order("O-1", NOON - 5 * HOUR)
        self.deliver("O-1", NOON - 4 * HOUR)

    def order(self, number: str, at: datetime) -> None:
        with (self.folder / "orders.jsonl").open("a") as file:
            file.write(json.dumps({"order": number, "at": at.isoformat()}) + "\n")

    def deliver(self, number: str, at: datetime) -> None:
        self.sandbox.tenant.add(ended(f"M-{number}", at, application_id=number))

    async def configure(self, until: datetime | None, control: str = "") -> None:
        """Publish a configuration in which somebody declares the orders up to an instant, or nobody does."""
        covers = f'["2026-01-01T00:00:00Z", "{until.isoformat() if until else ""}"]'
        complete = f"\n        complete: {{covers: {covers}, by: the shop}}" if until else ""
        text = CONFIGURATION.format(
            complete=complete,
            base_url=self.sandbox.base_url,
            token_url=self.sandbox.token_url,
            client_id=CLIENT_ID,
            alerts=webhook(),
        )
        path = self.folder / "tieout.yaml"
        path.write_text(text.replace("    schedule:", f"{control}    schedule:"))
        self.application = Application(read_configuration(path), self.store, self.time)
        await self.application.prepare()

    async def read(self) -> None:
        async with self.store.connect() as conn:
            with self.application.collector(conn) as collector:
                for source in self.application.sources():
                    await collector.sync(source)

    async def run(self, as_of: datetime | None = None, as_known: datetime | None = None) -> Run:
        engine = self.application.engine()
        return await engine.run(CONTROL, as_of, as_known, trigger="command", actor="test")

    async def live(self, minutes: int) -> list[Run]:
        """Let time pass, read and run every five minutes."""
        found = []
        for _ in range(minutes // 5):
            self.time.pass_by(5 * MINUTE)
            await self.read()
            found.append(await self.run())
        return found

    async def notices(self) -> list[tuple[object, ...]]:
        async with self.store.connect() as conn:
            found = await conn.fetch("SELECT notice FROM tieout.standing ORDER BY run")
        return told([json.loads(row["notice"])["data"] for row in found if row["notice"]])


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def house(database: Database, tmp_path: Path, time: Time) -> Iterator[House]:
    with Sandbox(Tenant(time)) as sandbox:
        yield House(DatabaseStore(database), tmp_path, sandbox, time)


async def test_a_scheduled_run_passes_as_of_the_time_up_to_which_its_streams_are_known(
    house: House,
) -> None:
    await house.configure(NOON + DAY)
    house.order("O-2", NOON - MINUTE)  # nobody can know yet what became of it
    await house.read()
    schedule = Schedule(house.application.engine(), house.time)
    schedule._leading.set()
    assert await schedule.fire(CONTROL)
    async with house.store.connect() as conn:
        (run,) = await runs.runs(conn, CONTROL, None, 10)
    assert (run.verdict, run.trigger, run.as_of) == ("PASS", "schedule", SETTLED)
    assert (run.population["in_scope"], run.population["ok"]) == (1, 1)
    (note,) = run.notes
    assert note == f"status time: cpi/messages is known only up to {SETTLED.isoformat()}"


async def test_a_given_status_time_stays_as_it_is(house: House) -> None:
    await house.configure(NOON + DAY)
    await house.read()
    run = await house.run(as_of=NOON)
    assert (run.verdict, run.as_of, run.notes) == ("INCOMPLETE", NOON, [])
    assert [gap["what"] for gap in run.gaps] == ["NOT_COVERED"]


async def test_the_status_time_is_never_later_than_now(house: House) -> None:
    await house.configure(NOON + DAY)
    await house.read()
    house.time.at = SETTLED - HOUR  # a clock that was set back
    run = await house.run()
    assert (run.verdict, run.as_of, run.notes) == ("PASS", SETTLED - HOUR, [])


async def test_a_file_that_somebody_declares_complete_holds_the_status_time_back(
    house: House,
) -> None:
    await house.configure(NOON - 3 * HOUR)
    await house.read()
    run = await house.run()
    assert (run.verdict, run.as_of) == ("PASS", NOON - 3 * HOUR)
    assert run.notes == [
        f"status time: shop/orders is known only up to {(NOON - 3 * HOUR).isoformat()}"
    ]
    house.time.pass_by(2 * DAY)
    await house.read()
    run = await house.run()
    assert (run.verdict, run.as_of) == ("INCOMPLETE", NOON + DAY)
    assert [(gap["stream"], gap["what"]) for gap in run.gaps] == [("shop/orders", "NOT_COVERED")]


async def test_a_stream_of_which_nobody_says_anything_is_a_gap_and_holds_nothing_back(
    house: House,
) -> None:
    await house.configure(None)
    await house.read()
    run = await house.run()
    assert (run.verdict, run.as_of) == ("INCOMPLETE", SETTLED)
    assert [(gap["stream"], gap["what"]) for gap in run.gaps] == [("shop/orders", "UNDECLARED")]


async def test_where_no_stream_says_anything_the_status_time_is_now(house: House) -> None:
    await house.configure(None)
    run = await house.run()
    assert (run.verdict, run.as_of, run.error) == ("INCOMPLETE", NOON, None)
    assert {gap["what"] for gap in run.gaps} >= {"NEVER_READ", "UNDECLARED"}


@pytest.mark.parametrize(
    ("lag_max", "stopped_for", "verdict", "as_of"),
    [
        ("", DAY - 10 * MINUTE, "PASS", SETTLED),
        ("", DAY - 9 * MINUTE, "INCOMPLETE", SETTLED + MINUTE),
        ("    lag_max: 4 days\n", 2 * DAY, "PASS", SETTLED),
        ("    lag_max: 4 days\n", 5 * DAY, "INCOMPLETE", NOON + DAY),
        ("    lag_max: 90 minutes\n", 2 * HOUR, "INCOMPLETE", NOON + 30 * MINUTE),
    ],
)
async def test_a_source_that_stopped_is_named_once_it_lags_behind_the_limit(
    house: House, lag_max: str, stopped_for: timedelta, verdict: str, as_of: datetime
) -> None:
    await house.configure(NOON + 90 * DAY, lag_max)
    await house.read()
    house.time.pass_by(stopped_for)
    run = await house.run()
    assert (run.verdict, run.as_of) == (verdict, as_of)
    gaps = [(gap["what"], gap["sentence"]) for gap in run.gaps]
    said = f"cpi/messages is complete only up to {SETTLED.isoformat()}, not to {as_of.isoformat()}."
    assert gaps == ([] if verdict == "PASS" else [("NOT_COVERED", said)])


async def test_what_was_known_then_gives_the_status_time_of_then(house: House) -> None:
    await house.configure(NOON + DAY)
    await house.read()
    then = await house.run()
    await house.live(30)
    house.time.pass_by(5 * DAY)
    again = await house.run(as_known=then.as_known)
    assert (again.verdict, again.as_of, again.as_known) == ("PASS", then.as_of, then.as_known)


async def test_a_source_that_lags_as_always_fires_no_alert(house: House) -> None:
    await house.configure(NOON + DAY)
    found = await house.live(30)
    assert {run.verdict for run in found} == {"PASS"}
    assert [run.as_of for run in found] == [NOON + (n - 10) * MINUTE for n in range(5, 31, 5)]
    assert await house.notices() == []


async def test_an_order_without_a_message_is_told_once_it_is_known_to_have_none(
    house: House,
) -> None:
    await house.configure(NOON + DAY)
    house.order("O-2", NOON)  # due at two o'clock, known ten minutes later
    found = await house.live(140)
    assert [run.as_of for run in found if run.exceptions] == [
        NOON + 125 * MINUTE,
        NOON + 130 * MINUTE,
    ]
    assert {run.verdict for run in found} == {"PASS", "FAIL"}
    assert await house.notices() == [("PASS", "FAIL", 1, 1, 0, 0)]


async def test_a_stopped_source_is_told_once_and_resolved_when_it_is_read_again(
    house: House,
) -> None:
    await house.configure(NOON + 90 * DAY)
    await house.live(10)
    house.time.pass_by(2 * DAY)
    for _ in range(4):
        house.time.pass_by(5 * MINUTE)
        assert (await house.run()).verdict == "INCOMPLETE"
    assert await house.notices() == [("PASS", "INCOMPLETE", 0, 0, 0, 0)]
    await house.live(20)
    assert await house.notices() == [
        ("PASS", "INCOMPLETE", 0, 0, 0, 0),
        ("INCOMPLETE", "PASS", 0, 0, 0, 0),
    ]


async def test_a_first_run_that_did_not_run_silences_no_run_about_the_time_before_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> object:
        raise ValueError("the database is on fire")

    await house.configure(NOON + DAY)
    await house.read()
    with monkeypatch.context() as patch:
        patch.setattr("control_checks.runner.totals.totals", broken)
        run = await house.run()
    assert (run.verdict, run.as_of) == ("ERROR", NOON)
    assert (await house.run()).as_of == SETTLED
    assert await house.notices() == [
        (None, "ERROR", 0, 0, 0, 0),
        ("ERROR", "PASS", 0, 0, 0, 0),
    ]
