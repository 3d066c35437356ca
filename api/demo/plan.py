"""What is planted how often, and what each control must say about it.

One row per variant. `control` is the one control that must speak; every other one must stay silent,
as it must about every row without one. `pending` are the controls that find the claim inside its
deadline.
"""

from typing import NamedTuple

from api.demo import stories
from api.demo.company import ENTITIES, Account, Claim, Company, Dice, Entity, Worker, hire
from api.demo.diary import Diary
from api.demo.master_data import cost_centres
from api.demo.stories import Story

NOT_POSTED = "approved_not_posted"
NOT_PAID = "approved_not_paid"
NOT_APPROVED = "posted_not_approved"
NOT_RETURNED = "status_not_returned"
PAYMENT_NOT_RETURNED = "payment_not_returned"
STUCK = "stuck_transaction"
DIFFERS = "amount_differs"
DUPLICATE = "duplicate_posting"
MISSING = "approval_missing"
STALE = "stale_dimension"

CLAIMS = {"DE10": 3_000, "JP10": 1_200, "KW10": 800}
"""Claims per entity, planted ones included."""

DEFAULT_PROJECT = "P-00000"


class Plot(NamedTuple):
    """A variant of a class: its story, how many of it per entity, and what is true of it.

    The control speaks of the claim, of the posting with the index `posting`, of its `payment`, or of the
    `transfer` that pays it with others. The controls in `also`
    rightly report it as well, once it is overdue for them, each with the reason beside it: its exposure
    belongs to `control`.
    """

    label: str
    kind: str
    story: Story
    planted: tuple[int, int, int]  # DE10, JP10, KW10
    control: str | None = None
    reason: str | None = None
    posting: int | None = None
    also: tuple[tuple[str, str], ...] = ()
    pending: tuple[str, ...] = ()
    transfer: bool = False
    payment: bool = False


ORDINARY = Plot("ordinary", "ordinary", stories.ordinary, (0, 0, 0))
ZERO_PAYABLE = "zero_payable"
ADVANCE = "advance_settled"
REFUSED = "refused"
NO_SOURCE = "no_source"

