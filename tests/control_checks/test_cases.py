"""Every check says of each of its cases what `cases.yaml` says, and its cases leave nothing out."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise

import pytest
import pytest_asyncio

from collector.model.control import Run
from collector.model.money import from_minor
from collector.pipeline import correlate
from collector.store import runs
from collector.store.embedded import Server
from control_checks.cases import CONTROL, Case, cases, configuration, facts
from control_checks.contract import Check
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from tests.support.facts import tell_in_turn
from tests.support.postgres import Database, emptied, fresh_database
from tests.support.store import DatabaseStore, at

ALL = [
    pytest.param(check, case, id=f"{name}: {case.case}")
    for name, check in CHECKS.items()
    for case in cases(name).cases
]
GAPS = ("NOT_COVERED", "UNREAD", "UNDECLARED")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(server: Server) -> AsyncIterator[Database]:
    """Give one database for all cases: each begins by emptying it."""
    async with fresh_database(server) as fresh:
        yield fresh


async def prepared(database: Database, check: Check, case: Case) -> Engine:
    """Empty a database, and commit a case's facts in the order in which they became known."""
    settings = configuration(check, case)
    store = DatabaseStore(await emptied(database))
    async with store.connect() as conn:
        await tell_in_turn(conn, settings, facts(check, case), case.most)
    return Engine(settings, store, CHECKS, at(case.as_of))


async def run(engine: Engine, case: Case) -> Run:
    return await engine.run(CONTROL, case.as_of, case.as_known, trigger="command", actor="test")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("check", "case"), ALL)
async def test_a_case_is_judged_as_written(
    shared: Database, check: Check, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlate, "COMPONENT_DOCUMENTS_MAX", case.transaction_most)
    monkeypatch.setattr(runs, "REST_SHARE_MAX", 0.0)
    engine = await prepared(shared, check, case)
    _is_judged_as_written(await run(engine, case), case)
    monkeypatch.setattr(runs, "REST_SHARE_MAX", 1.0)  # whatever is plain is settled at first sight
    _is_judged_as_written(await run(engine, case), case)


def _is_judged_as_written(found: Run, case: Case) -> None:
    assert found.error is None
    outcomes = case.outcomes
    wrong = sorted((n, o.reason) for n, o in outcomes.items() if o.state == "EXCEPTION")
    assert sorted((e.number, e.reason) for e in found.exceptions) == wrong
    assert found.population | {"amounts": None} == {
        "in_scope": len(outcomes),
        "ok": sum(o.state == "OK" for o in outcomes.values()),
        "pending": sum(o.state == "PENDING" for o in outcomes.values()),
        "exceptions": len(wrong),
        "excluded": Counter(o.reason for o in outcomes.values() if o.state == "EXCLUDED"),
        "unevaluable": Counter(o.reason for o in outcomes.values() if o.state == "UNEVALUABLE"),
        "amounts": None,
    }
    assert (found.verdict, found.complete) == (case.concluded, case.complete)
    _says_what_is_written(found, case)
    _amounts_foot(found)


def _says_what_is_written(found: Run, case: Case) -> None:
    if case.sentences:
        assert [e.sentence for e in found.exceptions] == case.sentences
    if case.difference is not None:
        (only,) = found.exceptions
        assert only.difference_minor is not None
        assert only.currency is not None
        assert from_minor(only.difference_minor, only.currency) == case.difference


def _amounts_foot(found: Run) -> None:
    amounts = found.population["amounts"]
    parts: Counter[str] = Counter()
    for state, by_currency in amounts.items():
        if state != "in_scope":
            parts.update(by_currency)
    assert parts == Counter(amounts.get("in_scope", {}))


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_every_reason_has_a_case_and_a_sentence_written_by_hand(check: Check) -> None:
    written = cases(check.name).cases
    shown = {(o.state, _word(o.reason)) for case in written for o in case.outcomes.values()}
    named = {("EXCEPTION", r) for r in check.reasons} | {("EXCLUDED", r) for r in check.excluded}
    named |= {("UNEVALUABLE", r) for r in check.unevaluable}
    assert {pair for pair in shown if pair[1] and pair[1] not in GAPS} == named
    told = {_word(o.reason) for case in written if case.sentences for o in case.outcomes.values()}
    assert set(check.reasons) <= told


def _word(reason: str) -> str:
    return reason.partition("(")[0]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_every_trap_has_a_case_that_stays_silent(check: Check) -> None:
    trapped = [case for case in cases(check.name).cases if case.trap]
    assert {case.trap for case in trapped} == set(check.traps)
    for case in trapped:
        assert "EXCEPTION" not in {o.state for o in case.outcomes.values()}, case.case


@pytest.mark.parametrize("check", [c for c in CHECKS.values() if c.due], ids=lambda c: c.name)
def test_what_is_due_is_pending_at_its_due_time_and_not_a_second_later(check: Check) -> None:
    assert any(
        one.facts == other.facts
        and other.as_of - one.as_of == timedelta(seconds=1)
        and _states(one) == {"PENDING"}
        and _states(other) == {"EXCEPTION"}
        for one, other in pairwise(cases(check.name).cases)
    )


@pytest.mark.parametrize(
    "check", [c for c in CHECKS.values() if set(c.reasons) - c.presence], ids=lambda c: c.name
)
def test_a_gap_before_the_due_time_hides_and_one_after_it_does_not(check: Check) -> None:
    written = cases(check.name).cases
    reasons = {o.reason for case in written for o in case.outcomes.values()}
    assert "NOT_COVERED" in reasons or check.waits_for_streams
    assert any(not case.complete and _states(case) == {"EXCEPTION"} for case in written)


def _states(case: Case) -> set[str]:
    return {outcome.state for outcome in case.outcomes.values()}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_every_case_has_a_name_of_its_own(check: Check) -> None:
    names = Counter(case.case for case in cases(check.name).cases)
    assert [name for name, n in names.items() if n > 1] == []
