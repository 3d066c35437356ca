"""Compile the expressions of a mapping to functions that take a value out of a record."""

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from collector.connector import Body, Fault
from collector.model.check_digits import (
    compact,
    compact_creditor_reference,
    is_creditor_reference,
    is_iban,
)
from collector.model.number import DIGITS_MAX, Number, number
from collector.model.reference import Name
from collector.model.words import shape
from collector.settings.kinds import Check, Kinds, Normalise, ReferenceKind
from collector.settings.mapping import Condition, DocumentRule, NumberRange, ReferenceRule

FUTURE_DAYS_MAX = 2
"""How far ahead of our clock a source's clock may be before its dates are impossible."""

NAME_CHARS_MAX = 500
"""The longest name, scope or entity code: what is longer is a text that names nothing."""

SHOWN_CHARS_MAX = 500
"""The length of a sentence about a record, values that it quotes included."""

Getter = Callable[[Body], str | None]


class NotMapped(Exception):
    """Carries the Fault of a record that cannot be mapped; its sentence can always be stored.

    `field` is the expression that gave the `value` at fault, if it is one.
    """

    def __init__(self, reason: str, sentence: str, field: str = "", value: str = "") -> None:
        clean = _storable(sentence)
        if len(clean) > SHOWN_CHARS_MAX:
            clean = f"{clean[: SHOWN_CHARS_MAX - 1]}…"
        super().__init__(clean)
        self.fault = Fault(reason, clean, field, _storable(shape(value)))