# What rests on a payment, there or missing, is planted in DE10 and JP10 alone: of KW10 a week of the
# bank is not delivered, so nobody can say there that a payment is missing.
DEFECTS = (
    Plot(
        NOT_POSTED,
        "never_sent",
        stories.never_sent,
        (3, 1, 1),
        NOT_POSTED,
        "NEVER_SENT",
        also=((NOT_PAID, "NOT_POSTED"),),
    ),
    Plot(
        NOT_POSTED,
        "send_failed",
        stories.send_failed,
        (2, 1, 1),
        NOT_POSTED,
        "SEND_FAILED",
        also=((NOT_PAID, "NOT_POSTED"),),
    ),
    Plot(
        NOT_POSTED,
        "no_document",
        stories.no_document,
        (2, 1, 1),
        NOT_POSTED,
        "NO_DOCUMENT",
        also=((NOT_PAID, "NOT_POSTED"),),
    ),
    Plot(
        NOT_POSTED,
        REFUSED,
        stories.refused,
        (2, 1, 1),
        NOT_POSTED,
        "REFUSED_BY_ERP",
        also=((NOT_PAID, "NOT_POSTED"),),
    ),
    Plot(
        NOT_POSTED,
        "reversed",
        stories.reversed_only,
        (2, 1, 1),
        NOT_POSTED,
        "REVERSED_NOT_REPOSTED",
        also=((NOT_PAID, "NOT_POSTED"),),
    ),
    Plot(
        NOT_POSTED,
        "parked",
        stories.parked,
        (2, 1, 1),
        NOT_POSTED,
        "PARKED",
        also=((NOT_PAID, "NOT_POSTED"),),
    ),
    Plot(NOT_PAID, "never_in_a_run", stories.never_in_a_run, (4, 2, 0), NOT_PAID, "NOT_IN_RUN"),
    Plot(NOT_PAID, "blocked", stories.blocked, (2, 1, 0), NOT_PAID, "BLOCKED"),
    Plot(NOT_PAID, "returned", stories.returned, (3, 2, 0), NOT_PAID, "RETURNED"),
    Plot(
        NOT_APPROVED,
        NO_SOURCE,
        stories.posted_alone,
        (2, 1, 1),
        NOT_APPROVED,
        "NO_SOURCE",
        0,
        ((NOT_RETURNED, "NOT_RETURNED"),),
    ),
    Plot(
        NOT_APPROVED,
        "broken_link",
        stories.posted_alone,
        (2, 1, 1),
        NOT_APPROVED,
        "LINK_BROKEN",
        0,
        ((NOT_RETURNED, "NOT_RETURNED"),),
    ),
    Plot(
        NOT_APPROVED,
        "unapproved",
        stories.posted_unapproved,
        (2, 1, 1),
        NOT_APPROVED,
        "SOURCE_NOT_APPROVED",
        0,
        ((MISSING, "NONE"),),
    ),
    Plot(
        NOT_APPROVED,
        "rejected",
        stories.posted_rejected,
        (2, 1, 1),
        NOT_APPROVED,
        "SOURCE_REJECTED",
        0,
        ((MISSING, "NONE"),),
    ),
    Plot(NOT_RETURNED, "not_shown", stories.not_shown, (3, 1, 1), NOT_RETURNED, "NOT_RETURNED", 0),
    Plot(
        NOT_RETURNED,
        "other_number",
        stories.shown_otherwise,
        (2, 1, 1),
        NOT_RETURNED,
        "NUMBER_DIFFERS",
        0,
    ),
    Plot(
        NOT_RETURNED,
        "as_failed",
        stories.shown_as_failed,
        (2, 1, 1),
        NOT_RETURNED,
        "STATUS_DIFFERS",
        0,
    ),
    Plot(
        PAYMENT_NOT_RETURNED,
        "payment_not_shown",
        stories.payment_not_shown,
        (4, 2, 0),
        PAYMENT_NOT_RETURNED,
        "NOT_RETURNED",
        payment=True,
    ),
    Plot(STUCK, "waiting_for_approver", stories.stuck, (4, 2, 2), STUCK, "WAITING_FOR_PERSON"),
    Plot(
        STUCK,
        "retry_loop",
        stories.tried_again_and_again,
        (2, 1, 1),
        STUCK,
        "RETRY_LOOP",
        pending=(NOT_POSTED, NOT_PAID),
    ),
    Plot(STUCK, "to_and_fro", stories.to_and_fro, (2, 1, 1), STUCK, "PING_PONG"),
    Plot(DIFFERS, "currency", stories.other_currency, (2, 1, 1), DIFFERS, "CURRENCY"),
    Plot(DIFFERS, "too_much", stories.too_much, (3, 1, 1), DIFFERS, "AMOUNT"),
    Plot(DIFFERS, "ten_times", stories.ten_times, (2, 1, 2), DIFFERS, "SCALE"),
    Plot(
        DIFFERS,
        "paid_in_part",
        stories.paid_in_part,
        (2, 1, 0),
        DIFFERS,
        "PARTLY_OVERDUE",
        also=((NOT_PAID, "PARTLY_PAID"),),
    ),
    Plot(DUPLICATE, "sent_again", stories.sent_again, (2, 1, 1), DUPLICATE, "RESENT", 1),
    Plot(DUPLICATE, "replayed", stories.replayed, (2, 1, 1), DUPLICATE, "REPLAYED", 1),
    Plot(
        DUPLICATE,
        "by_hand",
        stories.by_hand_as_well,
        (2, 1, 1),
        DUPLICATE,
        "INTERFACE_AND_MANUAL",
        1,
    ),
    Plot(
        DUPLICATE,
        "reversed_too_late",
        stories.reversed_too_late,
        (1, 1, 1),
        DUPLICATE,
        "REVERSED_IN_LATER_PERIOD",
        1,
    ),
    Plot(MISSING, "none", stories.never_approved, (2, 1, 1), MISSING, "NONE"),
    Plot(MISSING, "sent_back", stories.sent_back, (2, 1, 1), MISSING, "REJECTED_AFTER"),
    Plot(MISSING, "after_posting", stories.approved_late, (2, 1, 1), MISSING, "AFTER_COMMIT"),
)

