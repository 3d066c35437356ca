"""What is planted how often, and what each control must say about it.

One row per variant. `control` is the one control that must speak; every other one must stay silent,
as it must about every row without one. `pending` are the controls that find the claim inside its
deadline.
"""

from typing import NamedTuple

from api.demo import stories
from api.demo.company import DE10, ENTITIES, JP10, Claim, Company, Dice, Entity, Worker, hire
from api.demo.stories import BLOCKED_COST_CENTRE, Diary, Story

NOT_POSTED = "approved_not_posted"
NOT_PAID = "approved_not_paid"
MISSING = "approval_missing"
STUCK = "stuck_transaction"
CONTROLS = (NOT_POSTED, NOT_PAID, MISSING, STUCK)

CLAIMS = {"DE10": 1_400, "JP10": 600}
"""Claims per entity, planted ones included."""


class Plot(NamedTuple):
    """A variant of a class: its story, how many of it per entity, and what is true of it."""

    label: str
    kind: str
    story: Story
    planted: tuple[int, int]  # DE10, JP10
    control: str | None = None
    reason: str | None = None
    pending: tuple[str, ...] = ()


ORDINARY = Plot("ordinary", "ordinary", stories.ordinary, (0, 0))
ZERO_PAYABLE = "zero_payable"
REFUSED = "refused"

PLOTS = (
    Plot(NOT_POSTED, "never_sent", stories.never_sent, (3, 1), NOT_POSTED, "NEVER_SENT"),
    Plot(NOT_POSTED, REFUSED, stories.refused, (2, 2), NOT_POSTED, "REFUSED_BY_ERP"),
    Plot(
        NOT_POSTED, "reversed", stories.reversed_only, (3, 1), NOT_POSTED, "REVERSED_NOT_REPOSTED"
    ),
    Plot(NOT_PAID, "never_in_a_run", stories.never_in_a_run, (4, 2), NOT_PAID, "NOT_IN_RUN"),
    Plot(NOT_PAID, "returned", stories.returned, (3, 2), NOT_PAID, "RETURNED"),
    Plot(MISSING, "none", stories.never_approved, (2, 1), MISSING, "NONE"),
    Plot(MISSING, "sent_back", stories.sent_back, (2, 2), MISSING, "REJECTED_AFTER"),
    Plot(MISSING, "after_posting", stories.approved_late, (2, 1), MISSING, "AFTER_COMMIT"),
    Plot(STUCK, "waiting_for_approver", stories.stuck, (6, 3), STUCK, "WAITING_FOR_PERSON"),
    Plot(
        "in_time",
        "approved_last_evening",
        stories.approved_last_evening,
        (4, 2),
        pending=(NOT_POSTED, NOT_PAID),
    ),
    Plot(
        "in_time",
        "posting_due_today",
        stories.posting_due_today,
        (3, 2),
        pending=(NOT_POSTED, NOT_PAID),
    ),
    Plot("in_time", "next_payment_run", stories.next_payment_run, (3, 2), pending=(NOT_PAID,)),
    Plot("in_time", "payment_due_today", stories.payment_due_today, (2, 2), pending=(NOT_PAID,)),
    Plot("waiting_in_time", "waiting", stories.waiting, (8, 4), pending=(STUCK,)),
    Plot("rejected", "for_good", stories.rejected, (7, 3)),
    Plot("rejected", "resubmitted", stories.rejected_and_resubmitted, (7, 3)),
    Plot("withdrawn", "recalled", stories.withdrawn, (7, 3)),
    Plot("reversed_and_reposted", "next_day", stories.reversed_and_reposted, (10, 4)),
    Plot(ZERO_PAYABLE, "personal", stories.nothing_payable, (4, 2)),
    Plot(ZERO_PAYABLE, "company_card", stories.nothing_payable, (4, 2)),
    Plot("last_minute", "approved", stories.approved_last_minute, (4, 2)),
    Plot("last_minute", "posted", stories.posted_last_minute, (4, 2)),
    Plot("last_minute", "paid", stories.paid_last_day, (4, 2)),
)
BY_KIND = {(plot.label, plot.kind): plot for plot in (ORDINARY, *PLOTS)}


