"""Which runs say something, and what stays open: over the real engine and store."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from collector.store import alerts, runs
from control_checks.notify import outbox
from tests.control_checks.notify.alerting import (
    COMPLETE,
    CONTROL,
    PAID,
    Till,
    open_till,
    webhook,
)
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def till(database: Database, tmp_path: Path) -> Till:
    """Its bank is declared complete, so its runs conclude. Three sales never reached the bank."""
    return await open_till(DatabaseStore(database), tmp_path, webhook(), COMPLETE)


@pytest_asyncio.fixture(loop_scope="module")
async def vague(database: Database, tmp_path: Path) -> Till:
    """Nobody says that its bank is complete up to the present: no run concludes."""
    return await open_till(DatabaseStore(database), tmp_path, webhook(), PAID)


def told(notices: list[Any]) -> list[tuple[Any, ...]]:
    """What each notice says: verdicts, and how many are open, new, resolved and held."""
    return [
        (
            *n["verdict"].values(),
            *(n["exceptions"][name] for name in ("open", "new", "resolved", "held")),
        )
        for n in notices
    ]


async def test_new_and_resolved_exceptions_are_told_and_an_unchanged_run_says_nothing(
    till: Till,
) -> None:
    await till.run()
    await till.run()
    await till.bank("1002")
    await till.run()
    await till.sell("3001")
    await till.run()
    await till.bank("2003", "2004", "3001")
    await till.run()
    await till.run()
    notices = await till.notices()
    assert told(notices) == [
        (None, "FAIL", 3, 3, 0, 0),
        ("FAIL", "FAIL", 2, 0, 1, 0),
        ("FAIL", "FAIL", 3, 1, 0, 0),
        ("FAIL", "PASS", 0, 0, 3, 0),
    ]
    assert [n["run"] for n in notices] == sorted(n["run"] for n in notices)
    first, _, third, last = notices
    (group,) = first["groups"]
    assert (group["entity"], group["count"], group["amounts"]) == ("DE10", 3, {"EUR": 3750})
    assert group["summary"] == "3 exceptions, EUR 37.50"
    assert [s.split()[1] for s in group["sentences"]] == ["1002", "2003", "2004"]
    assert third["groups"][0]["since"] == group["since"]
    assert third["groups"][0]["sentences"][0].startswith("Sale 3001 ")  # what is new comes first
    assert (last["groups"], last["summary"]) == ([], "No exceptions")


async def test_the_first_run_says_nothing_where_nothing_is_wrong(till: Till) -> None:
    await till.bank("1002", "2003", "2004")
    assert (await till.run()).verdict == "PASS"
    assert await till.notices() == []


async def test_a_changed_amount_is_told(till: Till) -> None:
    await till.run()
    async with till.store.connect() as conn:
        before = await alerts.standing(conn, CONTROL)
        run = (await runs.last_runs(conn))[CONTROL]
        assert before is not None
        run.exceptions[0] = msgspec.structs.replace(run.exceptions[0], amount_minor=2000)
        control = till.application.engine().control(CONTROL)
        async with conn.transaction():
            run.run = await runs.record(conn, run, till.now)
            assert await outbox.keep(conn, control, run, (), "Exceptions noted")
        after = await alerts.standing(conn, CONTROL)
    assert after is not None
    assert after.notice is not None
    counted = after.notice["data"]["exceptions"]
    assert counted == {
        "open": 3, "new": 0, "changed": 1, "persisting": 2, "resolved": 0, "held": 0,
    }  # fmt: skip
    assert after.notice["data"]["groups"][0]["amounts"] == {"EUR": 2000 + 2 * 1250}


async def test_a_run_that_did_not_run_resolves_nothing_and_is_told_itself(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    await till.run()
    with monkeypatch.context() as broken:
        broken.setattr("control_checks.runner.population", _broken)
        assert (await till.run()).verdict == "ERROR"
        await till.run()
    await till.run()
    notices = await till.notices()
    assert told(notices) == [
        (None, "FAIL", 3, 3, 0, 0),
        ("FAIL", "ERROR", 3, 0, 0, 3),
        ("ERROR", "FAIL", 3, 0, 0, 0),
    ]
    assert notices[1]["error"] == "the database is on fire"
    assert notices[1]["groups"][0]["since"] == notices[0]["groups"][0]["since"]


async def _broken(*_: object) -> object:
    raise ValueError("the database is on fire")


async def test_a_run_that_could_not_conclude_resolves_only_what_it_found_in_order(
    vague: Till,
) -> None:
    run = await vague.run()
    assert (run.verdict, run.complete) == ("FAIL", False)
    await vague.bank("1002")
    await vague.run()
    assert told(await vague.notices()) == [
        (None, "FAIL", 3, 3, 0, 0),
        ("FAIL", "FAIL", 2, 0, 1, 0),
    ]


async def test_what_a_run_can_no_longer_judge_stays_open(vague: Till) -> None:
    await vague.run()
    await vague.change('"2026-01-20T00', '"2026-01-02T00')  # a missing booking proves nothing now
    run = await vague.run()
    assert (run.verdict, run.population["unevaluable"]) == ("INCOMPLETE", {"NOT_COVERED": 3})
    await vague.bank("1002")
    await vague.run()
    assert told(await vague.notices()) == [
        (None, "FAIL", 3, 3, 0, 0),
        ("FAIL", "INCOMPLETE", 3, 0, 0, 3),
        ("INCOMPLETE", "INCOMPLETE", 2, 0, 1, 2),
    ]


async def test_what_leaves_the_population_stays_open_until_a_run_concludes(
    database: Database, tmp_path: Path
) -> None:
    """The check of stuck transactions lists what waits, so what is done is in no list."""
    till = await open_till(DatabaseStore(database), tmp_path, webhook())
    await till.run()
    await till.bank("1002")
    run = await till.run()
    assert run.population["in_scope"] == 2
    assert run.exceptions[0].number == "2003"
    await till.change(*COMPLETE)
    run = await till.run()
    assert run.complete
    assert told(await till.notices()) == [
        (None, "FAIL", 3, 3, 0, 0),
        ("FAIL", "FAIL", 2, 0, 1, 0),
    ]


async def test_a_source_that_was_never_read_resolves_nothing(vague: Till) -> None:
    await vague.run()
    await vague.change("approved_not_paid, flows: [sales]", "approved_not_paid, flows: [refunds]")
    run = await vague.run()
    assert (run.verdict, run.population["in_scope"]) == ("INCOMPLETE", 0)
    assert run.gaps[0]["what"] == "NEVER_READ"
    (_, notice) = await vague.notices()
    assert told([notice]) == [("FAIL", "INCOMPLETE", 3, 0, 0, 3)]


async def test_only_runs_that_take_their_status_time_themselves_say_something(till: Till) -> None:
    now = till.now
    assert (await till.run(as_of=now - timedelta(days=26))).exceptions == []
    await till.run(as_of=now)
    await till.run(as_of=now + timedelta(days=1))
    await till.run(as_known=now)
    assert await till.notices() == []
    await till.run()
    await till.bank("1002", "2003", "2004")
    past = await till.run(as_of=now - timedelta(days=1))
    assert past.verdict != "PASS" or past.exceptions == []
    assert told(await till.notices()) == [(None, "FAIL", 3, 3, 0, 0)]


async def test_a_run_about_an_earlier_time_than_one_before_it_says_nothing(till: Till) -> None:
    await till.run()
    await till.bank("1002", "2003", "2004")
    until = f'"{(till.now - timedelta(minutes=30)).isoformat()}'
    await till.change('"2027-01-01T00:00:00Z', until)
    run = await till.run()
    assert (run.verdict, run.as_of.isoformat()) == ("PASS", until[1:])
    assert told(await till.notices()) == [(None, "FAIL", 3, 3, 0, 0)]
    await till.change(until, '"2027-01-01T00:00:00Z')
    await till.run()
    assert told(await till.notices()) == [("FAIL", "PASS", 0, 0, 3, 0)]


async def test_a_run_and_its_notice_are_kept_together_or_not_at_all(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> None:
        raise RuntimeError("killed amid the transaction")

    async with till.store.connect() as conn:
        with monkeypatch.context() as broken:
            broken.setattr(alerts, "enter", dies)
            with pytest.raises(RuntimeError, match="killed amid"):
                await till.run()
        assert await conn.fetchval("SELECT count(*) FROM tieout.control_run") == 0
        assert await conn.fetchval("SELECT count(*) FROM tieout.standing") == 0
    await till.run()
    assert told(await till.notices()) == [(None, "FAIL", 3, 3, 0, 0)]


async def test_runs_at_the_same_time_tell_a_change_once(till: Till) -> None:
    await asyncio.gather(*(till.run() for _ in range(6)))
    assert told(await till.notices()) == [(None, "FAIL", 3, 3, 0, 0)]


async def test_without_destinations_nothing_is_kept(database: Database, tmp_path: Path) -> None:
    till = await open_till(DatabaseStore(database), tmp_path, "{}", COMPLETE)
    await till.run()
    async with till.store.connect() as conn:
        assert await conn.fetchval("SELECT count(*) FROM tieout.standing") == 0
