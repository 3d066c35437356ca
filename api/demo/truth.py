"""What is true of the demo: written before anything is read, into a file that no control sees.

It follows from what was planted, never from what the systems' files say.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from api.demo.company import STATUS_TIME, Claim, Company, Deed, Posting, Timeline
from api.demo.plan import BY_KIND, CONTROLS, ORDINARY, ZERO_PAYABLE
from api.demo.stories import BLOCKED_MESSAGE
from api.demo.systems import Exports

FORMAT = "tieout-demo-truth/1"
"""Raised whenever other files come of the same seed: an older folder is then made anew."""


@dataclass(frozen=True)
class Fate:
    """What is true of one claim.

    `control` is the one control that must report it, with `reason`; all in `silent` must not.
    `pending` are the controls that find an innocent claim inside its deadline; it is left open of
    the claims that another control owns. Amounts are in minor units.
    """

    label: str
    kind: str
    entity: str
    currency: str
    claimed_minor: int
    payable_minor: int
    control: str | None
    reason: str | None
    silent: tuple[str, ...]
    pending: tuple[str, ...]
    message: str = ""


@dataclass(frozen=True)
class Expected:
    """What a control must find: how many claims, worth what per currency, for which reasons."""

    exceptions: int
    amount_minor: Mapping[str, int]
    reasons: Mapping[str, int]
    pending: int


@dataclass(frozen=True)
class StepCount:
    """How many claims have a step done at the status time, or need it not."""

    done: int
    skipped: int


@dataclass(frozen=True)
class Truth:
    """The truth file: every claim by its report id, and the totals.

    `transactions` counts cases end to end: one per claim; beside them every bank entry of no claim
    and every worker stands alone.
    """

    format: str
    seed: int
    status_time: str
    records: Mapping[str, int]
    transactions: Mapping[str, int]
    events: Mapping[str, int]
    steps: Mapping[str, StepCount]
    controls: Mapping[str, Expected]
    labels: Mapping[str, int]
    claims: Mapping[str, Fate]


def tell(company: Company, exports: Exports, seed: int) -> Truth:
    """Tell the truth about `company`."""
    claims = {claim.report_id: _fate(claim) for claim in company.claims}
    others = {"bank_entries": exports.housekeeping, "workers": len(company.workers)}
    events = Counter(kind for claim in company.claims for kind in _events(claim))
    events["bank_entry.booked"] = exports.housekeeping
    events["employee.changed"] = len(company.workers)
    return Truth(
        format=FORMAT,
        seed=seed,
        status_time=STATUS_TIME.isoformat(),
        records=exports.records,
        transactions={"claims": len(claims), **others, "all": len(claims) + sum(others.values())},
        events=dict(sorted(events.items())),
        steps=_steps(company),
        controls={control: _expected(control, claims) for control in CONTROLS},
        labels=dict(sorted(Counter(fate.label for fate in claims.values()).items())),
        claims=claims,
    )


def _fate(claim: Claim) -> Fate:
    plot = BY_KIND.get((claim.label, claim.kind), ORDINARY)
    return Fate(
        label=claim.label,
        kind=claim.kind,
        entity=claim.entity.code,
        currency=claim.entity.currency,
        claimed_minor=claim.claimed,
        payable_minor=claim.payable,
        control=plot.control,
        reason=plot.reason,
        silent=tuple(control for control in CONTROLS if control != plot.control),
        pending=plot.pending,
        message=BLOCKED_MESSAGE if claim.timeline.refusals else "",
    )


def _expected(control: str, claims: Mapping[str, Fate]) -> Expected:
    found = [fate for fate in claims.values() if fate.control == control]
    amounts: Counter[str] = Counter()
    for fate in found:
        amounts[fate.currency] += fate.payable_minor
    return Expected(
        exceptions=len(found),
        amount_minor=dict(sorted(amounts.items())),
        reasons=dict(sorted(Counter(str(fate.reason) for fate in found).items())),
        pending=sum(1 for fate in claims.values() if control in fate.pending),
    )


_ACTION_EVENTS = {
    Deed.SUBMIT: "expense_report.submitted",
    Deed.RESUBMIT: "expense_report.resubmitted",
    Deed.MANAGER: "expense_report.approved",
    Deed.FINAL: "expense_report.final_approved",
    Deed.SEND_BACK: "expense_report.sent_back",
    Deed.REJECT: "expense_report.rejected",
    Deed.RECALL: "expense_report.withdrawn",
}


def _events(claim: Claim) -> Iterator[str]:
    """Name the facts that the systems' records of a claim state."""
    told = claim.timeline
    for action in told.actions:
        yield _ACTION_EVENTS[action.deed]
        if action.deed is Deed.FINAL and claim.payable == 0:
            yield "expense_report.nothing_payable"
    for posting in told.postings:
        yield from _posting_events(posting)
    for _ in told.refusals:
        yield from ("idoc.received", "journal.refused")
    if told.payment:
        yield from ("payment.instructed", "payment.settled")
        yield from ["payment.returned"] * (told.payment.returned_at is not None)


def _posting_events(posting: Posting) -> Iterator[str]:
    yield "journal.posted"
    if posting.reversed_at:
        yield "journal.reversed"
    if not posting.by_hand:
        yield from ("idoc.received", "idoc.posted")


def _steps(company: Company) -> dict[str, StepCount]:
    """Count the steps of the flow that are done at the status time."""
    told = [claim.timeline for claim in company.claims]
    needless = sum(1 for claim in company.claims if claim.label == ZERO_PAYABLE)
    last = [timeline.actions[-1].deed for timeline in told]
    return {
        "submitted": StepCount(sum(deed not in {Deed.RECALL, Deed.SEND_BACK} for deed in last), 0),
        "approved": StepCount(sum(deed is Deed.FINAL for deed in last), 0),
        "posted": StepCount(sum(map(_is_posted, told)), needless),
        "paid": StepCount(sum(map(_is_paid, told)), needless),
    }


def _is_posted(told: Timeline) -> bool:
    return any(posting.reversed_at is None for posting in told.postings)


def _is_paid(told: Timeline) -> bool:
    return told.payment is not None and told.payment.returned_at is None
