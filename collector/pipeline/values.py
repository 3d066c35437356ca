"""Compile the expressions of a mapping to functions that take a value out of a record."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from collector.connector import Body, Fault
from collector.model.money import NotMoney, to_minor
from collector.model.reference import Name
from collector.settings.mapping import (
    Condition,
    DocumentRule,
    MoneyRule,
    Normalise,
    ReferenceRule,
    TimeRule,
)

FUTURE_DAYS_MAX = 2
"""How far ahead of our clock a source's clock may be before its dates are impossible."""

Getter = Callable[[Body], str | None]


class NotMapped(Exception):
    """Carries the Fault of a record that cannot be mapped."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = Fault(reason, sentence)


# ---------------------------------------------------------------------------------- expressions


def _as_text(value: object, expr: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return str(value)
    if isinstance(value, dict) and "#text" in value:
        return str(value["#text"]).strip()
    if isinstance(value, list) and len(value) == 1:
        return _as_text(value[0], expr)
    if value is None:
        return ""
    kind = "a list of several" if isinstance(value, list) else "an object"
    raise NotMapped("NOT_A_VALUE", f"The field '{expr}' holds {kind}; name the one that is meant.")


def _walk(body: Any, path: Sequence[str]) -> object:  # noqa: ANN401 -- parsed JSON
    value = body
    for key in path:
        if isinstance(value, list):
            if key.isdigit():
                value = value[int(key)] if int(key) < len(value) else None
                continue
            if len(value) > 1:
                raise NotMapped(
                    "NOT_A_VALUE",
                    f"'{'.'.join(path)}' meets a list of {len(value)}; name an index.",
                )
            value = value[0] if value else None
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def compile_expr(expr: str, nulls: frozenset[str]) -> Getter:
    """Compile an expression (see `collector.settings.mapping`) to a function of the record."""
    if expr.startswith("="):
        constant = expr[1:]
        return lambda _body: constant
    if "{" in expr:
        return _compile_template(expr, nulls)
    path = [part.replace("\0", ".") for part in expr.replace("\\.", "\0").split(".")]
    key = expr.replace("\\.", ".")

    def get(body: Body) -> str | None:
        value = body.get(key)
        if value is None and len(path) > 1:
            value = _walk(body, path)
        if value.__class__ is not str:
            value = _as_text(value, expr)
        text: str = value.strip()
        return None if not text or text in nulls else text

    return get


def _compile_template(expr: str, nulls: frozenset[str]) -> Getter:
    pieces = re.split(r"\{([^{}]+)\}", expr)
    literals = pieces[0::2]
    getters = [compile_expr(field, nulls) for field in pieces[1::2]]

    def get(body: Body) -> str | None:
        out = [literals[0]]
        for getter, literal in zip(getters, literals[1:], strict=True):
            value = getter(body)
            if value is None:
                return None
            out.append(value)
            out.append(literal)
        return "".join(out)

    return get


def compile_optional(expr: str | None, nulls: frozenset[str]) -> Getter | None:
    """Compile an expression, if there is one."""
    return None if expr is None else compile_expr(expr, nulls)


def compile_conditions(
    conditions: Sequence[Condition], nulls: frozenset[str]
) -> Callable[[Body], bool]:
    """Compile conditions to one test, true where all of them hold."""
    tests = [(compile_expr(c.value, nulls), _compile_test(c)) for c in conditions]
    return lambda body: all(test(getter(body)) for getter, test in tests)


def _compile_test(condition: Condition) -> Callable[[str | None], bool]:
    if condition.is_ is not None:
        return frozenset(condition.is_).__contains__
    if condition.is_not is not None:
        unwanted = frozenset(condition.is_not)
        return lambda value: value not in unwanted
    empty = bool(condition.empty)
    return lambda value: (value is None) == empty


# ---------------------------------------------------------------------------------- names


def _normaliser(steps: Sequence[Normalise]) -> Callable[[str], str]:
    def apply(value: str) -> str:
        for step in steps:
            if step is Normalise.STRIP_ZEROS:
                value = value.lstrip("0") or "0"
            elif step is Normalise.UPPER:
                value = value.upper()
            else:
                value = "".join(filter(str.isalnum, value))
        return value

    return apply


def compile_name(
    kind: str, rule: DocumentRule | ReferenceRule, expr: str, nulls: frozenset[str]
) -> Callable[[Body], Name | None]:
    """Compile a name; empty where its value or its scope is empty."""
    value_of = compile_expr(expr, nulls)
    scope_of = compile_optional(rule.scope, nulls)
    normalise = _normaliser(rule.normalise) if rule.normalise else None

    def name(body: Body) -> Name | None:
        value = value_of(body)
        if value is None:
            return None
        scope = ""
        if scope_of is not None:
            found = scope_of(body)
            if found is None:  # a name without its scope could be anybody's
                return None
            scope = found
        return Name(kind, scope, value if normalise is None else normalise(value))

    return name


# ---------------------------------------------------------------------------------- time


def _parser(rule: TimeRule) -> Callable[[str], datetime]:
    if rule.format == "iso":
        return datetime.fromisoformat
    if rule.format in ("epoch_s", "epoch_ms"):
        unit = timedelta(seconds=1) if rule.format == "epoch_s" else timedelta(milliseconds=1)
        return lambda text: datetime(1970, 1, 1, tzinfo=UTC) + int(text) * unit
    if rule.format == "odata":
        pattern = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")

        def odata(text: str) -> datetime:
            match = pattern.fullmatch(text)
            if match is None:
                raise ValueError(text)
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(match[1]))

        return odata
    return lambda text: datetime.strptime(text, rule.format)  # noqa: DTZ007 -- the zone rule follows


def _localise(rule: TimeRule) -> Callable[[datetime, str], datetime]:
    if rule.timezone == "in value":
        return _demand_offset
    zone = ZoneInfo(rule.timezone)

    def local(parsed: datetime, text: str) -> datetime:
        if parsed.tzinfo is not None:
            raise NotMapped(
                "UNEXPECTED_OFFSET",
                f"The time '{text}' carries an offset, but the mapping says {rule.timezone}; "
                "set `timezone: in value`.",
            )
        first, second = parsed.replace(tzinfo=zone), parsed.replace(tzinfo=zone, fold=1)
        if first.utcoffset() == second.utcoffset():
            return first
        if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != parsed:
            raise NotMapped(
                "IMPOSSIBLE_TIME",
                f"'{text}' does not exist in {rule.timezone}: the clocks went forward.",
            )
        if rule.ambiguous == "quarantine":
            raise NotMapped(
                "AMBIGUOUS_TIME",
                f"'{text}' happened twice in {rule.timezone}: the clocks went back. "
                "Say `ambiguous: earlier` or `later` in the mapping.",
            )
        return first if rule.ambiguous == "earlier" else second

    return local


def _demand_offset(parsed: datetime, text: str) -> datetime:
    if parsed.tzinfo is None:
        raise NotMapped(
            "NO_TIMEZONE",
            f"The time '{text}' has no offset; say in the mapping which timezone it is in.",
        )
    return parsed


def compile_time(
    rule: TimeRule, nulls: frozenset[str], earliest: date
) -> Callable[[Body, datetime], tuple[datetime, date]]:
    """Compile a time rule to (record, latest believed time) -> (instant, month as written)."""
    value_of = compile_expr(rule.value, nulls)
    parse = _parser(rule)
    localise = _localise(rule)
    month_of = lru_cache(4096)(lambda year, month: date(year, month, 1))

    def time_of(body: Body, latest: datetime) -> tuple[datetime, date]:
        text = value_of(body)
        if text is None:
            raise NotMapped("NO_TIME", f"The field '{rule.value}' is empty: when did it happen?")
        try:
            parsed = parse(text)
        except (ValueError, OverflowError):
            raise NotMapped(
                "IMPOSSIBLE_TIME", f"'{text}' is no date and time of the form '{rule.format}'."
            ) from None
        occurred_at = localise(parsed, text)
        if parsed.date() < earliest:
            raise NotMapped(
                "TOO_EARLY", f"'{text}' lies before {earliest}, the earliest date that is believed."
            )
        if occurred_at > latest:
            raise NotMapped(
                "IN_THE_FUTURE", f"'{text}' lies more than {FUTURE_DAYS_MAX} days in the future."
            )
        return occurred_at, month_of(parsed.year, parsed.month)

    return time_of


def compile_month(expr: str | None, nulls: frozenset[str]) -> Callable[[Body, date], date]:
    """Compile the month of a record: the field's, or the one of the time as written."""
    if expr is None:
        return lambda _body, written: written
    value_of = compile_expr(expr, nulls)
    pattern = re.compile(r"(\d{4})[-/.]?(\d{2})")

    def month_of(body: Body, _written: date) -> date:
        text = value_of(body) or ""
        match = pattern.match(text)
        if match is None:
            raise NotMapped(
                "NO_MONTH", f"'{expr}' is '{text}': it should begin with year and month."
            )
        return date(int(match[1]), int(match[2]), 1)

    return month_of


