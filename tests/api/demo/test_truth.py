"""What the truth file says is what an outsider finds in the systems' files."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from api.demo import Truth, create
from tests.api.demo.centres import stale_dimension
from tests.api.demo.outside import (
    Case,
    Rules,
    T,
    lost,
    read,
    rows,
    short_transfers,
)

INNOCENT = {"OK", "PENDING", "EXCLUDED", "UNEVALUABLE"}
PLANTED_MIN, PLANTED_MAX = 6, 40


def test_every_claim_is_in_the_truth_and_in_the_files(
    truth: Truth, cases: Mapping[str, Case]
) -> None:
    nameless = {report_id for report_id, f in truth.claims.items() if f.kind == "no_source"}
    assert set(truth.claims) - nameless == {name for name in cases if "/" not in name}
    assert len(cases) == truth.transactions["claims"] == 5_000


def test_what_carries_no_key_or_a_default_is_in_the_truth_and_in_the_files(
    truth: Truth, folder: Path
) -> None:
    logs = json.loads((folder / "middleware/logs.json").read_text())
    assert Counter(log["flow"] for log in logs if log["report_id"] is None) == truth.untold.messages
    told: dict[str, set[str]] = defaultdict(set)
    for path in (folder / "expense").glob("reports-*.json"):
        for event in json.loads(path.read_text())["events"]:
            told[event["report"]["project"]].add(event["facts"]["reportId"])
    (most, reports), (_, others) = sorted(told.items(), key=lambda item: -len(item[1]))[:2]
    assert (most, len(reports)) == (truth.untold.default_project, truth.untold.claims)
    assert len(reports) > 10 * len(others)


@pytest.mark.parametrize("seed", [pytest.param(1, marks=pytest.mark.long), 20261031])
def test_each_control_finds_what_was_planted_and_nothing_else(seed: int, tmp_path: Path) -> None:
    truth = create(tmp_path / "demo", seed)
    rules = Rules(tmp_path / "demo")
    planted = {(f.control, f.entity, f.item): f.reason for f in truth.fates() if f.control}
    for fate in truth.fates():
        for control, (item, reason) in fate.also.items():
            planted[control, fate.entity, item] = reason
    cases = read(tmp_path / "demo")
    found = _found(cases, rules)
    for (entity, name), verdict in short_transfers(tmp_path / "demo").items():
        found["amount_differs", entity, name] = verdict
    for code, verdict in stale_dimension(tmp_path / "demo").items():
        fate = truth.cost_centres[code]
        assert (verdict == "PENDING") == (fate.pending == ("stale_dimension",))
        if verdict not in INNOCENT:
            found["stale_dimension", fate.entity, code] = verdict
    assert found == planted


def _found(cases: Mapping[str, Case], rules: Rules) -> dict[tuple[str | None, str, str], str]:
    """What every control must report: by control, entity and item."""
    found: dict[tuple[str | None, str, str], str] = {}
    for case in cases.values():
        for control, items in rules.judge(case).items():
            for number, verdict in items.items():
                if verdict not in INNOCENT:
                    entity = case.entity or next(p.entity for p in case.posted.values())
                    found[control, entity, number] = verdict
    return found


@pytest.mark.parametrize("seed", [1])
def test_what_is_inside_its_deadline_is_known(seed: int, tmp_path: Path) -> None:
    truth = create(tmp_path / "demo", seed)
    rules = Rules(tmp_path / "demo")
    for report_id, case in read(tmp_path / "demo").items():
        fate = truth.claims.get(report_id)
        if fate is not None and fate.control is None:
            said = rules.judge(case)
            waiting = {c for c, items in said.items() if "PENDING" in items.values()}
            untold = {"status_not_returned", "payment_not_returned", "posted_not_approved"}
            assert waiting - untold == set(fate.pending)


def test_a_week_of_one_bank_is_counted_and_not_delivered(
    folder: Path, truth: Truth, cases: Mapping[str, Case], rules: Rules
) -> None:
    missing = lost(folder)
    assert sum(missing.values()) == truth.lost.records > PLANTED_MIN
    assert {entity for entity, _ in missing} == {truth.lost.entity}
    days = [day for _, day in missing]
    assert truth.lost.days[0] <= min(days) <= max(days) <= truth.lost.days[1]
    blind = {r for r, case in cases.items() if rules.approved_not_paid(case) == "UNEVALUABLE"}
    unapproved = {r for r, f in truth.claims.items() if f.control == "approval_missing"}
    assert set(truth.lost.claims) - unapproved <= blind
    for report_id in blind - set(truth.lost.claims):
        assert truth.claims[report_id].control == "approved_not_posted"


def test_every_class_is_planted_in_every_entity_and_in_believable_numbers(truth: Truth) -> None:
    for label, n in truth.labels.items():
        if label != "ordinary":
            assert PLANTED_MIN <= n <= PLANTED_MAX, label
        entities = {f.entity for f in truth.fates() if f.label == label}
        if label == "combined_payment":  # JP10's bank shows no single transfers
            assert entities == {"DE10", "KW10"}
            continue
        assert entities >= {"DE10", "JP10"}, label
        if label not in {"approved_not_paid", "payment_not_returned", "returned_and_paid_again"}:
            assert entities == {"DE10", "JP10", "KW10"}, label


def test_a_fifth_of_the_claims_could_be_taken_for_another(cases: Mapping[str, Case]) -> None:
    alike: dict[tuple[str, str, Decimal], list[datetime]] = defaultdict(list)
    for case in cases.values():
        if case.actions:
            alike[case.entity, case.currency, case.payable].append(case.actions[0][0])
    close = 0
    for times in alike.values():
        times.sort()
        for n, at in enumerate(times):
            near = [t for t in times[max(n - 1, 0) : n + 2] if t is not at]
            close += any(abs(at - t) <= timedelta(days=3) for t in near)
    assert close / len(cases) >= 0.2


def test_hundreds_name_one_default_project(cases: Mapping[str, Case]) -> None:
    [(_, most), (_, next_)] = Counter(c.project for c in cases.values() if c.project).most_common(2)
    assert most > 300
    assert next_ < 50


def test_some_ids_are_the_same_once_they_are_cut(cases: Mapping[str, Case]) -> None:
    cut = Counter(name[:16] for name in cases if "/" not in name)
    assert sum(n for n in cut.values() if n > 1) > 100


def test_some_messages_name_no_report(folder: Path) -> None:
    logs = json.loads((folder / "middleware/logs.json").read_text("utf-8"))
    share = sum(log["report_id"] is None for log in logs) / len(logs)
    assert 0.02 < share < 0.1


def test_the_ledger_writes_times_in_the_hour_that_comes_twice(folder: Path) -> None:
    documents = rows(folder / "erp/bkpf.csv", ";")
    assert [r for r in documents if r["CPUDT"] == "20261025" and r["CPUTM"][:2] == "02"]


def test_steps_done_are_counted_right(truth: Truth, cases: Mapping[str, Case]) -> None:
    done = {name: count.done for name, count in truth.steps.items()}
    claims = [case for case in cases.values() if case.actions]
    last = [case.actions[-1][1] for case in claims]
    assert done == {
        "submitted": sum(step not in {"SENDBACK", "RECALL"} for step in last),
        "approved": sum(case.final is not None for case in claims),
        "posted": sum(bool(case.standing) for case in claims),
        "paid": sum(case.net_paid > 0 for case in claims) + len(truth.lost.claims),
    }
    assert truth.steps["posted"].skipped == truth.labels["zero_payable"]


def test_nothing_happens_outside_the_declared_time(
    truth: Truth, cases: Mapping[str, Case], rules: Rules
) -> None:
    covers = rules.settings["sources"]["bank"]["streams"]["kw10"]["complete"]["covers"]
    assert covers[1] == T == datetime.fromisoformat(truth.status_time)
    for case in cases.values():
        assert covers[0] <= min(case.instants)
        assert max(case.instants) < covers[1]


def test_what_is_posted_and_paid_is_what_was_approved(
    truth: Truth, cases: Mapping[str, Case]
) -> None:
    gone = set(truth.lost.claims)
    for case in cases.values():
        fate = truth.claims.get(case.report_id)
        if fate is None or fate.label in {"amount_differs", "posted_not_approved"}:
            continue
        whole = {p.amount for p in case.posted.values() if not p.allocation}
        parts = [p.amount for p in case.posted.values() if p.allocation]
        assert whole <= {case.payable}
        assert not parts or sum(parts) == case.payable
        assert {paid.amount for paid in case.paid.values()} <= {case.payable}
        assert case.report_id in gone or set(case.paid) == set(case.instructed)


def test_a_refusal_names_the_blocked_cost_centre(truth: Truth, cases: Mapping[str, Case]) -> None:
    refused = [case for case in cases.values() if case.refusals]
    assert len(refused) == truth.controls["approved_not_posted"].reasons["REFUSED_BY_ERP"]
    for case in refused:
        code = {"DE10": "4711", "JP10": "7711", "KW10": "9711"}[case.entity]
        assert set(case.refusals) == {f"cost centre {code} is blocked"}
        assert truth.claims[case.report_id].message == f"cost centre {code} is blocked"


def test_some_innocent_claims_finish_minutes_before_their_deadline(
    truth: Truth, cases: Mapping[str, Case], rules: Rules
) -> None:
    close = 0
    for report_id, case in cases.items():
        fate = truth.claims.get(report_id)
        if fate and (fate.label, fate.kind) == ("last_minute", "posted") and case.final:
            due = rules.due(case.entity, case.final, rules.days["posted"])
            left = due - min(p.at for p in case.posted.values())
            close += 0 < left.total_seconds() < 300
    assert close == 8


def test_amounts_are_believable(cases: Mapping[str, Case]) -> None:
    payable = [case.payable for case in cases.values() if case.payable and case.currency == "EUR"]
    assert Decimal(5) < min(payable)
    assert max(payable) < Decimal(7_000)
    assert len(set(payable)) > len(payable) / 4
