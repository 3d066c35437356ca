"""What stands after a run, and what is said of it: by hand-written cases."""

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

import control_checks
from collector.model.control import Exception_, Run
from collector.model.standing import Open, Standing
from collector.settings.alerts import signing_key
from collector.settings.definitions import Control
from control_checks.notify import alertmanager, webhook
from control_checks.notify.alertmanager import firing
from control_checks.notify.notice import GROUPS_MAX, SENTENCE_CHARS_MAX, notice
from control_checks.notify.standing import Watch, after, changes
from tests.api.cli.desk import conforms
from tests.docs.test_commands import ROOT

NOW = datetime(2026, 2, 1, 8, tzinfo=UTC)
CONTROL = Control(check="approved_not_paid", flows=["claims"], owner="Treasury", severity="high")
LONG = "This sentence goes on and on. " * 40


def exception(
    subject: str,
    reason: str = "NOT_PAID",
    money: tuple[int, str] | None = (100, "EUR"),
    entity: str | None = "DE10",
    sentence: str = "",
) -> Exception_:
    amount, currency = money or (None, None)
    said = sentence or f"Claim {subject} is unpaid."
    return Exception_(
        subject, subject, entity, reason, said, "paid", "unpaid", None, amount, currency
    )


def run(
    number: int, *exceptions: Exception_, verdict: str = "", gap: bool = False, doubtful: int = 0
) -> Run:
    """A run of the present that found so; with a gap, or items that could not be judged."""
    at = NOW + timedelta(hours=number)
    evaluated = "FAIL" if exceptions else "INCOMPLETE" if gap or doubtful else "PASS"
    return Run(
        *("paid", at, at, at, at, "schedule", "scheduler", {}, {}, "", "", ""),
        run=number,
        verdict=verdict or evaluated,
        complete=not gap and verdict != "ERROR",
        gaps=[{"sentence": "bank is complete only up to noon."}] if gap else [],
        population={"unevaluable": {"SOME": doubtful} if doubtful else {}},
        exceptions=list(exceptions),
        error="it broke" if verdict == "ERROR" else None,
    )


def numbers(standing: Standing) -> list[tuple[str, str, int]]:
    return sorted((o.exception.subject, o.exception.reason, o.run) for o in standing.open)


A, B = exception("A"), exception("B")


@pytest.mark.parametrize(
    ("second", "settled", "open_after"),
    [
        pytest.param(run(2), (), [], id="a run that concluded speaks for all"),
        pytest.param(run(2, gap=True), (), ["A1", "B1"], id="with a gap it speaks for nobody"),
        pytest.param(run(2, doubtful=1), (), ["A1", "B1"], id="nor with an item it cannot judge"),
        pytest.param(run(2, gap=True), ("A",), ["B1"], id="but for what it found in order"),
        pytest.param(run(2, A, gap=True), ("A",), ["A2", "B1"], id="and for what is wrong again"),
        pytest.param(run(2, A), (), ["A2"], id="concluded, with an exception"),
        pytest.param(run(2, verdict="ERROR"), ("A", "B"), ["A1", "B1"], id="did not run"),
    ],
)
def test_an_open_exception_ends_on_evidence_only(
    second: Run, settled: tuple[str, ...], open_after: list[str]
) -> None:
    first = after(None, run(1, A, B), ())
    left = after(first, second, settled)
    assert [f"{subject}{n}" for subject, _, n in numbers(left)] == open_after
    assert left.evaluated == (1 if second.verdict == "ERROR" else 2)


def test_another_reason_replaces_the_old_one_only_where_the_document_was_judged() -> None:
    first = after(None, run(1, A), ())
    refused = exception("A", "REFUSED")
    kept = after(first, run(2, refused, gap=True), ())
    assert numbers(kept) == [("A", "NOT_PAID", 1), ("A", "REFUSED", 2)]
    assert numbers(after(kept, run(3, refused, gap=True), ("A",))) == [("A", "REFUSED", 3)]


def test_two_exceptions_of_a_document_for_one_reason_are_two() -> None:
    first = after(None, run(1, A, A), ())
    second = after(first, run(2, A, gap=True), ())
    assert [n for _, _, n in numbers(second)] == [1, 2]  # one was found again, one was not judged


