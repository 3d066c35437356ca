"""When something is due: elapsed time, or the business time of an entity.

The same rule stands in SQL (`tieout.due_at`) for whole populations; a test holds the two together.
"""

from datetime import UTC, date, datetime, timedelta

from collector.model.calendar import WEEK, Hours

YEARS_MAX = 50
"""How far a due time may lie ahead before it counts as none."""


def due_at(hours: Hours | None, basis: datetime | None, rule: str | None) -> datetime | None:
    """Return when what follows `basis` by `rule` is due ("30 days", "1 business day" ...).

    n business days: the close of business of the n-th business day after the basis day; what comes
    after the cut-off counts for the next day. None where there is no rule, basis or calendar.
    """
    if basis is None or rule is None:
        return None
    number, _, unit = rule.partition(" ")
    n = int(number)
    match unit.removesuffix("s"):
        case "minute":
            return basis + timedelta(minutes=n)
        case "hour":
            return basis + timedelta(hours=n)
        case "day":
            return basis + timedelta(days=n)
        case "business day":
            return None if hours is None else _business_days(hours, basis, n)
        case _:
            return None if hours is None else _business_hours(hours, basis, n)


def _open(hours: Hours, day: date) -> bool:
    return WEEK[day.weekday()] in hours.weekdays and day not in hours.holidays


def _closes(hours: Hours, day: date) -> datetime:
    return datetime.combine(day, hours.closes, hours.zone).astimezone(UTC)


def _business_days(hours: Hours, basis: datetime, n: int) -> datetime | None:
    local = basis.astimezone(hours.zone)
    day = local.date() + timedelta(days=local.time() > hours.closes)
    if n == 0:
        day, n = day - timedelta(days=1), 1
    for _ in range(YEARS_MAX * 366):
        day += timedelta(days=1)
        n -= _open(hours, day)
        if n == 0:
            return _closes(hours, day)
    return None


def _business_hours(hours: Hours, basis: datetime, n: int) -> datetime | None:
    left = timedelta(hours=n)
    day = basis.astimezone(hours.zone).date()
    for _ in range(YEARS_MAX * 366):
        if _open(hours, day):
            start = max(basis, datetime.combine(day, hours.opens, hours.zone)).astimezone(UTC)
            open_for = _closes(hours, day) - start
            if timedelta() <= open_for and left <= open_for:
                return start + left
            left -= max(open_for, timedelta())
        day += timedelta(days=1)
    return None