def _storable(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def shown(value: str) -> str:
    """Quote a value in a sentence: its beginning, if it is long."""
    return f"'{value}'" if len(value) <= 100 else f"'{value[:100]}…'"  # noqa: PLR2004 -- one line


# ---------------------------------------------------------------------------------- expressions


def _as_text(value: object, expr: str) -> str:
    while isinstance(
        value, (dict, list)
    ):  # an element's text and a list with one item pass through
        if isinstance(value, dict) and "#text" in value:
            value = value["#text"]
        elif isinstance(value, list) and len(value) == 1:
            value = value[0]
        else:
            break
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | Decimal():
            return str(Decimal(value))  # an int's own text has a limit of digits
        case _:
            what = f"The field '{expr}' holds {_kind(value)}; name the one that is meant."
            raise NotMapped("NOT_A_VALUE", what, expr)


def _kind(value: object) -> str:
    if isinstance(value, float):
        return "a number that was not read exactly"
    if isinstance(value, list):
        return "a list of several" if value else "an empty list"
    return "an object"


def _walk(body: Body, path: Sequence[tuple[str, int | None]], expr: str) -> object:
    value: object = body
    for key, index in path:
        if isinstance(value, list):
            if index is not None:
                value = value[index] if index < len(value) else None
                continue
            if len(value) > 1:
                raise NotMapped(
                    "NOT_A_VALUE", f"'{expr}' meets a list of {len(value)}; name an index.", expr
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
    parts = [part.replace("\0", ".") for part in expr.replace("\\.", "\0").split(".")]
    path = [(p, int(p) if p.isdecimal() and p.isascii() else None) for p in parts]
    nested = len(path) > 1
    key = expr.replace("\\.", ".")

    def get(body: Body) -> str | None:
        value = body.get(key)
        if value is None:
            if not nested:
                return None
            value = _walk(body, path, expr)
        if value.__class__ is not str:
            value = _as_text(value, expr)
        text: str = value.strip()
        return None if not text or text in nulls else text

    return get


def _compile_template(expr: str, nulls: frozenset[str]) -> Getter:
    pieces = re.split(r"\{([^{}]+)\}", expr)
    first, literals = pieces[0], pieces[2::2]
    parts = list(zip([compile_expr(field, nulls) for field in pieces[1::2]], literals, strict=True))

    def get(body: Body) -> str | None:
        out = [first]
        for getter, literal in parts:
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


def compile_code(expr: str | None, nulls: frozenset[str]) -> Getter | None:
    """Compile an expression whose value is a code, such as an entity: short, or a fault."""
    if expr is None:
        return None
    value_of = compile_expr(expr, nulls)
    if expr.startswith("="):
        return value_of

    def code(body: Body) -> str | None:
        text = value_of(body)
        if text is not None and len(text) > NAME_CHARS_MAX:
            raise _too_long(expr, text)
        return text

    return code


# ---------------------------------------------------------------------------------- conditions


def compile_conditions(
    conditions: Sequence[Condition], nulls: frozenset[str]
) -> Callable[[Body], bool]:
    """Compile conditions to one test, true where all of them hold."""
    tests = [(compile_expr(c.value, nulls), test) for c in conditions for test in _tests(c)]

    def all_hold(body: Body) -> bool:
        for getter, test in tests:  # noqa: SIM110 -- a generator costs as much again
            if not test(getter(body)):
                return False
        return True

    return all_hold


def _tests(condition: Condition) -> list[Callable[[str | None], bool]]:
    tests: list[Callable[[str | None], bool]] = []
    if condition.is_ is not None:
        tests.append(frozenset[str | None](condition.is_).__contains__)
    if condition.is_not is not None:
        unwanted = frozenset(condition.is_not)
        tests.append(lambda value: value not in unwanted)
    if condition.empty is not None or not tests:
        empty = bool(condition.empty)
        tests.append(lambda value: (value is None) == empty)
    return tests


# ---------------------------------------------------------------------------------- names


_STANDARDS = {
    Check.ISO_11649: (compact_creditor_reference, is_creditor_reference),
    Check.IBAN: (compact, is_iban),
}
"""How a value of a standard is written to be compared, and whether it proves itself."""


def _strip_zeros(value: str) -> str:
    return (value.lstrip("0") or "0") if value.isdecimal() else value


_STEPS: dict[Normalise, Callable[[str], str]] = {
    Normalise.STRIP_ZEROS: _strip_zeros,
    Normalise.UPPER: str.upper,
    Normalise.ALNUM: lambda value: "".join(filter(str.isalnum, value)),
}


def _normaliser(kind: ReferenceKind) -> Callable[[str], str] | None:
    """Return what makes two ways to write a value of a kind the same; None where there is one way."""
    steps = [_STEPS[step] for step in kind.normalise]
    if kind.check is not None:
        steps.append(_STANDARDS[kind.check][0])
    if len(steps) <= 1:
        return steps[0] if steps else None

    def apply(value: str) -> str:
        for step in steps:
            value = step(value)
        return value

    return apply


def compile_spellings(kinds: Kinds) -> Callable[[str], Iterator[str]]:
    """Compile what tells how a key that a person types may be stored: as it is, then as kinds compare their values."""
    normalisers = [n for n in map(_normaliser, kinds.values()) if n is not None]

    def spellings(key: str) -> Iterator[str]:
        yield key
        others = dict.fromkeys([n(key) for n in normalisers])
        yield from [other for other in others if other and other != key]

    return spellings


def compile_usable(
    rule: DocumentRule | ReferenceRule, meant: ReferenceKind, nulls: frozenset[str]
) -> Callable[[Body, Name], bool] | None:
    """Compile the test whether a record's name names one thing; None where every name does."""
    defaults, tests = frozenset(meant.defaults), list[Callable[[Body, Name], bool]]()
    if defaults:
        tests.append(lambda _body, name: name.value not in defaults)
    if meant.check is not None:
        _, proves = _STANDARDS[meant.check]
        tests.append(lambda _body, name: proves(name.value))
    if isinstance(rule, ReferenceRule) and rule.field_length is not None:
        whole, field = rule.field_length, compile_expr(rule.value, nulls)
        tests.append(lambda body, _name: len(field(body) or "") < whole)
    if len(tests) <= 1:
        return tests[0] if tests else None
    return lambda body, name: all(test(body, name) for test in tests)


def compile_name(
    rule: DocumentRule | ReferenceRule, meant: ReferenceKind, nulls: frozenset[str]
) -> Callable[[Body], Name | None]:
    """Compile a name; empty where its value or its scope is empty, also once it is normalised."""
    kind, expr = (
        (rule.type, rule.number) if isinstance(rule, DocumentRule) else (rule.kind, rule.value)
    )
    value_of = compile_expr(expr, nulls)
    scope_of = compile_optional(rule.scope, nulls)
    normalise = _normaliser(meant)
    new = tuple.__new__  # what Name(...) does, at a third of its cost

    def name(body: Body) -> Name | None:
        value = value_of(body)
        if value is None:
            return None
        scope = "" if scope_of is None else scope_of(body)
        if scope is None:  # a name without its scope could be anybody's
            return None
        if normalise is not None:
            value = normalise(value)
            if not value or value in nulls:  # what is left of it names nothing
                return None
        if len(value) + len(scope) > NAME_CHARS_MAX:
            raise _too_long(expr, value)
        return new(Name, (kind, scope, value))

    return name


def _too_long(expr: str, value: str) -> NotMapped:
    return NotMapped(
        "TOO_LONG",
        f"'{expr}' is {shown(value)}, {len(value)} characters: a name has at most "
        f"{NAME_CHARS_MAX}. Map it as an attribute, or name another field.",
        expr,
    )


# -------------------------------------------------------------------------------- number ranges


def compile_number(
    rule: NumberRange | None, nulls: frozenset[str]
) -> Callable[[Body], Number | None] | None:
    """Compile what gives a record its number in a consecutive range; a record without one is not in it."""
    if rule is None:
        return None
    value_of = compile_expr(rule.number, nulls)
    within_of = compile_expr(rule.within, nulls) if rule.within is not None else None

    def number_of(body: Body) -> Number | None:
        text = value_of(body)
        if text is None:
            return None
        found = number(text)
        within = within_of(body) if within_of is not None else ""
        if found is None or within is None:
            raise NotMapped(
                "NO_NUMBER",
                f"'{rule.number}' is {shown(text)}, which is no number of a range: it ends in no more than "
                f"{DIGITS_MAX} digits, and `within`, where it is given, is not empty.",
                rule.number,
                text,
            )
        return Number(f"{within} {found.range}", found.number) if within else found

    return number_of