# ---------------------------------------------------------------------------------- money


def _number(rule: MoneyRule) -> Callable[[str], Decimal | str]:
    if rule.implied_decimals is not None:
        exponent = -rule.implied_decimals
        return lambda text: Decimal(int(text)).scaleb(exponent)
    mark = rule.decimal
    group = "," if mark == "." else "."
    grouped = re.compile(rf"[+-]?\d{{1,3}}(?:[{group} ]\d{{3}})+(?:[{mark}]\d+)?")

    def number(text: str) -> str:
        if group in text or " " in text:  # only as a mark of thousands: 1,25 is no 125
            if grouped.fullmatch(text) is None:
                raise NotMoney(f"'{text}' is no number with the decimal mark '{mark}'")
            text = text.replace(group, "").replace(" ", "")
        return text.replace(",", ".") if mark == "," else text

    return number


def compile_money(
    rule: MoneyRule | None, nulls: frozenset[str]
) -> Callable[[Body], tuple[int | None, str | None]]:
    """Compile an amount to (minor units, currency); (None, None) where the record has none."""
    if rule is None:
        return lambda _body: (None, None)
    value_of = compile_expr(rule.value, nulls)
    currency_of = compile_expr(rule.currency, nulls)
    negative = compile_conditions(rule.negative_when, nulls) if rule.negative_when else None
    number = _number(rule)

    def money(body: Body) -> tuple[int | None, str | None]:
        text = value_of(body)
        if text is None:
            return None, None
        currency = currency_of(body)
        if currency is None:
            raise NotMapped("NO_CURRENCY", f"The amount {text} has no currency.")
        sign = 1
        if text.endswith("-"):  # as SAP writes a negative amount
            text, sign = text[:-1], -1
        try:
            minor = sign * to_minor(number(text), currency, rule.round)
        except (NotMoney, ValueError) as error:
            raise NotMapped("NOT_MONEY", f"The amount cannot be taken: {error}.") from None
        return (-minor if negative is not None and negative(body) else minor), currency

    return money
