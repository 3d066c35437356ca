"""The bridges that are kept current: equal to those computed from scratch, of the months that may have changed, when due."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from random import Random  # noqa: TID251 -- seeded below
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from collector.pipeline.measure import measure
from collector.settings.load import Configuration
from collector.store import bridges, runs
from collector.store.bridges import Kept
from collector.store.embedded import Server
from control_checks.bridge.bridge import prepared
from control_checks.bridge.current import MOVES_ON, REST_FACTOR, is_due, keep_current
from control_checks.cases import Fact, facts, instant
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from tests.control_checks.bridge_worlds import (
    APPROVED,
    CHECK,
    CONTROLS,
    FLOW,
    World,
    cells_of,
    configured,
    random_facts,
    world,
)
from tests.support.facts import begin, tell, tell_in_turn
from tests.support.postgres import Database, emptied, fresh_database
from tests.support.store import DatabaseStore, at

EVERY = timedelta(minutes=15)
MONTHS = ("2025-11", "2025-12", "2026-01")
SEEDS = [(0, 1), *(pytest.param(seed, 6, marks=pytest.mark.long) for seed in range(1, 12))]
"""A seed, and how often the bridges are computed in between, at random."""


class Time:
    """A clock that is set; `ticks` by so much whenever somebody looks."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.ticks = timedelta(0)

    def __call__(self) -> datetime:
        self.now += self.ticks
        return self.now


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(server: Server) -> AsyncIterator[Database]:
    async with fresh_database(server) as fresh:
        yield fresh


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scratch(server: Server) -> AsyncIterator[Database]:
    async with fresh_database(server) as fresh:
        yield fresh


def _settings(case: World) -> Configuration:
    """Leave out how many records there will be at the end: what was read so far is all that there was."""
    found = configured(case)
    plain = found.settings.model_dump(mode="json")
    for source in plain["sources"].values():
        for stream in source["streams"].values():
            if stream["complete"]:
                del stream["complete"]["records"]
    return Configuration(type(found.settings).model_validate(plain), found.path, {})


def _months(dice: Random) -> tuple[str, dict[str, Any]]:
    """Tell random claims of several months; return what a plain count expects of the last one."""
    lines: list[str] = []
    expected: dict[str, Any] = {}
    for month in MONTHS:
        written, expected = random_facts(dice)
        for letter in "EJKP":
            written = written.replace(f"{letter}-", f"{letter}{month[-2:]}-")
        lines.append(written.replace("2026-01-", f"{month}-"))
    return "\n".join(lines), expected


def _arrivals(dice: Random, told: list[Fact], end: datetime) -> list[list[Fact]]:
    """Cut facts into batches: each comes after it occurred, most of them soon, some in the end."""
    late = [dice.choice([0, 0, 0, 1, 30, 120]) * dice.random() for _ in told]
    listed = [
        fact._replace(known_at=min(fact.event.occurred_at + timedelta(days=days, hours=1), end))
        for fact, days in zip(told, late, strict=True)
    ]
    listed.sort(key=lambda fact: fact.known_at)
    cuts = sorted(dice.sample(range(1, len(listed)), min(len(listed) - 1, 25)))
    return [listed[i:j] for i, j in zip([0, *cuts], [*cuts, len(listed)], strict=True)]


async def _tell(engine: Engine, batch: list[Fact]) -> None:
    async with engine.store.connect() as conn:
        for source in sorted({fact.stream for fact in batch}):
            events = [fact.event for fact in batch if fact.stream == source]
            await tell(conn, source, events, engine.clock)


def _content(document: Any) -> Any:  # noqa: ANN401 -- any JSON
    """Return what a bridge says, without the numbers of runs and the time of recording."""
    plain = msgspec.json.decode(msgspec.json.encode(document))
    return {k: v for k, v in plain.items() if k not in ("runs", "as_known")}


async def _from_scratch(database: Database, case: World, told: list[Fact], of: Kept) -> Any:  # noqa: ANN401 -- any JSON
    """Compute a bridge in a store of its own that read at once what was known."""
    store = DatabaseStore(await emptied(database))
    engine = Engine(_settings(case), store, CHECKS, at(of.as_known))
    async with store.connect() as conn:
        await begin(conn, engine.configuration, at(told[0].known_at - timedelta(days=1)))
    await _tell(engine, told)
    bridge = await prepared(engine, of.as_of, None, "test")
    return {month: _content(await bridge.document(month)) for month in (*MONTHS, "2026-02")}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("seed", "chances"), SEEDS)
