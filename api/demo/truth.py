"""What is true of the demo: written before anything is read, into a file that no control sees.

It follows from what was planted, never from what the systems' files say.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from api.demo import master_data, middleware
from api.demo.bank import LOST_DAYS, LOST_ENTITY
from api.demo.company import STATUS_TIME, Claim, Company, Deed, Posting, Shown, Timeline
from api.demo.erp import Books, payment_number
from api.demo.expense import payment_confirmations
from api.demo.plan import (
    BY_KIND,
    DEFAULT_PROJECT,
    DEFECTS,
    NOT_PAID,
    NOT_RETURNED,
    ORDINARY,
    STALE,
    ZERO_PAYABLE,
    Plot,
)
from api.demo.stories import PAYMENT_DAYS, blocked_message
from api.demo.systems import Exports

FORMAT = "tieout-demo-truth/6"
"""Raised whenever other files come of the same seed: an older folder is then made anew."""


@dataclass(frozen=True)
class Fate:
    """What is true of one claim, or of one cost centre.

    `control` is the one control that must report it, as `item` and with `reason`; those in `also` must do
    so too, each with an (item, reason) of its own, and all others must not. `pending` are the controls
    that find it inside its deadline; it is left open of the claims that another control owns. `documents` are its numbers in the ledger. Amounts are in minor units.
    """

    label: str
    kind: str
    entity: str
    control: str | None
    reason: str | None
    item: str
    also: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    pending: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    currency: str | None = None
    claimed_minor: int = 0
    payable_minor: int = 0
    message: str = ""


@dataclass(frozen=True)
class Expected:
    """What a control must find: how many items, and for which reasons."""

    exceptions: int
    reasons: Mapping[str, int]
    pending: int


@dataclass(frozen=True)
class StepCount:
    """How many claims have a step done at the status time, or need it not."""

    done: int
    skipped: int


@dataclass(frozen=True)
class Lost:
    """What the bank counted and did not deliver: the claims whose payments nobody can see.

    `control` can say nothing of them: neither that they are paid nor that they are not.
    """

    control: str
    entity: str
    days: tuple[str, str]
    records: int
    claims: tuple[str, ...]


@dataclass(frozen=True)
class Untold:
    """Where the business key is missing or a default: messages by interface, and claims by their project."""

    messages: Mapping[str, int]
    default_project: str
    claims: int


@dataclass(frozen=True)
class Truth:
    """The truth file: every claim by its report id, every cost centre by its code, and the totals.

    `transactions` counts cases end to end: one per claim and cost centre; beside them every bank
    entry of no claim, every payment run booked in one sum without its payments, every transfer of several claims, every worker
    and every message that names no claim stands alone.
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
    lost: Lost
    untold: Untold
    claims: Mapping[str, Fate]
    cost_centres: Mapping[str, Fate]

    def fates(self) -> Iterator[Fate]:
        """Iterate over all that a control may speak of."""
        yield from self.claims.values()
        yield from self.cost_centres.values()


CONTROLS = (*dict.fromkeys(plot.control for plot in DEFECTS if plot.control), STALE)


def tell(company: Company, exports: Exports, seed: int) -> Truth:
    """Tell the truth about `company`."""
    claims = {claim.report_id: _fate(claim, exports) for claim in company.claims}
    centres = {
        centre.code: Fate(
            label=STALE if reason else "master_data",
            kind=centre.kind,
            entity=centre.entity.code,
            control=STALE if reason else None,
            reason=reason,
            item=centre.code,
            pending=(STALE,) if fate and fate.pending else (),
        )
        for centre in company.cost_centres
        for fate in [master_data.BY_KIND.get(centre.kind)]
        for reason in [fate.reason if fate else None]
    }
    fates = [*claims.values(), *centres.values()]
    transactions = {
        "claims": len(claims),
        "cost_centres": len(centres),
        "bank_entries": exports.housekeeping,
        "payment_runs": exports.runs,
        "transfers": exports.transfers,
        "workers": len(company.workers),
        "keyless_messages": sum(log.report_id is None for log in middleware.logs(company)),
    }
    return Truth(
        format=FORMAT,
        seed=seed,
        status_time=STATUS_TIME.isoformat(),
        records=exports.records,
        transactions=transactions | {"all": sum(transactions.values())},
        events=_counted(company, exports),
        steps=_steps(company),
        controls={control: _expected(control, fates) for control in CONTROLS},
        labels=dict(sorted(Counter(fate.label for fate in fates).items())),
        lost=_lost(company, exports),
        untold=_untold(company),
        claims=claims,
        cost_centres=centres,
    )


def _fate(claim: Claim, exports: Exports) -> Fate:
    plot = BY_KIND.get((claim.label, claim.kind), ORDINARY)
    numbers = tuple(
        exports.books[claim.report_id, index, False].number
        for index in range(len(claim.timeline.postings))
    )
    return Fate(
        label=claim.label,
        kind=claim.kind,
        entity=claim.entity.code,
        control=plot.control,
        reason=plot.reason,
        item=_item(claim, plot, exports.books),
        also={
            control: (numbers[0] if control == NOT_RETURNED else claim.report_id, reason)
            for control, reason in plot.also
            if control != NOT_PAID or _is_unpaid(claim)
        },
        pending=plot.pending,
        documents=numbers,
        currency=claim.account.currency,
        claimed_minor=claim.claimed,
        payable_minor=claim.payable,
        message=blocked_message(claim.entity) if claim.timeline.refusals else "",
    )


