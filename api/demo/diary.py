"""Believable times: when people of an entity work, and when its interface and its bank do."""

from datetime import date, datetime, time, timedelta

from api.demo.company import STATUS_TIME, Dice, Entity, Payment

MORNING, LEAVE = time(8, 30), time(17, 30)
_PAYMENT_RUNS, _BANK_OPENS = time(10), time(9)
_HOUR = 3600
_WEEKEND_SHARE, _EVENING_SHARE, _SAME_DAY_SHARE = 0.02, 0.05, 0.5


class Diary:
    """Believable times for one entity, and the amount that the claim at hand is about."""

    def __init__(self, rng: Dice, entity: Entity, payable: int) -> None:
        self.rng = rng
        self.entity = entity
        self.calendar = entity.calendar
        self.payable = payable

    def ago(self, days: int) -> date:
        """Return the n-th business day before the status time."""
        return self.calendar.before(STATUS_TIME.date(), days)

    def office(self, day: date, opens: time = MORNING, hours: int = 9) -> datetime:
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
        leave = self.calendar.at(instant.date(), LEAVE)
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
        """Return when the next run of the interface posts what is there at `instant`."""
        day = self.calendar.working_day(instant)
        if self.entity.overnight:
            day = self.calendar.after(instant.date())
        return self.calendar.at(day, self.entity.posts_at, self.rng.randrange(_HOUR // 2))

    def payment(self, posted: datetime) -> Payment:
        """Pay in the first payment run after `posted`; the bank books on the next business day."""
        day = posted.date()
        while True:
            day = self.calendar.after(day)
            if day.weekday() in self.entity.pays_on:
                return self.pay_on(day)

    def pay_on(self, day: date) -> Payment:
        """Pay in a run on `day`."""
        settled = self.office(self.calendar.after(day), _BANK_OPENS, hours=1)
        return Payment(self.calendar.at(day, _PAYMENT_RUNS), settled)
