import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from apscheduler.triggers.date import DateTrigger
from typing_extensions import override

from api.wiring import Application
from collector.model.control import Run
from collector.store import bridges, runs
from collector.store.ingest import Connection
from collector.store.leader import try_lead
from control_checks import schedule as scheduling
from control_checks.bridge import current
from control_checks.bridge.current import is_due
from control_checks.runner import Engine
from control_checks.schedule import GRACE_S, OFFICE, RUNS_MAX, Schedule
from tests.api.till import open_application, write
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

CONTROL = "stuck_sales"  # 0 6 * * mon-fri
DUE = datetime(2026, 2, 2, 6, tzinfo=UTC)  # a Monday
PATIENCE_S = 10.0


class Time:
    """A clock that stands still until it is set."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(autouse=True)
def _no_bridges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "BRIDGE_LOOK_S", 3_600.0)


@pytest.fixture
def time() -> Time:
    return Time(DUE - timedelta(days=2))  # a Saturday


@pytest.fixture
async def application(database: Database, tmp_path: Path, time: Time) -> Application:
    return await open_application(DatabaseStore(database), write(tmp_path), time)


def schedule(application: Application) -> Schedule:
    return Schedule(application.engine(), application.clock, lead_s=0.05)


@asynccontextmanager
async def serving(*schedules: Schedule) -> AsyncIterator[None]:
    stop = asyncio.Event()
    tasks = [asyncio.create_task(s.serve(stop)) for s in schedules]
    await until(lambda: all(s.alive for s in schedules))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 -- conditions of several objects
            await asyncio.sleep(0.01)


async def kept(application: Application) -> list[Run]:
    async with application.store.connect() as conn:
        return await runs.runs(conn, CONTROL, None, 100)


async def test_every_control_with_a_schedule_has_one_job_in_utc(application: Application) -> None:
    made = schedule(application)
    async with serving(made):
        (job,) = made.scheduler.get_jobs()  # stuck_again has no schedule
        assert (job.id, job.coalesce, job.max_instances) == (CONTROL, True, 1)
        assert job.misfire_grace_time == GRACE_S
        upcoming = job.trigger.get_next_fire_time(None, DUE - timedelta(days=2))
        assert upcoming == DUE  # over the weekend
        assert made.alive
    assert not made.alive


async def test_the_scheduler_starts_a_control_that_is_due(
    application: Application, time: Time
) -> None:
    made = schedule(application)
    async with serving(made):
        await until(lambda: made.leads)
        made.scheduler.reschedule_job(CONTROL, trigger=DateTrigger(timezone=UTC))
        await until(lambda: not made.scheduler.get_jobs())  # started: a date comes once
    (run,) = await kept(application)
    assert (run.trigger, run.actor, run.started_at) == ("schedule", "scheduler", time.now)
    assert run.as_of == time.now - timedelta(days=1)  # the bank is known up to 20 January alone


async def test_of_two_processes_one_runs_what_is_due_and_the_other_takes_over(
    application: Application, database: Database
) -> None:
    both = [schedule(application), schedule(application)]
    async with serving(*both):
        await until(lambda: any(s.leads for s in both))
        for _ in range(5):
            assert sorted(await asyncio.gather(*(s.fire(CONTROL) for s in both))) == [False, True]
        (leader,) = [s for s in both if s.leads]
        (heir,) = [s for s in both if not s.leads]
        await _end_leader(database)
        await until(lambda: heir.leads or (leader.leads and heir.alive))
        await until(lambda: sum(s.leads for s in both) == 1)
        assert sorted(await asyncio.gather(*(s.fire(CONTROL) for s in both))) == [False, True]
    assert len(await kept(application)) == 6


async def _end_leader(database: Database) -> None:
    admin = await asyncpg.connect(database.server.dsn("postgres", database.name))
    ended = await admin.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_locks"
        " WHERE locktype = 'advisory' AND granted AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert len(ended) == 1
    await admin.close()


@pytest.mark.parametrize(
    ("began", "last_run", "now", "made_up"),
    [
        pytest.param(-60, -1440, 10, True, id="missed while nobody led"),
        pytest.param(-60, -1440, 59, True, id="within the grace"),
        pytest.param(-60, -1440, 61, False, id="after the grace"),
        pytest.param(-60, 0, 10, False, id="ran when due"),
        pytest.param(5, -1440, 10, True, id="missed by the process before"),
        pytest.param(5, None, 10, False, id="never promised before"),
        pytest.param(-60, None, 10, True, id="due since this process lives"),
        pytest.param(-60, -1440, -10, False, id="not due yet"),
    ],
)
async def test_what_fell_due_while_nobody_led_is_made_up_for_once(
    application: Application,
    time: Time,
    began: int,
    last_run: int | None,
    now: int,
    made_up: bool,  # noqa: FBT001 -- a table
) -> None:
    if last_run is not None:
        time.now = DUE + timedelta(minutes=last_run)
        await application.engine().run(
            CONTROL, time.now, None, trigger="schedule", actor="scheduler"
        )
    before = len(await kept(application))
    time.now = DUE + timedelta(minutes=began)
    made = schedule(application)
    time.now = DUE + timedelta(minutes=now)
    async with serving(made):
        await until(lambda: made.leads)
    async with serving(schedule(application)):
        await asyncio.sleep(0.2)
    assert len(await kept(application)) - before == int(made_up)


async def test_a_command_in_between_does_not_count_as_the_scheduled_run(
    application: Application, time: Time
) -> None:
    time.now = DUE + timedelta(minutes=1)
    await application.engine().run(CONTROL, time.now, None, trigger="command", actor="somebody")
    time.now = DUE - timedelta(minutes=1)
    made = schedule(application)
    time.now = DUE + timedelta(minutes=2)
    async with serving(made):
        await until(lambda: made.leads)
    assert [r.trigger for r in await kept(application)] == ["schedule", "command"]


async def test_the_bridges_are_computed_by_the_one_that_leads(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "BRIDGE_LOOK_S", 0.05)
    looks = 0

    async def counted(engine: Engine) -> bool:
        nonlocal looks
        looks += 1
        return await is_due(engine)

    monkeypatch.setattr(current, "is_due", counted)
    made = schedule(application)

    async def computed(conn: Connection) -> bool:
        return bool(await bridges.latest(conn, ["sales"], "2026-01"))

    async with AsyncExitStack() as stack, application.store.connect() as conn:
        async with application.store.connect() as other:
            assert await try_lead(other, OFFICE)
            await stack.enter_async_context(serving(made))
            await asyncio.sleep(0.5)
            assert looks == 0
        async with asyncio.timeout(PATIENCE_S):
            while not await computed(conn):  # noqa: ASYNC110 -- the database has no event
                await asyncio.sleep(0.05)
        assert made.leads


class Slow(Engine):
    """An engine whose runs take until they are let go."""

    let_go = asyncio.Event()
    under_way = 0

    @override
    async def run(
        self,
        control_id: str,
        as_of: datetime | None,
        as_known: datetime | None,
        *,
        trigger: str,
        actor: str,
    ) -> Run:
        type(self).under_way += 1
        await self.let_go.wait()
        return await super().run(control_id, as_of, as_known, trigger=trigger, actor=actor)


async def test_a_stop_lets_the_run_under_way_end_and_starts_no_other(
    application: Application,
) -> None:
    engine = application.engine()
    Slow.let_go, Slow.under_way = asyncio.Event(), 0
    made = Schedule(
        Slow(engine.configuration, engine.store, engine.checks, engine.clock), engine.clock, 0.05
    )
    stop = asyncio.Event()
    serving_ = asyncio.create_task(made.serve(stop))
    await until(lambda: made.leads)
    first = asyncio.create_task(made.fire(CONTROL))
    await until(lambda: Slow.under_way == 1)
    assert await made.fire(CONTROL) is False  # one at a time
    stop.set()
    await until(lambda: not made.leads)
    assert await made.fire("stuck_again") is False
    assert not serving_.done()
    Slow.let_go.set()
    await asyncio.wait_for(serving_, PATIENCE_S)
    assert await first is True
    assert len(await kept(application)) == 1


async def test_no_more_controls_run_at_once_than_the_limit(application: Application) -> None:
    engine = application.engine()
    controls = engine.configuration.settings.controls
    controls.update({f"c{n}": controls[CONTROL] for n in range(RUNS_MAX + 2)})
    Slow.let_go, Slow.under_way = asyncio.Event(), 0
    made = Schedule(
        Slow(engine.configuration, engine.store, engine.checks, engine.clock), engine.clock, 0.05
    )
    async with serving(made):
        await until(lambda: made.leads)
        tasks = [asyncio.create_task(made.fire(f"c{n}")) for n in range(RUNS_MAX + 2)]
        await asyncio.sleep(0.1)
        assert Slow.under_way == RUNS_MAX
        Slow.let_go.set()
        assert await asyncio.gather(*tasks) == [True] * (RUNS_MAX + 2)
