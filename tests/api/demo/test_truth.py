"""What the truth file says is what an outsider finds in the systems' files."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from api.demo import Truth, create
from tests.api.demo.outside import Case, Rules, T, read

INNOCENT = {"OK", "PENDING", "EXCLUDED"}
PLANTED_MIN, PLANTED_MAX = 6, 20


def test_every_claim_is_in_the_truth_and_in_the_files(
    truth: Truth, cases: Mapping[str, Case]
) -> None:
    assert set(truth.claims) == set(cases)
    assert len(cases) == truth.transactions["claims"] == 2_000


@pytest.mark.parametrize("seed", [1, 20260131])
def test_each_control_finds_what_was_planted_and_nothing_else(seed: int, tmp_path: Path) -> None:
    truth = create(tmp_path / "demo", seed)
    rules = Rules(tmp_path / "demo")
    for report_id, case in read(tmp_path / "demo").items():
        fate, said = truth.claims[report_id], rules.judge(case)
        found = {control: verdict for control, verdict in said.items() if verdict not in INNOCENT}
        planted = {} if fate.control is None else {fate.control: fate.reason}
        assert found == planted, (report_id, fate)
        assert set(fate.silent).isdisjoint(found)
        if fate.control is None:
            assert {c for c, v in said.items() if v == "PENDING"} == set(fate.pending), report_id
        assert ("EXCLUDED" in said.values()) == (fate.label == "zero_payable")


def test_the_totals_of_each_control_follow_from_the_files(
    truth: Truth, cases: Mapping[str, Case], rules: Rules
) -> None:
    count: Counter[str] = Counter()
    amount: Counter[tuple[str, str]] = Counter()
    for case in cases.values():
        for control, verdict in rules.judge(case).items():
            if verdict not in INNOCENT:
                count[control] += 1
                minor = case.payable.scaleb(2 if case.currency == "EUR" else 0)
                amount[control, case.currency] += int(minor)
    for control, expected in truth.controls.items():
        assert expected.exceptions == count[control] == sum(expected.reasons.values())
        for currency, expected_minor in expected.amount_minor.items():
            assert expected_minor == amount[control, currency]
    assert set(truth.controls) == set(count)


def test_every_class_is_planted_in_both_entities_and_in_believable_numbers(truth: Truth) -> None:
    for label, n in truth.labels.items():
        if label != "ordinary":
            assert PLANTED_MIN <= n <= PLANTED_MAX, label
        assert {f.entity for f in truth.claims.values() if f.label == label} == {"DE10", "JP10"}


def test_steps_done_are_counted_right(truth: Truth, cases: Mapping[str, Case]) -> None:
    done = {name: count.done for name, count in truth.steps.items()}
    last = [case.actions[-1][1] for case in cases.values()]
    assert done == {
        "submitted": sum(step not in {"SENDBACK", "RECALL"} for step in last),
        "approved": sum(case.final is not None for case in cases.values()),
        "posted": sum(case.is_posted for case in cases.values()),
        "paid": sum(case.net_paid > 0 for case in cases.values()),
    }
    assert truth.steps["paid"].skipped == truth.labels["zero_payable"]


def test_nothing_happens_outside_the_declared_time(
    truth: Truth, cases: Mapping[str, Case], rules: Rules
) -> None:
    covers = rules.settings["sources"]["bank"]["streams"]["statements"]["complete"]["covers"]
    assert covers[1] == T == datetime.fromisoformat(truth.status_time)
    for case in cases.values():
        assert covers[0] <= min(case.instants)
        assert max(case.instants) < covers[1]


def test_what_is_posted_and_paid_is_what_was_approved(cases: Mapping[str, Case]) -> None:
    for case in cases.values():
        assert set(case.posted_amounts) <= {case.payable}
        assert {paid.amount for paid in case.paid.values()} <= {case.payable}
        assert case.net_paid <= case.payable
        assert set(case.paid) == set(case.instructed)


def test_a_refusal_names_the_blocked_cost_centre(truth: Truth, cases: Mapping[str, Case]) -> None:
    refused = [case for case in cases.values() if case.refusals]
    assert len(refused) == truth.controls["approved_not_posted"].reasons["REFUSED_BY_ERP"]
    for case in refused:
        assert set(case.refusals) == {"cost centre 4711 is blocked"}
        assert truth.claims[case.report_id].message == "cost centre 4711 is blocked"


def test_some_innocent_claims_finish_minutes_before_their_deadline(
    truth: Truth, cases: Mapping[str, Case], rules: Rules
) -> None:
    close = 0
    for report_id, fate in truth.claims.items():
        case = cases[report_id]
        if (fate.label, fate.kind) == ("last_minute", "posted") and case.final:
            due = rules.due(case.entity, case.final, rules.days["posted"])
            left = due - min(case.posted.values())
            close += 0 < left.total_seconds() < 300
    assert close == 6


def test_amounts_are_believable(cases: Mapping[str, Case]) -> None:
    payable = [case.payable for case in cases.values() if case.payable and case.currency == "EUR"]
    assert Decimal(5) < min(payable)
    assert max(payable) < Decimal(7_000)
    assert len(set(payable)) > len(payable) / 2