def _item(claim: Claim, plot: Plot, books: Books) -> str:
    """Return what the control calls it: the claim, a posting, a payment or a transfer."""
    if plot.transfer:
        return claim.timeline.payments[0].combined
    if plot.payment:
        return payment_number(books[claim.report_id, -1, False])
    if plot.posting is None:
        return claim.report_id
    return books[claim.report_id, plot.posting, False].number


def _is_unpaid(claim: Claim) -> bool:
    """Whether it is too late for the payment, and anybody can know that there was none."""
    due_at = claim.entity.calendar.due(claim.timeline.actions[-1].at, PAYMENT_DAYS)
    return due_at < STATUS_TIME and claim.entity is not LOST_ENTITY


def _expected(control: str, fates: list[Fate]) -> Expected:
    found = [fate for fate in fates if fate.control == control]
    return Expected(
        exceptions=len(found),
        reasons=dict(sorted(Counter(str(fate.reason) for fate in found).items())),
        pending=sum(1 for fate in fates if control in fate.pending),
    )


def _lost(company: Company, exports: Exports) -> Lost:
    gone = {value for b in exports.lost for name, value in b.refs if name == "EndToEndId"}
    first, last = LOST_DAYS
    return Lost(
        control=NOT_PAID,
        entity=exports.lost[0].entity.code,
        days=(first.isoformat(), last.isoformat()),
        records=len(exports.lost),
        claims=tuple(c.report_id for c in company.claims if c.report_id in gone),
    )


def _untold(company: Company) -> Untold:
    keyless = Counter(log.flow for log in middleware.logs(company) if log.report_id is None)
    claims = sum(claim.is_claim and claim.project == DEFAULT_PROJECT for claim in company.claims)
    return Untold(keyless, DEFAULT_PROJECT, claims)


_ACTION_EVENTS = {
    Deed.SUBMIT: "expense_report.submitted",
    Deed.RESUBMIT: "expense_report.resubmitted",
    Deed.MANAGER: "expense_report.approved",
    Deed.FINAL: "expense_report.final_approved",
    Deed.SEND_BACK: "expense_report.sent_back",
    Deed.REJECT: "expense_report.rejected",
    Deed.RECALL: "expense_report.withdrawn",
}


_PAYMENT_EVENTS = {"paid": "payment.confirmed", "returned": "payment.return_confirmed"}


def _counted(company: Company, exports: Exports) -> dict[str, int]:
    """Count the facts that the systems' records state, by event type."""
    events = Counter(kind for claim in company.claims for kind in _events(claim))
    events["bank_entry.booked"] = exports.housekeeping
    events["employee.changed"] = len(company.workers)
    events["cost_center.changed"] = sum(len(c.owned) for c in company.cost_centres)
    events["cost_center.replicated"] = sum(len(c.held) for c in company.cost_centres)
    for log in middleware.logs(company):
        events["message.delivered" if log.status == "COMPLETED" else "message.failed"] += 1
    events["payment_run.booked"] = exports.runs
    events["payment.settled"] += exports.transfers - len(exports.lost)
    return dict(sorted(events.items()))


def _events(claim: Claim) -> Iterator[str]:
    """Name the facts that the files say of a claim."""
    told = claim.timeline
    for action in told.actions:
        yield _ACTION_EVENTS[action.deed]
        if action.deed is Deed.FINAL and claim.payable == 0:
            yield "expense_report.nothing_payable"
        if action.deed is Deed.FINAL and claim.advanced:
            yield "expense_report.offset_by_advance"
    for posting in told.postings:
        yield from _posting_events(posting, is_claim=claim.is_claim)
    for _ in told.refusals:
        yield from ("idoc.received", "journal.refused")
    for payment in told.payments:
        yield "payment.instructed"
        yield from ["payment.settled"] * (claim.entity.lists_payments and not payment.combined)
        yield from ["payment.returned"] * (payment.returned_at is not None)
        yield from (_PAYMENT_EVENTS[status] for _, status in payment_confirmations(payment))


def _posting_events(posting: Posting, *, is_claim: bool) -> Iterator[str]:
    if posting.is_parked:
        yield "journal.parked"
        return
    yield "journal.posted"
    if posting.is_blocked:
        yield "payment.blocked"
    if posting.reversed_at:
        yield "journal.reversed"
    if is_claim and not posting.by_hand and not posting.replayed:
        yield from ("idoc.received", "idoc.posted")
    if is_claim and posting.shown is not Shown.NOTHING:
        yield "expense_report.posting_confirmed"


def _steps(company: Company) -> dict[str, StepCount]:
    """Count the steps of the flow that are done at the status time, as far as people see them."""
    told = [claim.timeline for claim in company.claims if claim.is_claim]
    needless = sum(1 for claim in company.claims if claim.label == ZERO_PAYABLE)
    covered = sum(1 for claim in company.claims if claim.advanced)
    last = [timeline.actions[-1].deed for timeline in told]
    return {
        "submitted": StepCount(sum(deed not in {Deed.RECALL, Deed.SEND_BACK} for deed in last), 0),
        "approved": StepCount(sum(deed is Deed.FINAL for deed in last), 0),
        "posted": StepCount(sum(map(_is_posted, told)), needless),
        "paid": StepCount(sum(map(_is_paid, told)), needless + covered),
    }


def _is_posted(told: Timeline) -> bool:
    return any(p.reversed_at is None and not p.is_parked for p in told.postings)


def _is_paid(told: Timeline) -> bool:
    return any(payment.returned_at is None for payment in told.payments)