LOOKALIKES = (
    Plot(
        "in_time",
        "approved_last_evening",
        stories.approved_last_evening,
        (4, 2, 2),
        pending=(NOT_POSTED, NOT_PAID),
    ),
    Plot(
        "in_time",
        "posting_due_today",
        stories.posting_due_today,
        (3, 2, 2),
        pending=(NOT_POSTED, NOT_PAID),
    ),
    Plot("in_time", "next_payment_run", stories.next_payment_run, (3, 2, 2), pending=(NOT_PAID,)),
    Plot("in_time", "payment_due_today", stories.payment_due_today, (2, 2, 2), pending=(NOT_PAID,)),
    Plot("waiting_in_time", "waiting", stories.waiting, (8, 4, 2), pending=(STUCK,)),
    Plot("rejected", "for_good", stories.rejected, (7, 3, 2)),
    Plot("rejected", "resubmitted", stories.rejected_and_resubmitted, (7, 3, 2)),
    Plot("withdrawn", "recalled", stories.withdrawn, (7, 3, 2)),
    Plot("reversed_and_reposted", "next_day", stories.reversed_and_reposted, (10, 4, 3)),
    Plot("returned_and_paid_again", "extra_run", stories.returned_and_paid_again, (4, 2, 0)),
    Plot(ADVANCE, "wholly", stories.offset_by_advance, (5, 2, 2)),
    Plot("declared_split", "two_parts", stories.split, (5, 2, 2)),
    Plot("delivered_later", "third_attempt", stories.delivered_later, (5, 2, 2)),
    Plot(ZERO_PAYABLE, "personal", stories.nothing_payable, (4, 2, 2)),
    Plot(ZERO_PAYABLE, "company_card", stories.nothing_payable, (4, 2, 2)),
    Plot("last_minute", "approved", stories.approved_last_minute, (4, 2, 2)),
    Plot("last_minute", "posted", stories.posted_last_minute, (4, 2, 2)),
    Plot("last_minute", "paid", stories.paid_last_day, (4, 2, 0)),
    Plot("last_minute", "shown", stories.shown_last_minute, (4, 2, 2)),
)
PLOTS = DEFECTS + LOOKALIKES

COMBINED = "combined_payment"
COMBINED_SHORT = Plot(
    DIFFERS,
    "combined_short",
    stories.ordinary,
    (2, 0, 1),
    DIFFERS,
    "AMOUNT",
    transfer=True,
)
COMBINED_WHOLE = Plot(COMBINED, "together", stories.ordinary, (12, 0, 6))
"""Made of ordinary claims (`api.demo.transfers`). JP10's bank shows no single transfers."""

SWAPPED_MORE = Plot(DIFFERS, "swapped_more", stories.ordinary, (2, 0, 0), DIFFERS, "AMOUNT")
SWAPPED_LESS = Plot(
    DIFFERS,
    "swapped_less",
    stories.ordinary,
    (2, 0, 0),
    DIFFERS,
    "PARTLY_OVERDUE",
    also=((NOT_PAID, "PARTLY_PAID"),),
)
"""Of two ordinary claims in one payment run: only DE10's bank lists the payments of a run."""

BY_KIND = {
    (plot.label, plot.kind): plot
    for plot in (ORDINARY, *PLOTS, COMBINED_SHORT, COMBINED_WHOLE, SWAPPED_MORE, SWAPPED_LESS)
}


class Receipt(NamedTuple):
    """A kind of expense with its range in euro, converted for other currencies."""

    purpose: str
    euros: tuple[int, int]


_RECEIPTS = (
    Receipt("Train", (18, 249)),
    Receipt("Hotel", (79, 480)),
    Receipt("Flight", (98, 1_450)),
    Receipt("Meals with customer", (24, 310)),
    Receipt("Taxi", (9, 87)),
    Receipt("Trade fair", (45, 980)),
    Receipt("Training", (120, 1_890)),
    Receipt("Software", (10, 399)),
)
_RECEIPTS_MAX = 4
_PER_DIEMS = (1_400, 2_800, 5_600, 8_400)
_UNIT = {"EUR": 1.0, "JPY": 1.6, "KWD": 3.3, "USD": 1.1}
"""Minor units of the currency that a euro cent is worth, about."""

