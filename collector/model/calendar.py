"""Business time: the days of a calendar, enumerated."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class BusinessDay(NamedTuple):
    """A business day: when it opens and closes, and the open seconds of all before it."""

    day: date
    opens_at: datetime
    closes_at: datetime
    open_before_s: float


class Hours(NamedTuple):
    """When business is open."""

    zone: ZoneInfo
    weekdays: frozenset[str]
    opens: time
    closes: time
    holidays: frozenset[date]


def business_days(hours: Hours, first: date, last: date) -> Iterator[BusinessDay]:
    """Enumerate the business days from `first` to `last`, both included.

    The clock change falls into no business day that opens after it: open time is real elapsed time.
    """
    before = 0.0
    day = first
    while day <= last:
        if WEEK[day.weekday()] in hours.weekdays and day not in hours.holidays:
            opens = datetime.combine(day, hours.opens, hours.zone)
            closes = datetime.combine(day, hours.closes, hours.zone)
            yield BusinessDay(day, opens, closes, before)
            before += closes.timestamp() - opens.timestamp()
        day += timedelta(days=1)
