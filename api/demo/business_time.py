"""The generator's own reading of "n business days".

Written apart from the one that the controls use: the truth must not rest on what it is to test.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

CLOSES = time(18)
"""The cut-off of a business day, local time: what comes later counts as the next day."""


@dataclass(frozen=True)
class Calendar:
    """An entity's business days: all but its weekend and its holidays, in its own zone."""

    zone: ZoneInfo
    holidays: frozenset[date]
    weekend: frozenset[int] = frozenset({5, 6})

    def is_open(self, day: date) -> bool:
        """Say whether `day` is a business day."""
        return day.weekday() not in self.weekend and day not in self.holidays

    def days(self, first: date, last: date) -> list[date]:
        """List the business days from `first` to `last`, both included."""
        span = (last - first).days + 1
        return [d for d in (first + timedelta(n) for n in range(span)) if self.is_open(d)]

    def after(self, day: date, n: int = 1) -> date:
        """Return the n-th business day after `day`, whatever `day` itself is."""
        while n:
            day += timedelta(1)
            n -= self.is_open(day)
        return day

    def before(self, day: date, n: int) -> date:
        """Return the n-th business day before `day`."""
        while n:
            day -= timedelta(1)
            n -= self.is_open(day)
        return day

    def basis_day(self, instant: datetime) -> date:
        """Return the day that `instant` counts for: the next one after the cut-off, open or not."""
        local = instant.astimezone(self.zone)
        return local.date() + timedelta(local.time() > CLOSES)

    def working_day(self, instant: datetime) -> date:
        """Return the business day on which what arrives at `instant` is worked on."""
        day = self.basis_day(instant)
        return day if self.is_open(day) else self.after(day)

    def due(self, basis: datetime, n: int) -> datetime:
        """Return the close of business of the n-th business day after the day of `basis`."""
        return self.at(self.after(self.basis_day(basis), n), CLOSES)

    def at(self, day: date, clock: time, seconds: int = 0) -> datetime:
        """Return the instant `seconds` after `clock` on `day`, local time."""
        return datetime.combine(day, clock, self.zone) + timedelta(seconds=seconds)
