"""What can become of a claim: one small function per story.

A story keeps to the deadlines of the flow unless it is there to break them, so that every innocent
claim is innocent by construction; `tests/api/demo` checks that from the written files alone.
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta

from api.demo.company import (
    Action,
    Deed,
    Dice,
    Entity,
    Payment,
    Posting,
    Refusal,
    Timeline,
)

APPROVAL_DAYS = 3
POSTING_DAYS = 1
PAYMENT_DAYS = 10
"""The deadlines of the flow, in business days; the payment counts from the approval."""

BLOCKED_COST_CENTRE = "4711"
BLOCKED_MESSAGE = f"cost centre {BLOCKED_COST_CENTRE} is blocked"

_MORNING, _NOON, _LEAVE = time(8, 30), time(12), time(17, 30)
_INTERFACE_RUNS, _PAYMENT_RUNS, _BANK_OPENS = time(19, 30), time(10), time(9)
_RUN_WEEKDAYS = (1, 4)  # Tuesday and Friday
_HOUR = 3600
_WEEKEND_SHARE, _EVENING_SHARE, _SAME_DAY_SHARE = 0.02, 0.05, 0.5

JANUARY = (date(2026, 1, 2), date(2026, 1, 30))
EARLY = (date(2026, 1, 5), date(2026, 1, 14))
"""Submitted so early that everything that follows is overdue by the status time."""
LAST_PAID = date(2026, 1, 30)
"""Approved by then, a claim is in the last payment run before the status time."""


class Diary:
    """Believable times for one entity."""

    def __init__(self, rng: Dice, entity: Entity) -> None:
        self.rng = rng
        self.calendar = entity.calendar

    def office(self, day: date, opens: time = _MORNING, hours: int = 9) -> datetime:
        """Return some time on `day`, within `hours` of `opens`."""
        return self.calendar.at(day, opens, self.rng.randrange(hours * _HOUR))

    def evening(self, day: date) -> datetime:
        """Return some time on `day` after the cut-off."""
        return self.office(day, time(18, 5), hours=3)

    def submission(self, first: date, last: date) -> datetime:
        """Return when somebody submits: mostly in the office, sometimes from home."""
        if self.rng.random() < _WEEKEND_SHARE:
            return self.office(first + timedelta(self.rng.randint(0, (last - first).days)))
        return self.office(self.rng.choice(self.calendar.days(first, last)))

    def soon(self, instant: datetime) -> datetime:
        """Return a later time on the same day if there is one, or on the next business day."""
        leave = self.calendar.at(instant.date(), _LEAVE)
        left = int((leave - instant).total_seconds()) - 600
        if (
            left > 0
            and self.calendar.is_open(instant.date())
            and self.rng.random() < _SAME_DAY_SHARE
        ):
            return instant + timedelta(seconds=600 + self.rng.randrange(left))
        if self.rng.random() < _EVENING_SHARE:
            return self.evening(self.calendar.after(instant.date()))
        return self.office(self.calendar.after(instant.date()))

    def interface_run(self, instant: datetime) -> datetime:
        """Return when the next evening run of the interface posts what is there at `instant`."""
        day = self.calendar.working_day(instant)
        return self.calendar.at(day, _INTERFACE_RUNS, self.rng.randrange(_HOUR // 2))

    def payment(self, posted: datetime) -> Payment:
        """Pay in the first payment run after `posted`; the bank books on the next business day."""
        day = posted.date()
        while True:
            day = self.calendar.after(day)
            if day.weekday() in _RUN_WEEKDAYS:
                return self.pay_on(day)

    def pay_on(self, day: date) -> Payment:
        """Pay in a run on `day`."""
        settled = self.office(self.calendar.after(day), _BANK_OPENS, hours=1)
        return Payment(self.calendar.at(day, _PAYMENT_RUNS), settled)


Story = Callable[[Diary], Timeline]


def _approved(
    diary: Diary, span: tuple[date, date] = JANUARY, last: date = LAST_PAID
) -> tuple[Action, ...]:
    """Submit within `span` and approve in both steps in time, at the latest on `last`."""
    latest = diary.calendar.at(last, _LEAVE)
    while True:
        submitted = diary.submission(*span)
        checked = diary.soon(submitted)
        final = diary.soon(checked)
        if final <= min(latest, diary.calendar.due(submitted, APPROVAL_DAYS)):
            return (
                Action(submitted, Deed.SUBMIT),
                Action(checked, Deed.MANAGER),
                Action(final, Deed.FINAL),
            )


def _posted_and_paid(diary: Diary, actions: tuple[Action, ...]) -> Timeline:
    posted = diary.interface_run(actions[-1].at)
    return Timeline(actions, (Posting(posted),), payment=diary.payment(posted))


def ordinary(diary: Diary) -> Timeline:
    """Submit, approve, post, pay: all in time."""
    return _posted_and_paid(diary, _approved(diary))


# ------------------------------------------------------------------ approved and not posted


def never_sent(diary: Diary) -> Timeline:
    """Approve, and nothing more: the interface never picked it up."""
    return Timeline(_approved(diary))


def refused(diary: Diary) -> Timeline:
    """Approve; the ERP refuses it on two evenings."""
    actions = _approved(diary)
    first = diary.interface_run(actions[-1].at)
    again = diary.interface_run(first)
    tries = tuple(Refusal(at, BLOCKED_MESSAGE) for at in (first, again))
    return Timeline(actions, refusals=tries)


def reversed_only(diary: Diary) -> Timeline:
    """Post and reverse on the next morning, before any payment run."""
    actions = _approved(diary)
    return Timeline(actions, (_reversed(diary, diary.interface_run(actions[-1].at)),))


def _reversed(diary: Diary, posted: datetime) -> Posting:
    next_day = diary.calendar.after(posted.date())
    return Posting(posted, diary.office(next_day, _MORNING, hours=1))


# -------------------------------------------------------------------- approved and not paid


def never_in_a_run(diary: Diary) -> Timeline:
    """Post in time; no payment run ever takes it."""
    actions = _approved(diary, EARLY, date(2026, 1, 19))
    return Timeline(actions, (Posting(diary.interface_run(actions[-1].at)),))


def returned(diary: Diary) -> Timeline:
    """Pay; the bank sends the money back two business days later."""
    told = _posted_and_paid(diary, _approved(diary, EARLY, date(2026, 1, 19)))
    paid = told.payment or diary.payment(told.postings[0].at)
    back = diary.office(diary.calendar.after(paid.settled_at.date(), 2), _NOON, hours=3)
    return Timeline(told.actions, told.postings, payment=paid._replace(returned_at=back))


# ------------------------------------------------------------------------- approval missing


def never_approved(diary: Diary) -> Timeline:
    """Submit; somebody posts it by hand on the next business day, and it is paid."""
    submit = Action(diary.submission(*EARLY), Deed.SUBMIT)
    posted = diary.soon(diary.office(diary.calendar.after(submit.at.date())))
    actions = (submit, Action(diary.soon(submit.at), Deed.MANAGER))[: diary.rng.randint(1, 2)]
    return Timeline(actions, (Posting(posted, by_hand=True),), payment=diary.payment(posted))


def sent_back(diary: Diary) -> Timeline:
    """Approve, send back before the interface runs, and post it all the same."""
    actions = _approved(diary)
    posted = diary.interface_run(actions[-1].at)
    back = posted - timedelta(seconds=diary.rng.randint(900, 1800) + _HOUR // 2)
    told = (*actions, Action(back, Deed.SEND_BACK))
    return Timeline(told, (Posting(posted),), payment=diary.payment(posted))


def approved_late(diary: Diary) -> Timeline:
    """Post by hand first; the final approval follows a business day later."""
    submit = Action(diary.office(diary.rng.choice(diary.calendar.days(*EARLY))), Deed.SUBMIT)
    posted = diary.office(diary.calendar.after(submit.at.date()), time(10), hours=6)
    checked = Action(posted - timedelta(minutes=40), Deed.MANAGER)
    final = Action(diary.office(diary.calendar.after(posted.date())), Deed.FINAL)
    actions = (submit, checked, final)
    return Timeline(actions, (Posting(posted, by_hand=True),), payment=diary.payment(final.at))


# ------------------------------------------------------------------------------------ stuck


def stuck(diary: Diary) -> Timeline:
    """Submit; the manager may agree, the budget owner never answers."""
    submit = Action(diary.submission(*EARLY), Deed.SUBMIT)
    actions = (submit, Action(diary.soon(submit.at), Deed.MANAGER))
    return Timeline(actions[: diary.rng.randint(1, 2)])


# --------------------------------------------------------------- innocent, though they look


def approved_last_evening(diary: Diary) -> Timeline:
    """Approve after the cut-off of the last day: no interface run since."""
    actions = _waiting(diary, date(2026, 2, 2))
    return Timeline((*actions, Action(diary.evening(date(2026, 2, 4)), Deed.FINAL)))


def posting_due_today(diary: Diary) -> Timeline:
    """Approve on the last day; the posting is due on the very day of the status time."""
    actions = _waiting(diary, date(2026, 2, 2))
    return Timeline((*actions, Action(diary.office(date(2026, 2, 4)), Deed.FINAL)))


def next_payment_run(diary: Diary) -> Timeline:
    """Approve and post after the last payment run before the status time."""
    actions = _waiting(diary, date(2026, 1, 30))
    actions = (*actions, Action(diary.office(date(2026, 2, 3)), Deed.FINAL))
    return Timeline(actions, (Posting(diary.interface_run(actions[-1].at)),))


def payment_due_today(diary: Diary) -> Timeline:
    """Approve ten business days before the status time; posted and not paid yet."""
    actions = _waiting(diary, date(2026, 1, 20))
    actions = (*actions, Action(diary.office(date(2026, 1, 22)), Deed.FINAL))
    return Timeline(actions, (Posting(diary.interface_run(actions[-1].at)),))


def waiting(diary: Diary) -> Timeline:
    """Submit so late that the approver still has time."""
    return Timeline(_waiting(diary, diary.rng.choice([date(2026, 2, 2), date(2026, 2, 3)])))


def _waiting(diary: Diary, day: date) -> tuple[Action, ...]:
    submit = Action(diary.office(day, hours=7), Deed.SUBMIT)
    checked = diary.office(day, time(16), hours=1)
    return (submit, Action(checked, Deed.MANAGER))


def rejected(diary: Diary) -> Timeline:
    """Reject for good."""
    submit, checked, final = _approved(diary)
    return Timeline((submit, checked, Action(final.at, Deed.REJECT)))


def rejected_and_resubmitted(diary: Diary) -> Timeline:
    """Reject, submit again, approve, post and pay."""
    first = rejected(diary).actions
    while True:
        submit, *rest = _approved(diary)
        if submit.at > first[-1].at:
            again = (*first, Action(submit.at, Deed.RESUBMIT), *rest)
            return _posted_and_paid(diary, again)
        first = rejected(diary).actions


def withdrawn(diary: Diary) -> Timeline:
    """Submit and recall."""
    submit = Action(diary.submission(*JANUARY), Deed.SUBMIT)
    return Timeline((submit, Action(diary.soon(submit.at), Deed.RECALL)))


def reversed_and_reposted(diary: Diary) -> Timeline:
    """Post, reverse on the next morning, post again on that afternoon, pay."""
    actions = _approved(diary, last=date(2026, 1, 29))
    first = _reversed(diary, diary.interface_run(actions[-1].at))
    day = diary.calendar.after(first.at.date())
    second = Posting(diary.office(day, time(13), hours=4), by_hand=True)
    return Timeline(actions, (first, second), payment=diary.payment(second.at))


def nothing_payable(diary: Diary) -> Timeline:
    """Approve a claim on which the company owes the employee nothing."""
    return Timeline(_approved(diary))


def approved_last_minute(diary: Diary) -> Timeline:
    """Approve minutes before the approver's time is over."""
    submit, checked, _ = _approved(diary, EARLY, date(2026, 1, 19))
    due = diary.calendar.due(submit.at, APPROVAL_DAYS)
    final = Action(due - timedelta(seconds=diary.rng.randint(1, 240)), Deed.FINAL)
    return _posted_and_paid(diary, (submit, checked, final))


def posted_last_minute(diary: Diary) -> Timeline:
    """Approve just before the cut-off, post just before the deadline."""
    actions = _approved(diary, EARLY, date(2026, 1, 19))
    day = diary.calendar.working_day(actions[-1].at)
    final = diary.calendar.at(day, time(17, 50), diary.rng.randrange(600))
    due = diary.calendar.due(final, POSTING_DAYS)
    posted = due - timedelta(seconds=diary.rng.randint(1, 240))
    told = (*actions[:-1], Action(final, Deed.FINAL))
    return Timeline(told, (Posting(posted),), payment=diary.payment(posted))


def paid_last_day(diary: Diary) -> Timeline:
    """Pay in an extra run, booked on the last day."""
    actions = _approved(diary, EARLY, date(2026, 1, 19))
    posted = Posting(diary.interface_run(actions[-1].at))
    basis = diary.calendar.basis_day(actions[-1].at)
    paid = diary.pay_on(diary.calendar.after(basis, PAYMENT_DAYS - 1))
    return Timeline(actions, (posted,), payment=paid)
