"""What can become of a claim: one small function per story.

A story keeps to the deadlines of the flow unless it is there to break them, so that every innocent
claim is innocent by construction; `tests/api/demo` checks that from the written files alone.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, time, timedelta

from api.demo.company import (
    Action,
    Deed,
    Entity,
    Payment,
    Posting,
    Refusal,
    Sending,
    Shown,
    Timeline,
)
from api.demo.diary import LEAVE, MORNING, Diary

APPROVAL_DAYS = 3
POSTING_DAYS = 1
PAYMENT_DAYS = 10
"""The deadlines of the flow, in business days; the payment counts from the approval."""

_NOON = time(12)
MONTHS = (date(2026, 9, 1), date(2026, 10, 27))
EARLY = (date(2026, 9, 3), date(2026, 10, 8))
"""Submitted so early that everything that follows is overdue by the status time."""
EARLY_APPROVED = date(2026, 10, 15)
LAST_PAID = date(2026, 10, 28)
"""Approved by then, a claim is in the last payment run before the status time everywhere."""
_TO_REPOST = date(2026, 10, 26)
_MID_SEPTEMBER, _EARLY_OCTOBER = date(2026, 9, 20), date(2026, 10, 5)
_LOOKED_BACK = date(2026, 10, 7), date(2026, 10, 23)
"""So late that all exports reach back 35 days from then: so old may the approval of a posting be."""
_RETRIES, _RETRY_S = 6, 900
_TOO_MUCH = 900


Story = Callable[[Diary], Timeline]


def _approved(
    diary: Diary, span: tuple[date, date] = MONTHS, last: date = LAST_PAID
) -> tuple[Action, ...]:
    """Submit within `span` and approve in both steps in time, at the latest on `last`."""
    latest = diary.calendar.at(last, LEAVE)
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
    return Timeline(actions, (Posting(posted),), payments=(diary.payment(posted),))


def ordinary(diary: Diary) -> Timeline:
    """Submit, approve, post, pay: all in time."""
    return _posted_and_paid(diary, _approved(diary))


# ------------------------------------------------------------------ approved and not posted


def never_sent(diary: Diary) -> Timeline:
    """Approve, and nothing more: the interface never picked it up."""
    return Timeline(_approved(diary))


def send_failed(diary: Diary) -> Timeline:
    """Approve; the middleware fails to deliver it, and nobody sends it again."""
    actions = _approved(diary)
    return Timeline(actions, sendings=(Sending(diary.interface_run(actions[-1].at), failed=True),))


def no_document(diary: Diary) -> Timeline:
    """Approve and deliver; the ERP makes no document of it."""
    actions = _approved(diary)
    return Timeline(actions, sendings=(Sending(diary.interface_run(actions[-1].at)),))


def blocked_message(entity: Entity) -> str:
    """Say what the ERP says of the cost centre that is closed there."""
    return f"cost centre {entity.blocked} is blocked"


def refused(diary: Diary) -> Timeline:
    """Approve; the ERP refuses it in two runs."""
    actions = _approved(diary)
    first = diary.interface_run(actions[-1].at)
    again = diary.interface_run(first)
    tries = tuple(Refusal(at, blocked_message(diary.entity)) for at in (first, again))
    return Timeline(actions, refusals=tries)


def reversed_only(diary: Diary) -> Timeline:
    """Post and reverse on the next morning, before any payment run."""
    actions = _approved(diary)
    return Timeline(actions, (_reversed(diary, diary.interface_run(actions[-1].at)),))


def parked(diary: Diary) -> Timeline:
    """Approve; somebody enters it by hand on the next day and parks it, which posts nothing."""
    actions = _approved(diary)
    entered = diary.office(diary.calendar.after(actions[-1].at.date()))
    return Timeline(actions, (Posting(entered, by_hand=True, is_parked=True),))


def _reversed(diary: Diary, posted: datetime) -> Posting:
    next_day = diary.calendar.after(posted.date())
    return Posting(posted, diary.office(next_day, MORNING, hours=1))


# -------------------------------------------------------------------- approved and not paid


def never_in_a_run(diary: Diary) -> Timeline:
    """Post in time; no payment run ever takes it."""
    actions = _approved(diary, EARLY, EARLY_APPROVED)
    return Timeline(actions, (Posting(diary.interface_run(actions[-1].at)),))


def blocked(diary: Diary) -> Timeline:
    """Post in time, blocked for payment; nobody lifts the block."""
    told = never_in_a_run(diary)
    return replace(told, postings=(told.postings[0]._replace(is_blocked=True),))


def returned(diary: Diary) -> Timeline:
    """Pay; the bank sends the money back two business days later."""
    told = _posted_and_paid(diary, _approved(diary, EARLY, EARLY_APPROVED))
    return Timeline(told.actions, told.postings, payments=(_sent_back(diary, told.payments[0]),))


def _sent_back(diary: Diary, paid: Payment) -> Payment:
    day = diary.calendar.after(paid.settled_at.date(), 2)
    return paid._replace(returned_at=diary.office(day, _NOON, hours=3))


def paid_in_part(diary: Diary) -> Timeline:
    """Post in full and pay four fifths of it."""
    told = _posted_and_paid(diary, _approved(diary, EARLY, EARLY_APPROVED))
    part = told.payments[0]._replace(amount=diary.payable - diary.payable // 5)
    return Timeline(told.actions, told.postings, payments=(part,))


# ------------------------------------------------------------------------- approval missing


def never_approved(diary: Diary) -> Timeline:
    """Submit; somebody posts it by hand on the next business day, and it is paid."""
    submit = Action(diary.submission(*EARLY), Deed.SUBMIT)
    posted = diary.soon(diary.office(diary.calendar.after(submit.at.date())))
    actions = (submit, Action(diary.soon(submit.at), Deed.MANAGER))[: diary.rng.randint(1, 2)]
    return Timeline(actions, (Posting(posted, by_hand=True),), payments=(diary.payment(posted),))


def sent_back(diary: Diary) -> Timeline:
    """Approve, send back before the interface runs; somebody posts it by hand all the same."""
    actions = _approved(diary)
    back = actions[-1].at + timedelta(seconds=diary.rng.randint(900, 1800))
    posted = diary.office(diary.calendar.after(back.date()), hours=2)
    told = (*actions, Action(back, Deed.SEND_BACK))
    return Timeline(told, (Posting(posted, by_hand=True),), payments=(diary.payment(posted),))


def approved_late(diary: Diary) -> Timeline:
    """Post by hand first; the final approval follows a business day later."""
    submit = Action(diary.office(diary.rng.choice(diary.calendar.days(*EARLY))), Deed.SUBMIT)
    posted = diary.office(diary.calendar.after(submit.at.date()), time(10), hours=6)
    checked = Action(posted - timedelta(minutes=40), Deed.MANAGER)
    final = Action(diary.office(diary.calendar.after(posted.date())), Deed.FINAL)
    actions = (submit, checked, final)
    return Timeline(actions, (Posting(posted, by_hand=True),), payments=(diary.payment(final.at),))


# ------------------------------------------------------------------------------------ stuck


def stuck(diary: Diary) -> Timeline:
    """Submit; the manager may agree, the budget owner never answers."""
    submit = Action(diary.submission(*EARLY), Deed.SUBMIT)
    actions = (submit, Action(diary.soon(submit.at), Deed.MANAGER))
    return Timeline(actions[: diary.rng.randint(1, 2)])


def to_and_fro(diary: Diary) -> Timeline:
    """Submit; the budget owner sends it back three times, and it waits for him again."""
    deeds = (Deed.SUBMIT, *(Deed.SEND_BACK, Deed.RESUBMIT) * 3)
    days = range(len(deeds) + 1, 1, -1)
    return Timeline(
        tuple(Action(diary.office(diary.ago(n)), d) for n, d in zip(days, deeds, strict=True))
    )


def tried_again_and_again(diary: Diary) -> Timeline:
    """Approve on the last day; the middleware fails to deliver it six times in one evening."""
    actions = _waiting(diary, diary.ago(2))
    final = Action(diary.office(diary.ago(1), hours=7), Deed.FINAL)
    first = diary.calendar.at(diary.ago(1), time(18, 30))
    tries = (first + timedelta(seconds=_RETRY_S * n) for n in range(_RETRIES))
    return Timeline((*actions, final), sendings=tuple(Sending(at, failed=True) for at in tries))


# ------------------------------------------------------------- posted without a source


def posted_alone(diary: Diary) -> Timeline:
    """Post something by the interface that no claim accounts for; nobody pays it."""
    day = diary.rng.choice(diary.calendar.days(*_LOOKED_BACK))
    return Timeline((), (Posting(diary.interface_run(diary.office(day))),))


def posted_unapproved(diary: Diary) -> Timeline:
    """Submit; the interface posts it although the budget owner has not answered. Nobody pays it."""
    submit = Action(diary.submission(*_LOOKED_BACK), Deed.SUBMIT)
    checked = Action(diary.soon(submit.at), Deed.MANAGER)
    return Timeline((submit, checked), (Posting(diary.interface_run(checked.at)),))


def posted_rejected(diary: Diary) -> Timeline:
    """Reject; the interface posts it all the same. Nobody pays it."""
    submit, checked, final = _approved(diary, _LOOKED_BACK)
    told = (submit, checked, Action(final.at, Deed.REJECT))
    return Timeline(told, (Posting(diary.interface_run(final.at)),))


# -------------------------------------------------------------- not reported back


def not_shown(diary: Diary) -> Timeline:
    """Post and pay; the expense platform never hears of the posting."""
    return _shown_as(diary, Shown.NOTHING)


def shown_otherwise(diary: Diary) -> Timeline:
    """Post and pay; the expense platform shows the number of another document."""
    return _shown_as(diary, Shown.OTHER_NUMBER)


def shown_as_failed(diary: Diary) -> Timeline:
    """Post and pay; the expense platform shows the posting as failed."""
    return _shown_as(diary, Shown.AS_FAILED)


def _shown_as(diary: Diary, shown: Shown) -> Timeline:
    told = ordinary(diary)
    return replace(told, postings=(told.postings[0]._replace(shown=shown),))


def payment_not_shown(diary: Diary) -> Timeline:
    """Post and pay; the expense platform never hears of the payment."""
    told = _posted_and_paid(diary, _approved(diary, EARLY, EARLY_APPROVED))
    return replace(told, payments=(told.payments[0]._replace(is_shown=False),))


# -------------------------------------------------------------- wrong amounts, and twice


def too_much(diary: Diary) -> Timeline:
    """Post and pay 900 minor units more than was approved."""
    return _posted_as(diary, diary.payable + _TOO_MUCH)


def ten_times(diary: Diary) -> Timeline:
    """Post and pay ten times what was approved: a decimal was lost on the way."""
    return _posted_as(diary, 10 * diary.payable)


def other_currency(diary: Diary) -> Timeline:
    """Post the same figures in another currency, and pay what was approved."""
    told = ordinary(diary)
    return replace(told, postings=(told.postings[0]._replace(in_other_currency=True),))


def _posted_as(diary: Diary, amount: int) -> Timeline:
    told = ordinary(diary)
    posting, payment = told.postings[0], told.payments[0]
    return replace(
        told,
        postings=(posting._replace(amount=amount),),
        payments=(payment._replace(amount=amount),),
    )


def sent_again(diary: Diary) -> Timeline:
    """Post, and post once more in the next run, from a message of its own; pay once."""
    return _twice(diary, lambda first: Posting(diary.interface_run(first.at)))


def replayed(diary: Diary) -> Timeline:
    """Post, and post once more in the next run, from the same message; pay once."""
    return _twice(diary, lambda first: Posting(diary.interface_run(first.at), replayed=True))


def by_hand_as_well(diary: Diary) -> Timeline:
    """Post, and enter it by hand on the next day as well; pay once."""
    return _twice(
        diary,
        lambda first: Posting(diary.office(diary.calendar.after(first.at.date())), by_hand=True),
    )


def _twice(diary: Diary, again: Callable[[Posting], Posting]) -> Timeline:
    told = ordinary(diary)
    return replace(told, postings=(told.postings[0], again(told.postings[0])))


def reversed_too_late(diary: Diary) -> Timeline:
    """Post twice in September, and reverse the second posting in October only."""
    told = _posted_and_paid(diary, _approved(diary, (EARLY[0], date(2026, 9, 16)), _MID_SEPTEMBER))
    again = Posting(diary.interface_run(told.postings[0].at), diary.office(_EARLY_OCTOBER))
    return replace(told, postings=(told.postings[0], again))


# --------------------------------------------------------------- innocent, though they look


def approved_last_evening(diary: Diary) -> Timeline:
    """Approve after the cut-off of the last day: no interface run since."""
    actions = _waiting(diary, diary.ago(3))
    return Timeline((*actions, Action(diary.evening(diary.ago(1)), Deed.FINAL)))


def posting_due_today(diary: Diary) -> Timeline:
    """Approve on the last day; the posting is due on the very day of the status time."""
    actions = _waiting(diary, diary.ago(3))
    return Timeline((*actions, Action(diary.office(diary.ago(1)), Deed.FINAL)))


def next_payment_run(diary: Diary) -> Timeline:
    """Approve and post after the last payment run before the status time."""
    actions = _waiting(diary, diary.ago(4))
    actions = (*actions, Action(diary.office(diary.ago(2)), Deed.FINAL))
    return Timeline(actions, (Posting(diary.interface_run(actions[-1].at)),))


def payment_due_today(diary: Diary) -> Timeline:
    """Approve ten business days before the status time; posted and not paid yet."""
    actions = _waiting(diary, diary.ago(12))
    actions = (*actions, Action(diary.office(diary.ago(10)), Deed.FINAL))
    return Timeline(actions, (Posting(diary.interface_run(actions[-1].at)),))


def waiting(diary: Diary) -> Timeline:
    """Submit so late that the approver still has time."""
    return Timeline(_waiting(diary, diary.ago(diary.rng.randint(2, 3))))


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
    submit = Action(diary.submission(*MONTHS), Deed.SUBMIT)
    return Timeline((submit, Action(diary.soon(submit.at), Deed.RECALL)))


def reversed_and_reposted(diary: Diary) -> Timeline:
    """Post, reverse on the next morning, post again on that afternoon, pay."""
    actions = _approved(diary, last=_TO_REPOST)
    first = _reversed(diary, diary.interface_run(actions[-1].at))
    day = diary.calendar.after(first.at.date())
    second = Posting(diary.office(day, time(13), hours=4), by_hand=True)
    return Timeline(actions, (first, second), payments=(diary.payment(second.at),))


def returned_and_paid_again(diary: Diary) -> Timeline:
    """Pay, get the money back, and pay again in an extra run on the day after."""
    first = returned(diary)
    back = first.payments[0].returned_at or first.payments[0].settled_at
    again = diary.pay_on(diary.calendar.after(back.date()))
    return replace(first, payments=(*first.payments, again))


def offset_by_advance(diary: Diary) -> Timeline:
    """Post a claim that an advance covers wholly: nothing is left to be paid."""
    actions = _approved(diary)
    return Timeline(actions, (Posting(diary.interface_run(actions[-1].at)),))


def split(diary: Diary) -> Timeline:
    """Post in two documents, as declared parts of one claim, and pay them together."""
    told = ordinary(diary)
    half = diary.payable // 2
    first = told.postings[0]._replace(amount=half, allocation="1/2")
    second = first._replace(amount=diary.payable - half, allocation="2/2")
    return replace(told, postings=(first, second))


def delivered_later(diary: Diary) -> Timeline:
    """Fail to deliver it twice, deliver it then, post and pay in time."""
    told = ordinary(diary)
    posted = told.postings[0].at
    tries = (posted - timedelta(seconds=_RETRY_S * n) for n in (2, 1))
    return replace(told, sendings=tuple(Sending(at, failed=True) for at in tries))


def shown_last_minute(diary: Diary) -> Timeline:
    """Post and pay; the platform shows the posting minutes before it must."""
    told = ordinary(diary)
    due = diary.calendar.due(told.postings[0].at, 1)
    shown_at = due - timedelta(seconds=diary.rng.randint(1, 240))
    return replace(told, postings=(told.postings[0]._replace(shown_at=shown_at),))


def nothing_payable(diary: Diary) -> Timeline:
    """Approve a claim on which the company owes the employee nothing."""
    return Timeline(_approved(diary))


def approved_last_minute(diary: Diary) -> Timeline:
    """Approve minutes before the approver's time is over."""
    submit, checked, _ = _approved(diary, EARLY, EARLY_APPROVED)
    due = diary.calendar.due(submit.at, APPROVAL_DAYS)
    final = Action(due - timedelta(seconds=diary.rng.randint(1, 240)), Deed.FINAL)
    return _posted_and_paid(diary, (submit, checked, final))


def posted_last_minute(diary: Diary) -> Timeline:
    """Approve just before the cut-off, post just before the deadline."""
    actions = _approved(diary, EARLY, EARLY_APPROVED)
    day = diary.calendar.working_day(actions[-1].at)
    final = diary.calendar.at(day, time(17, 50), diary.rng.randrange(600))
    due = diary.calendar.due(final, POSTING_DAYS)
    posted = due - timedelta(seconds=diary.rng.randint(1, 240))
    told = (*actions[:-1], Action(final, Deed.FINAL))
    return Timeline(told, (Posting(posted),), payments=(diary.payment(posted),))


def paid_last_day(diary: Diary) -> Timeline:
    """Pay in an extra run, booked on the last day."""
    actions = _approved(diary, EARLY, EARLY_APPROVED)
    posted = Posting(diary.interface_run(actions[-1].at))
    basis = diary.calendar.basis_day(actions[-1].at)
    paid = diary.pay_on(diary.calendar.after(basis, PAYMENT_DAYS - 1))
    return Timeline(actions, (posted,), payments=(paid,))
