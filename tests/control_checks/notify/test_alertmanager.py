"""A real Alertmanager is told what fires and what is over, and tells that on."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from collector import clock
from collector.clock import now
from tests.control_checks.notify.alerting import COMPLETE, PAID, Till, open_till
from tests.support.alertmanager import Alertmanager, notifying
from tests.support.hooks import Receiver, receiving, wait_until
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWNED = ("severity: medium}", "severity: medium, owner: Treasury}")
FOR_A_CENTURY = (
    (COMPLETE[0], COMPLETE[1].replace("2027", "2126")),
    ('"2026-03-01T00:00:00Z"], by: the cashier', '"2126-01-01T00:00:00Z"], by: the cashier'),
)
"""Both streams are declared complete beyond the present."""
EXCEPTIONS = {
    "alertname": "TieoutControlExceptions",
    "control": "stuck_sales",
    "severity": "medium",
    "owner": "Treasury",
    "entity": "DE10",
}
INCOMPLETE = {**EXCEPTIONS, "alertname": "TieoutControlIncomplete"}
del INCOMPLETE["entity"]
DID_NOT_RUN = {**INCOMPLETE, "alertname": "TieoutControlError"}


@pytest.fixture
def desk() -> Iterator[Receiver]:
    """Where the Alertmanager's notifications arrive."""
    with receiving(Receiver) as started:
        yield started


@pytest.fixture
def pager(desk: Receiver, tmp_path: Path) -> Iterator[Alertmanager]:
    with notifying(desk, tmp_path) as started:
        yield started


async def real_till(
    database: Database, folder: Path, pager: Alertmanager, *changes: tuple[str, str]
) -> Till:
    """A till whose present is the real one: an Alertmanager has a clock of its own."""
    section = f'{{pager: {{to: alertmanager, url: "{pager.url}"}}}}'
    till = await open_till(DatabaseStore(database), folder, section, PAID, OWNED, *changes)
    till.now = clock.now() - timedelta(minutes=10)
    return till


def notified(desk: Receiver) -> list[tuple[str, dict[str, str]]]:
    """(Status, labels) of each alert in each notification, in order."""
    return [(a["status"], a["labels"]) for d in desk.documents() for a in d["alerts"]]


async def test_exceptions_fire_and_are_over_when_a_run_finds_them_in_order(
    database: Database, tmp_path: Path, pager: Alertmanager, desk: Receiver
) -> None:
    till = await real_till(database, tmp_path, pager, *FOR_A_CENTURY)
    run = await till.run()
    assert (run.verdict, run.complete) == ("FAIL", True)
    assert (await till.courier().deliver()).sent == 1
    wait_until(lambda: len(desk.posts) == 1)
    assert notified(desk) == [("firing", EXCEPTIONS)]
    (alert,) = pager.firing()
    assert alert["annotations"]["summary"] == "stuck_sales DE10: 3 exceptions, EUR 37.50"
    assert alert["annotations"]["description"].count("\n") == 2
    assert alert["annotations"]["run"] == str(run.run)
    assert "Sale 1002" in alert["annotations"]["description"]

    await till.bank("1002", "2003", "2004")
    assert (await till.run()).verdict == "PASS"
    assert (await till.courier().deliver()).sent == 1
    wait_until(lambda: len(desk.posts) == 2)
    assert notified(desk)[1:] == [("resolved", EXCEPTIONS)]
    assert pager.firing() == []


async def test_no_silence_makes_an_alert_be_over(
    database: Database,
    tmp_path: Path,
    pager: Alertmanager,
    desk: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither ours (its resolve_timeout is 2 s here), nor a source's, nor a control's that does not run."""
    till = await real_till(database, tmp_path, pager)
    assert not (await till.run()).complete
    await till.courier().deliver()
    wait_until(lambda: len(desk.posts) == 2)
    fires = [labels for _, labels in sorted(notified(desk), key=lambda n: n[1]["alertname"])]
    assert fires == [EXCEPTIONS, INCOMPLETE]
    await till.change('"2026-01-20T00', '"2026-01-02T00')  # a missing booking proves nothing now
    assert (await till.run()).verdict == "INCOMPLETE"
    await till.courier().deliver()
    with monkeypatch.context() as broken:
        broken.setattr("control_checks.runner.population", _broken)
        assert (await till.run()).verdict == "ERROR"
    await till.courier().deliver()
    wait_until(lambda: len(desk.posts) == 3)
    assert notified(desk)[2:] == [("firing", DID_NOT_RUN)]
    wait_until(_after(5))
    assert {a["labels"]["alertname"] for a in pager.firing()} == {
        "TieoutControlExceptions",
        "TieoutControlIncomplete",
        "TieoutControlError",
    }
    await till.run()
    await till.courier().deliver()
    wait_until(lambda: len(desk.posts) == 4)
    assert notified(desk)[3:] == [("resolved", DID_NOT_RUN)]


async def _broken(*_: object) -> object:
    raise ValueError("the database is on fire")


def _after(seconds: float) -> Any:  # noqa: ANN401 -- a condition
    elapsed_s = clock.stopwatch()
    return lambda: elapsed_s() > seconds


async def test_an_alertmanager_that_lost_its_memory_is_told_again_what_fires(
    database: Database, tmp_path: Path, desk: Receiver
) -> None:
    with notifying(desk, tmp_path) as before:
        till = await real_till(database, tmp_path, before)
        courier = till.courier()
        await till.run()
        await courier.deliver()
        assert len(before.firing()) == 2
        port = int(before.url.rsplit(":", 1)[1])
    till.now += timedelta(seconds=60)
    assert "does not answer" in (await courier.deliver()).failed["pager"]
    with notifying(desk, tmp_path, port) as after:
        assert after.firing() == []
        assert (await courier.deliver()).failed == {}
        assert len(after.firing()) == 2
    with notifying(desk, tmp_path, port) as again:
        till.now += timedelta(seconds=59)
        await courier.deliver()
        assert again.firing() == []  # it was told lately


async def test_what_fires_is_not_told_again_of_a_control_that_is_no_more(
    database: Database, tmp_path: Path, desk: Receiver
) -> None:
    with notifying(desk, tmp_path) as pager:
        till = await real_till(database, tmp_path, pager)
        await till.run()
        await till.courier().deliver()
        await till.change("stuck_sales: {", "renamed: {")
    with notifying(desk, tmp_path, int(pager.url.rsplit(":", 1)[1])) as pager:
        await till.courier().deliver()
        assert pager.firing() == []


async def test_a_test_alert_arrives(
    database: Database, tmp_path: Path, pager: Alertmanager
) -> None:
    till = await real_till(database, tmp_path, pager)
    till.now = now()
    await till.courier().test("pager")
    (alert,) = pager.firing()
    assert alert["labels"] == {"alertname": "TieoutTest", "severity": "low"}
