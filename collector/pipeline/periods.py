"""Compile from when until when a row is valid: instants in UTC, written so that they sort and compare."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from collector.connector import Body
from collector.pipeline.times import parser
from collector.pipeline.values import NotMapped, compile_expr, compile_optional, shown
from collector.settings.mapping import IN_VALUE, ValidRule

EVER = "infinity"
"""As PostgreSQL writes it: the row states that it has no end."""

ALWAYS = "-infinity"
LAST_YEAR = 9999


class _Times:
    """Reads the days and instants of one rule."""

    def __init__(self, rule: ValidRule) -> None:
        self._parse = parser(rule.format)
        self._form = rule.format
        self._zone = None if rule.timezone == IN_VALUE else ZoneInfo(rule.timezone)

    def read(self, expr: str, text: str) -> datetime:
        """Read one; a day is its first instant. Which of an hour that happens twice is meant, is the earlier."""
        try:
            if not text.isascii():
                raise ValueError(text)  # noqa: TRY301 -- strptime takes any script's digits
            parsed = self._parse(text)
        except (ValueError, OverflowError):
            raise _impossible(
                f"{shown(text)} is no day or time of the form '{self._form}'.", expr, text
            ) from None
        if (parsed.tzinfo is None) == (self._zone is None):
            what = "has no offset" if self._zone is None else "carries an offset"
            raise _impossible(
                f"{shown(text)} {what}, and `timezone` of `valid` says otherwise.", expr, text
            )
        return parsed

    def instant(self, parsed: datetime) -> str:
        """Write an instant in UTC."""
        aware = parsed if self._zone is None else parsed.replace(tzinfo=self._zone)
        try:
            return aware.astimezone(UTC).isoformat()
        except OverflowError:  # the first day of the year 1, as some write "always"
            return ALWAYS


def compile_valid(
    rule: ValidRule | None, nulls: frozenset[str]
) -> Callable[[Body], dict[str, str]] | None:
    """Compile a validity to `from` and `to` of a record; what it does not state is not there."""
    if rule is None:
        return None
    times, from_of = _Times(rule), compile_expr(rule.from_, nulls)
    from_expr, end_expr = rule.from_, rule.last_day or rule.until or ""
    end_of = compile_optional(end_expr or None, nulls)

    def valid(body: Body) -> dict[str, str]:
        found: dict[str, str] = {}
        text = from_of(body)
        if text is not None:
            found["from"] = times.instant(times.read(from_expr, text))
        if end_of is not None:
            found["to"] = _end(times, end_expr, end_of(body), last_day=rule.last_day is not None)
            if found.get("from", "") >= found["to"]:
                raise _impossible(
                    f"The row is valid from {shown(text or '')} on and ends before it begins.",
                    end_expr,
                    found["to"],
                )
        return found

    return valid


def _end(times: _Times, expr: str, text: str | None, *, last_day: bool) -> str:
    if text is None:
        return EVER
    parsed = times.read(expr, text)
    if parsed.year == LAST_YEAR:
        return EVER
    if last_day:
        parsed = datetime.combine(parsed.date(), time(), parsed.tzinfo) + timedelta(days=1)
    return times.instant(parsed)


def _impossible(sentence: str, expr: str, text: str) -> NotMapped:
    return NotMapped("IMPOSSIBLE_PERIOD", sentence, expr, text)