def test_what_was_held_is_held_on_over_any_number_of_runs() -> None:
    left = after(None, run(1, A), ())
    for number in range(2, 30):
        left = after(left, run(number, gap=True, verdict="ERROR" if number % 3 else ""), ())
        assert numbers(left) == [("A", "NOT_PAID", 1)]
    assert numbers(after(left, run(30), ())) == []


@pytest.mark.parametrize(
    ("states", "settled"),
    [
        (["ok"], True),
        (["exceptions", "ok"], True),
        (["ok", "unevaluable"], False),
        (["pending"], False),  # it may wait for a source that was not read
        (["excluded"], False),  # a source that fell silent is a reason too
        ([], False),
    ],
)
def test_a_run_speaks_for_a_document_if_it_judged_every_item_of_it(
    states: list[str],
    settled: bool,  # noqa: FBT001 -- a table
) -> None:
    watch = Watch(["A"])
    for subject, state in product(("A", "elsewhere"), states):
        watch.note(subject, state)
    assert watch.settled == (frozenset("A") if settled else frozenset())


def test_changes_are_counted_by_document_reason_and_amount() -> None:
    def opened(*several: Exception_) -> list[Open]:
        return [Open(1, n, e) for n, e in enumerate(several)]

    dearer = exception("A", money=(200, "EUR"))
    dollars = exception("B", money=(100, "USD"))
    other = exception("A", "REFUSED")
    assert changes(opened(A, B), opened(A, B)) == (0, 0, 2, 0)
    assert changes(opened(A, B), opened(dearer, dollars)) == (0, 2, 0, 0)
    assert changes(opened(A, B), opened(other)) == (1, 0, 0, 2)
    assert changes(opened(A), opened(A, A, B)) == (2, 0, 1, 0)
    assert changes(opened(), opened()) == (0, 0, 0, 0)


def told(control: Control, second: Run, first: Run | None = None) -> dict[str, Any]:
    """What the second run says after the first; each notice is as its schema says."""
    before = None
    if first is not None:
        before = after(None, first, ())
        said = notice(control, first, None, before, "Exceptions noted")
        before = msgspec.structs.replace(before, notice=said)
    found = notice(control, second, before, after(before, second, ()), "Words")
    assert found is not None
    conforms("notice", found)
    return found


def test_exceptions_are_grouped_by_entity_and_summed_by_currency() -> None:
    found = told(
        CONTROL,
        run(
            2,
            exception("A", money=(123_456, "EUR")),
            exception("B", money=(-3_456, "EUR")),
            exception("C", money=(48_000, "JPY")),
            exception("D", money=None),
            exception("E", entity="FR10", money=(1, "BHD")),
            exception("F", entity=None, money=(500, "USD")),
        ),
    )
    groups = [(g["entity"], g["count"], g["amounts"]) for g in found["data"]["groups"]]
    assert groups == [
        (None, 1, {"USD": 500}),
        ("DE10", 4, {"EUR": 120_000, "JPY": 48_000}),
        ("FR10", 1, {"BHD": 1}),
    ]
    assert found["data"]["groups"][1]["summary"] == "4 exceptions, EUR 1,200.00 and JPY 48,000"
    assert found["data"]["summary"] == (
        "Words: 6 exceptions, BHD 0.001, EUR 1,200.00, JPY 48,000 and USD 5.00 open"
    )


@pytest.mark.parametrize("base", ["https://docs.test/controls", "https://docs.test/controls/"])
def test_a_notice_leads_to_the_page_of_its_check_where_pages_are_published(base: str) -> None:
    first = run(1, A)
    found = notice(CONTROL, first, None, after(None, first, ()), "Words", base)
    assert found is not None
    conforms("notice", found)
    assert found["data"]["runbook"] == f"https://docs.test/controls/{CONTROL.check}.md"
    page = Path(control_checks.__file__).parents[1] / "docs/controls" / f"{CONTROL.check}.md"
    assert page.exists()
    assert {a.annotations["runbook_url"] for a in firing(found)} == {found["data"]["runbook"]}
    plain = told(CONTROL, first)
    assert plain["data"]["runbook"] is None
    assert not any("runbook_url" in a.annotations for a in firing(plain))


