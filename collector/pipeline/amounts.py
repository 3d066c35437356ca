"""Compile a mapping's money rules: the source's notation becomes minor units, or is refused."""

import re
from collections.abc import Callable
from decimal import Decimal

from collector.connector import Body
from collector.model.money import WIDE, NotMoney, decimal, plain_minor, to_minor
from collector.pipeline.values import NotMapped, compile_conditions, compile_expr, shown
from collector.settings.mapping import MoneyRule

NOTHING = (None, None)


def _number(rule: MoneyRule) -> Callable[[str], Decimal]:
    """Return what reads a number in the rule's notation.

    A mark of thousands is taken only where it stands as one, every three digits and always the same:
    `1,25` is no 125.
    """
    implied = rule.implied_decimals
    mark = rule.decimal
    groups = " \u00a0\u202f'\u2019" + ("," if mark == "." else ".")
    grouped = re.compile(
        rf"([+-]?[0-9]{{1,3}})([{groups}])([0-9]{{3}}(?:\2[0-9]{{3}})*)(?:{re.escape(mark)}([0-9]+))?"
    )

    def number(text: str) -> Decimal:
        try:
            if mark == ".":
                return decimal(text)
            if "." not in text:
                return decimal(text.replace(",", "."))
        except NotMoney:
            pass
        match = grouped.fullmatch(text)
        if match is None:
            raise NotMoney(f"{shown(text)} is no number with the decimal mark '{mark}'")
        head, group, rest, fraction = match.groups()
        return decimal(f"{head}{rest.replace(group, '')}.{fraction or '0'}")

    def scaled(text: str) -> Decimal:
        found = decimal(text)
        if found != found.to_integral_value():
            raise NotMoney(f"{shown(text)} is no whole number, as `implied_decimals` demands")
        return found.scaleb(-(implied or 0), WIDE)

    return number if implied is None else scaled


def compile_money(
    rule: MoneyRule | None, nulls: frozenset[str]
) -> Callable[[Body], tuple[int | None, str | None]] | None:
    """Compile an amount to (minor units, currency), both None where the record has none."""
    if rule is None:
        return None
    value_of = compile_expr(rule.value, nulls)
    currency_of = compile_expr(rule.currency, nulls)
    negative = compile_conditions(rule.negative_when, nulls) if rule.negative_when else None
    number = _number(rule)
    rounding = rule.round
    plain = rule.implied_decimals is None and rule.decimal == "."

    def money(body: Body) -> tuple[int | None, str | None]:
        text = value_of(body)
        if text is None:
            return NOTHING
        currency = currency_of(body)
        if currency is None:
            raise NotMapped(
                "NO_CURRENCY", f"The amount {shown(text)} has no currency.", rule.currency
            )
        try:
            if plain and (found := plain_minor(text, currency)) is not None:
                minor = found
            elif text[-1] == "-":  # as SAP writes a negative amount
                minor = -to_minor(number(_unsigned(text[:-1])), currency, rounding)
            else:
                minor = to_minor(number(text), currency, rounding)
        except NotMoney as error:
            raise NotMapped(
                "NOT_MONEY", f"The amount cannot be taken: {error}.", rule.value, text
            ) from None
        return (-minor if negative is not None and negative(body) else minor), currency

    return money


def _unsigned(text: str) -> str:
    if text[:1] in ("+", "-"):
        raise NotMoney(f"{shown(text + '-')} has two signs")
    return text.rstrip()