class Receipt(NamedTuple):
    """A kind of expense with its range in euro cents, and in yen tens."""

    purpose: str
    cents: tuple[int, int]
    ten_yen: tuple[int, int]


_RECEIPTS = (
    Receipt("Train", (1_890, 24_900), (120, 3_200)),
    Receipt("Hotel", (7_900, 48_000), (850, 6_400)),
    Receipt("Flight", (9_800, 145_000), (1_400, 21_000)),
    Receipt("Meals with customer", (2_450, 31_000), (300, 4_800)),
    Receipt("Taxi", (890, 8_700), (90, 1_250)),
    Receipt("Trade fair", (4_500, 98_000), (600, 12_000)),
    Receipt("Training", (12_000, 189_000), (1_500, 24_000)),
    Receipt("Software", (999, 39_900), (150, 5_200)),
)
_RECEIPTS_MAX = 4
_CHARGED_ELSEWHERE_SHARE = 0.1


def found(seed: int) -> Company:
    """Found the company and let its month pass: the same seed gives the same company."""
    rng = Dice(seed)
    workers = hire(rng)
    used: set[str] = set()
    claims = [
        _claim(rng, workers, entity, plot, _report_id(rng, used)) for entity, plot in _cast(rng)
    ]
    claims.sort(key=lambda claim: (claim.timeline.actions[0].at, claim.report_id))
    return Company(workers, tuple(claims))


def _cast(rng: Dice) -> list[tuple[Entity, Plot]]:
    """Fill up each entity's claims with ordinary ones, and shuffle."""
    cast = [
        (entity, plot)
        for plot in PLOTS
        for entity, n in zip((DE10, JP10), plot.planted, strict=True)
        for _ in range(n)
    ]
    for entity in ENTITIES:
        planted = sum(1 for other, _ in cast if other is entity)
        cast += [(entity, ORDINARY)] * (CLAIMS[entity.code] - planted)
    rng.shuffle(cast)
    return cast


def _report_id(rng: Dice, used: set[str]) -> str:
    """Return a fresh id of 16 characters: more would be cut off in the ERP's reference field."""
    while True:
        report_id = f"{rng.getrandbits(64):016X}"
        if report_id not in used and not report_id.isdigit():
            used.add(report_id)
            return report_id


def _claim(
    rng: Dice, workers: tuple[Worker, ...], entity: Entity, plot: Plot, report_id: str
) -> Claim:
    staff = [w for w in workers if w.entity is entity]
    heads = {w.cost_centre: w for w in reversed(staff)}
    owner = rng.choice([w for w in staff if w is not heads[w.cost_centre]])
    elsewhere = rng.random() < _CHARGED_ELSEWHERE_SHARE
    cost_centre = rng.choice(entity.cost_centres) if elsewhere else owner.cost_centre
    receipts = rng.choices(_RECEIPTS, k=rng.randint(1, _RECEIPTS_MAX))
    claimed = sum(_amount(rng, entity, receipt) for receipt in receipts)
    return Claim(
        report_id=report_id,
        owner=owner,
        manager=heads[owner.cost_centre],
        budget_owner=heads[cost_centre],
        cost_centre=BLOCKED_COST_CENTRE if plot.kind == REFUSED else cost_centre,
        purpose=receipts[0].purpose,
        claimed=claimed,
        payable=0 if plot.label == ZERO_PAYABLE else claimed,
        label=plot.label,
        kind=plot.kind,
        timeline=plot.story(Diary(rng, entity)),
    )


def _amount(rng: Dice, entity: Entity, receipt: Receipt) -> int:
    """Draw an amount in minor units; yen prices end in a zero."""
    if entity is JP10:
        return 10 * rng.randint(*receipt.ten_yen)
    return rng.randint(*receipt.cents)