def test_a_group_keeps_its_beginning_while_it_lasts() -> None:
    first, second = run(1, A), run(2, A, exception("E", entity="FR10"))
    since = {g["entity"]: g["since"] for g in told(CONTROL, second, first)["data"]["groups"]}
    assert since == {"DE10": "2026-02-01T09:00:00Z", "FR10": "2026-02-01T10:00:00Z"}


@pytest.mark.parametrize("second", [run(2, A), run(2, A, verdict="FAIL")])
def test_what_did_not_change_is_not_told(second: Run) -> None:
    before = after(None, run(1, A), ())
    assert notice(CONTROL, second, before, after(before, second, ()), "") is None


@pytest.mark.parametrize(
    ("second", "names"),
    [
        (run(2), []),
        (run(2, A), ["TieoutControlExceptions"]),
        (run(2, gap=True), ["TieoutControlExceptions", "TieoutControlIncomplete"]),
        (run(2, verdict="ERROR"), ["TieoutControlExceptions", "TieoutControlError"]),
    ],
)
def test_each_state_has_its_alerts(second: Run, names: list[str]) -> None:
    found = told(CONTROL, second, run(1, A, B))
    assert [a.labels["alertname"] for a in alertmanager.firing(found)] == names


def test_an_alert_that_could_not_conclude_says_why() -> None:
    (alert,) = alertmanager.firing(told(CONTROL, run(1, gap=True, doubtful=2)))
    assert alert.annotations["description"] == (
        "bank is complete only up to noon.\n2 items could not be judged."
    )
    assert alert.annotations["complete"] == "no"


def test_an_alert_of_another_owner_is_another_one_and_the_old_one_is_over() -> None:
    before = told(CONTROL, run(1, A))
    renamed = CONTROL.model_copy(update={"owner": "Payables"})
    found = told(renamed, run(2, A, B), run(1, A))
    posted = msgspec.json.decode(alertmanager.payload([(found, before)], NOW))
    assert [(a["labels"]["owner"], a["endsAt"]) for a in posted] == [
        ("Payables", "2026-02-08T08:00:00Z"),  # a week from now
        ("Treasury", found["timestamp"]),
    ]
    assert all(a["startsAt"] <= a["endsAt"] for a in posted)


def test_a_flood_of_exceptions_is_told_in_a_bounded_message() -> None:
    many = [
        exception(f"CLAIM-{n}", money=(n, "EUR"), entity=f"E{n % 120:03}", sentence=LONG)
        for n in range(5_000)
    ]
    found = told(CONTROL, run(2, *many))
    data = found["data"]
    assert (data["exceptions"]["open"], data["exceptions"]["new"]) == (5_000, 5_000)
    assert len(data["groups"]) == GROUPS_MAX + 1
    assert sum(g["count"] for g in data["groups"]) == 5_000
    assert sum(g["amounts"]["EUR"] for g in data["groups"]) == sum(range(5_000))
    (rest,) = [g for g in data["groups"] if g["entity"] == "(other)"]
    assert rest["has_more"]
    assert {len(s) for g in data["groups"] for s in g["sentences"]} == {SENTENCE_CHARS_MAX}
    assert len(webhook.body(found)) < 200_000
    posted = msgspec.json.decode(alertmanager.payload([(found, None)], NOW))
    assert len(posted) == GROUPS_MAX + 1
    assert posted[-1]["annotations"]["description"].endswith("more")
    for alert in posted:  # what a label can hold is bounded by the configuration
        assert set(alert["labels"]) == {"alertname", "control", "severity", "owner", "entity"}
        assert "CLAIM" not in str(alert["labels"])


def test_a_signature_is_that_of_the_specifications_own_example() -> None:
    """The test vector of the libraries that the authors of Standard Webhooks publish."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    signed = webhook.signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_id_names_one_content_and_holds_no_full_stop() -> None:
    ids = {webhook.message_id(content) for content in (b"{}", b"[]")}
    assert len(ids) == 2
    assert not any("." in one for one in ids)


def test_the_documented_message_is_as_its_schema_says() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/alerts.md").read_text(), re.DOTALL)
    conforms("notice", json.loads(text))