_CHARGED_ELSEWHERE_SHARE = 0.1
_PER_DIEM_SHARE, _DEFAULT_PROJECT_SHARE, _KEYLESS_SHARE = 0.3, 0.15, 0.05
_PROJECTS = 400
_NAMESAKES_SHARE = 0.05


def found(seed: int) -> Company:
    """Found the company and let its two months pass: the same seed gives the same company."""
    rng = Dice(seed)
    workers = hire(rng)
    used: list[str] = []
    claims = [
        _claim(rng, workers, entity, plot, _report_id(rng, used)) for entity, plot in _cast(rng)
    ]
    claims.sort(key=lambda claim: (claim.timeline.began, claim.report_id))
    return Company(workers, cost_centres(rng), tuple(claims))


def _cast(rng: Dice) -> list[tuple[Entity, Plot]]:
    """Fill up each entity's claims with ordinary ones, and shuffle."""
    cast = [
        (entity, plot)
        for plot in PLOTS
        for entity, n in zip(ENTITIES, plot.planted, strict=True)
        for _ in range(n)
    ]
    for entity in ENTITIES:
        planted = sum(1 for other, _ in cast if other is entity)
        cast += [(entity, ORDINARY)] * (CLAIMS[entity.code] - planted)
    rng.shuffle(cast)
    return cast


def _report_id(rng: Dice, used: list[str]) -> str:
    """Return a fresh id of 20 characters; some share the 16 that the ERP's reference field holds."""
    while True:
        report_id = f"{rng.getrandbits(80):020X}"
        if used and rng.random() < _NAMESAKES_SHARE:
            report_id = rng.choice(used)[:16] + report_id[16:]
        if report_id not in used:
            used.append(report_id)
            return report_id


def _claim(
    rng: Dice, workers: tuple[Worker, ...], entity: Entity, plot: Plot, report_id: str
) -> Claim:
    staff = [w for w in workers if w.entity is entity]
    heads = {w.cost_centre: w for w in reversed(staff)}
    owner = rng.choice([w for w in staff if w is not heads[w.cost_centre]])
    elsewhere = rng.random() < _CHARGED_ELSEWHERE_SHARE
    cost_centre = rng.choice(entity.cost_centres) if elsewhere else owner.cost_centre
    account = rng.choice(entity.accounts)
    purpose, claimed = _spent(rng, account)
    payable = 0 if plot.label == ZERO_PAYABLE else claimed
    by_default = rng.random() < _DEFAULT_PROJECT_SHARE
    return Claim(
        report_id=report_id,
        owner=owner,
        manager=heads[owner.cost_centre],
        budget_owner=heads[cost_centre],
        account=account,
        cost_centre=entity.blocked if plot.kind == REFUSED else cost_centre,
        project=DEFAULT_PROJECT if by_default else f"P-{rng.randint(10_001, 10_000 + _PROJECTS)}",
        purpose=purpose,
        claimed=claimed,
        payable=payable,
        advanced=payable if plot.label == ADVANCE else 0,
        keyless=plot is ORDINARY and rng.random() < _KEYLESS_SHARE,
        label=plot.label,
        kind=plot.kind,
        timeline=plot.story(Diary(rng, entity, payable)),
    )


def _spent(rng: Dice, account: Account) -> tuple[str, int]:
    """Draw what a claim is for and its amount in minor units: a per diem, or some receipts."""
    unit = _UNIT[account.currency]
    if rng.random() < _PER_DIEM_SHARE:
        return "Per diem", int(rng.choice(_PER_DIEMS) * unit)
    receipts = rng.choices(_RECEIPTS, k=rng.randint(1, _RECEIPTS_MAX))
    cents = sum(rng.randint(100 * low, 100 * high) for low, high in (r.euros for r in receipts))
    return receipts[0].purpose, int(cents * unit)