async def test_each_kept_bridge_is_the_one_computed_from_scratch(
    shared: Database, scratch: Database, seed: int, chances: int
) -> None:
    dice = Random(seed)  # noqa: S311 -- a repeatable world
    written, expected = _months(dice)
    case = world(f"seed {seed}", written)
    batches = _arrivals(dice, facts(CHECK, case), case.as_of - timedelta(hours=1))
    store = DatabaseStore(await emptied(shared))
    time = Time(batches[0][0].known_at - timedelta(days=1))
    engine = Engine(_settings(case), store, CHECKS, time)
    async with store.connect() as conn:
        await begin(conn, engine.configuration, time)
    looks = {*dice.sample(range(len(batches)), chances), len(batches) - 1}
    known: list[Fact] = []
    for n, batch in enumerate(batches):
        time.now = batch[-1].known_at
        await _tell(engine, batch)
        known += batch
        if n in looks:
            time.now = case.as_of if n == len(batches) - 1 else time.now
            kept = await keep_current(engine)
            whole = await _from_scratch(scratch, case, known, kept[0])
            for of in kept:
                assert _content(of.document) == whole.get(of.period, _content(of.document))
            await _is_current(engine, whole)
    async with store.connect() as conn:
        (last,) = await bridges.latest(conn, [FLOW], MONTHS[-1])
    assert last.document is not None
    assert cells_of(last.document) == expected


async def _is_current(engine: Engine, whole: dict[str, Any]) -> None:
    """Hold the last bridges of all months, also those not computed this time, against those from scratch."""
    async with engine.store.connect() as conn:
        for month, expected in whole.items():
            for of in await bridges.latest(conn, [FLOW], month):
                assert of.document is not None
                assert of.document["rows"] == expected["rows"], month


async def _filled(database: Database, told: str, **options: Any) -> tuple[Engine, Time, World]:  # noqa: ANN401 -- fields of a world
    """Commit a world's facts, an hour before the present."""
    case = world("current", told, **options)
    time = Time(case.as_of)
    engine = Engine(_settings(case), DatabaseStore(await emptied(database)), dict(CHECKS), time)
    async with engine.store.connect() as conn:
        await tell_in_turn(conn, engine.configuration, facts(CHECK, case))
    return engine, time, case


async def _months_kept(engine: Engine) -> list[str]:
    return [of.period for of in await keep_current(engine)]


@pytest.mark.asyncio(loop_scope="module")
async def test_they_are_due_when_something_was_told_and_the_store_has_rested(
    shared: Database,
) -> None:
    engine, time, _ = await _filled(shared, APPROVED)
    assert await is_due(engine)
    time.ticks = timedelta(seconds=1)
    await keep_current(engine)
    time.ticks = timedelta(0)
    ended = time.now
    time.now = ended + EVERY
    assert not await is_due(engine), "nothing was told since but runs"
    async with engine.store.connect() as conn:
        await tell(conn, "bank", [], time)
    assert await is_due(engine)
    time.now -= timedelta(seconds=1)
    assert not await is_due(engine), "they are computed less often than that"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_store_rests_several_times_as_long_as_they_took(shared: Database) -> None:
    engine, time, _ = await _filled(shared, APPROVED)
    time.ticks = timedelta(minutes=1)
    (first, *_) = await keep_current(engine)
    time.ticks = timedelta(0)
    took = first.ended_at - first.begun_at
    assert REST_FACTOR * took > EVERY
    async with engine.store.connect() as conn:
        await tell(conn, "bank", [], time)
    time.now = first.ended_at + REST_FACTOR * took - timedelta(seconds=1)
    assert not await is_due(engine)
    time.now += timedelta(seconds=1)
    assert await is_due(engine)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_becomes_overdue_shows_although_nothing_is_told(shared: Database) -> None:
    engine, time, case = await _filled(shared, APPROVED)
    time.now = instant("2026-02-02 17:30")  # half an hour before it is due in the ledger
    before = await keep_current(engine)
    time.now += MOVES_ON - timedelta(seconds=1)
    assert not await is_due(engine)
    time.now += timedelta(seconds=1)
    assert await is_due(engine)
    after = await keep_current(engine)
    cells = [
        {name for row in of.document["rows"] for name in row["cells"]}
        for of in (*before, *after)
        if of.document is not None and of.period == case.period
    ]
    assert [{"in_transit", "exceptions:not_posted"} & found for found in cells] == [
        {"in_transit"},
        {"exceptions:not_posted"},
    ]


