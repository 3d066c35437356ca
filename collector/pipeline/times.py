"""Compile a mapping's time rules: when it happened, and the month as written."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

from collector.connector import Body
from collector.pipeline.values import FUTURE_DAYS_MAX, NotMapped, compile_expr, shown
from collector.settings.mapping import IN_VALUE, TimeRule

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAP = "%Y%m%d %H%M%S"
_MONTH = re.compile(r"([0-9]{4})[-/.]?([0-9]{2})")

Limits = tuple[date, datetime]


@lru_cache(4096)
def first_of(year: int, month: int) -> date:
    """Return the first of a month; raise ValueError where there is no such month."""
    return date(year, month, 1)


# ---------------------------------------------------------------------------------- the text


def _milliseconds(pattern: str, unit: timedelta) -> Callable[[str], datetime]:
    number = re.compile(pattern)

    def parse(text: str) -> datetime:
        match = number.fullmatch(text)
        if match is None:
            raise ValueError(text)
        return _EPOCH + int(match[1]) * unit

    return parse


def _sap(text: str) -> datetime:
    if len(text) == 15 and text[8] == " " and (text[:8] + text[9:]).isdecimal():  # noqa: PLR2004 -- %Y%m%d %H%M%S
        return datetime.fromisoformat(text)
    raise ValueError(text)


def parser(form: str) -> Callable[[str], datetime]:
    """Return what reads a text of a form; it raises ValueError or OverflowError."""
    parsers: dict[str, Callable[[str], datetime]] = {
        "iso": datetime.fromisoformat,
        "epoch_s": _milliseconds(r"(-?[0-9]{1,12})", timedelta(seconds=1)),
        "epoch_ms": _milliseconds(r"(-?[0-9]{1,15})", timedelta(milliseconds=1)),
        "odata": _milliseconds(
            r"/Date\((-?[0-9]{1,15})(?:[+-][0-9]{4})?\)/", timedelta(milliseconds=1)
        ),
        _SAP: _sap,
    }
    return parsers.get(form, lambda text: datetime.strptime(text, form))  # noqa: DTZ007 -- the zone rule follows


# ---------------------------------------------------------------------------------- the zone


def _localise(rule: TimeRule) -> Callable[[datetime, str], datetime]:
    if rule.timezone == IN_VALUE:
        return partial(_demand_offset, rule.value)
    zone = ZoneInfo(rule.timezone)

    def local(parsed: datetime, text: str) -> datetime:
        if parsed.tzinfo is not None:
            raise NotMapped(
                "UNEXPECTED_OFFSET",
                f"The time {shown(text)} carries an offset, but the mapping says {rule.timezone}; "
                f"set `timezone: {IN_VALUE}`.",
                rule.value,
                text,
            )
        first, second = parsed.replace(tzinfo=zone), parsed.replace(tzinfo=zone, fold=1)
        if first.utcoffset() == second.utcoffset():
            return first.astimezone(UTC)
        if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != parsed:
            raise NotMapped(
                "IMPOSSIBLE_TIME",
                f"{shown(text)} does not exist in {rule.timezone}: the clocks went forward.",
                rule.value,
                text,
            )
        if rule.ambiguous == "quarantine":
            raise NotMapped(
                "AMBIGUOUS_TIME",
                f"{shown(text)} happened twice in {rule.timezone}: the clocks went back. "
                "Say `ambiguous: earlier` or `later` in the mapping.",
                rule.value,
                text,
            )
        return (first if rule.ambiguous == "earlier" else second).astimezone(UTC)

    return local


def _demand_offset(expr: str, parsed: datetime, text: str) -> datetime:
    if parsed.tzinfo is None:
        raise NotMapped(
            "NO_TIMEZONE",
            f"The time {shown(text)} has no offset; say in the mapping which timezone it is in.",
            expr,
            text,
        )
    return parsed.astimezone(UTC)


def compile_time(
    rule: TimeRule, nulls: frozenset[str], earliest: date
) -> Callable[[Body, datetime], tuple[datetime, date]]:
    """Compile a time rule to (record, latest believed time) -> (instant in UTC, month as written)."""
    value_of = compile_expr(rule.value, nulls)
    parse = parser(rule.format)
    localise = _localise(rule)
    earliest_year = earliest.year

    def time_of(body: Body, latest: datetime) -> tuple[datetime, date]:
        text = value_of(body)
        if text is None:
            raise NotMapped(
                "NO_TIME", f"The field '{rule.value}' is empty: when did it happen?", rule.value
            )
        try:
            if not text.isascii():
                raise ValueError(text)  # noqa: TRY301 -- strptime takes any script's digits
            parsed = parse(text)
            year = parsed.year
            if year <= earliest_year and parsed.date() < earliest:
                raise _too_early(rule.value, text, earliest)
            occurred_at = localise(parsed, text)
        except (ValueError, OverflowError):
            raise NotMapped(
                "IMPOSSIBLE_TIME",
                f"{shown(text)} is no date and time of the form '{rule.format}'.",
                rule.value,
                text,
            ) from None
        if occurred_at > latest:
            raise _in_the_future(rule.value, text)
        return occurred_at, first_of(year, parsed.month)

    return time_of


def compile_month(
    expr: str | None, nulls: frozenset[str], earliest: date
) -> Callable[[Body, datetime], date] | None:
    """Compile the month of a record from a field of its own, if the mapping names one."""
    if expr is None:
        return None
    value_of = compile_expr(expr, nulls)
    first = first_of(earliest.year, earliest.month)

    def month_of(body: Body, latest: datetime) -> date:
        text = value_of(body) or ""
        match = _MONTH.match(text)
        try:
            if match is None:
                raise ValueError(text)  # noqa: TRY301 -- one answer for both
            month = first_of(int(match[1]), int(match[2]))
        except ValueError:
            raise NotMapped(
                "NO_MONTH",
                f"'{expr}' is {shown(text)}: it should begin with year and month.",
                expr,
                text,
            ) from None
        if month < first:
            raise _too_early(expr, text, earliest)
        if month > latest.date():
            raise _in_the_future(expr, text)
        return month

    return month_of


def _too_early(expr: str, text: str, earliest: date) -> NotMapped:
    return NotMapped(
        "TOO_EARLY",
        f"{shown(text)} lies before {earliest}, the earliest date that is believed.",
        expr,
        text,
    )


def _in_the_future(expr: str, text: str) -> NotMapped:
    return NotMapped(
        "IN_THE_FUTURE",
        f"{shown(text)} lies more than {FUTURE_DAYS_MAX} days in the future.",
        expr,
        text,
    )