@pytest.mark.asyncio(loop_scope="module")
async def test_an_earlier_month_is_computed_again_when_a_late_fact_touches_it_or_it_is_not_settled(
    shared: Database,
) -> None:
    lines = [
        f"2025-{month}-10 10:00   expense_report {n}   final_approved   EUR 10.00"
        for month, n in (("10", "A-1"), ("11", "A-2"))
    ]
    late = "2026-01-15 09:00   journal J-1   posted   EUR 10.00   for=A-1"
    engine, time, _ = await _filled(shared, "\n".join(lines))
    now = ["2026-01", "2026-02"]
    assert await _months_kept(engine) == now, "of earlier ones nothing is known to have changed"
    (posted,) = facts(CHECK, world("late", late))
    await _tell(engine, [posted])
    time.now += EVERY
    assert await _months_kept(engine) == ["2025-10", *now]
    time.now += EVERY
    assert await _months_kept(engine) == now, "it is not paid, and a control says so: that stays"


@pytest.mark.asyncio(loop_scope="module")
async def test_runs_that_there_are_at_the_same_time_are_not_made_again(shared: Database) -> None:
    engine, _, case = await _filled(shared, APPROVED)
    ran = [
        await engine.run(control, case.as_of, None, trigger="schedule", actor="scheduler")
        for control in ("not_posted", "twice")
    ]
    (of, *_) = await keep_current(engine)
    assert of.document is not None
    assert set(of.document["runs"]) == set(CONTROLS)
    assert {run.run for run in ran} < set(of.document["runs"].values())
    again = await keep_current(engine)
    assert [x.document and x.document["runs"] for x in again] == [of.document["runs"]] * len(again)
    async with engine.store.connect() as conn:
        made = {c: await runs.runs(conn, c, None, 9) for c in CONTROLS}
    assert {c: [r.trigger for r in found] for c, found in made.items()} == {
        c: ["schedule" if c in ("not_posted", "twice") else "bridge"] for c in CONTROLS
    }


@pytest.mark.asyncio(loop_scope="module")
async def test_one_that_could_not_be_computed_is_told_as_such_and_tried_again(
    shared: Database,
) -> None:
    engine, time, case = await _filled(shared, APPROVED)
    await keep_current(engine)
    works = engine.checks["approved_not_posted"]
    engine.checks["approved_not_posted"] = works._replace(query="SELECT nonsense")
    time.now += EVERY
    async with engine.store.connect() as conn:
        await tell(conn, "bank", [], time)
    failed = await keep_current(engine)
    assert [of.document for of in failed] == [None] * len(failed)
    assert all((of.error or "").startswith("not_posted did not run: ") for of in failed)
    shown = await measure(engine.store, engine.configuration, time.now)
    assert shown.values["tieout_conservation_residual_count"] == {}
    assert shown.values["tieout_conservation_bridges"][FLOW, case.period, "failed"] == 1
    assert shown.values["tieout_conservation_age_seconds"][(FLOW,)] == EVERY.total_seconds()
    engine.checks["approved_not_posted"] = works
    assert not await is_due(engine)
    time.now += EVERY
    assert await is_due(engine), "although nothing was told since"
    assert {of.error for of in await keep_current(engine)} == {None}


@pytest.mark.asyncio(loop_scope="module")
async def test_the_metrics_show_the_residual_with_explicit_zeros_and_whether_all_was_seen(
    shared: Database,
) -> None:
    lines = [
        f"2026-01-20 10:00   expense_report {n}   final_approved   EUR 10.00\n"
        f"2026-01-21 09:15   journal J-{n}   posted   EUR 10.00   for={n}\n"
        f"2026-02-02 09:15   payment P-{n}   settled   EUR {paid}   for={n}"
        for n, paid in (("A-1", "9.00"), ("A-2", "8.50"))
    ]
    told = "\n".join(
        [*lines, APPROVED, "2026-02-04 09:00   expense_report USD   final_approved   USD 7.00"]
    )
    engine, time, case = await _filled(shared, told, declared={"erp": "nobody"})
    await keep_current(engine)
    shown = await measure(engine.store, engine.configuration, time.now + timedelta(seconds=90))
    hops = {
        ("approved", "posted", "expense", "erp"): (1, 125000),
        ("posted", "paid", "erp", "bank"): (2, 250),
        ("paid", "returned", "bank", "expense"): (0, 0),
    }
    nothing = (0, 0)
    expected = {
        (FLOW, month, *hop, "DE10", currency): of
        if (month, currency) == (case.period, "EUR")
        else nothing
        for hop, of in hops.items()
        for month in ("2026-01", "2026-02")
        for currency in ("EUR", "USD")
    }
    counts, amounts = (
        shown.values[f"tieout_conservation_residual_{n}"] for n in ("count", "minor_units")
    )
    assert {labels: (n, amounts[labels]) for labels, n in counts.items()} == expected
    assert shown.values["tieout_conservation_bridges"] == {
        (FLOW, month, state): int(state == "incomplete")
        for month in ("2026-01", "2026-02")
        for state in ("complete", "incomplete", "failed")
    }
    assert shown.values["tieout_conservation_age_seconds"] == {(FLOW,): 90}
