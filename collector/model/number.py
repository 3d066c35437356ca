"""A number of a consecutive range: `R-2026-0104` is number 104 of the range `R-2026-`."""

import re
from typing import NamedTuple

DIGITS_MAX = 18
"""What a signed 64-bit number holds."""

_NUMBER = re.compile(rf"(.*?)([0-9]{{1,{DIGITS_MAX}}})", re.DOTALL)


class Number(NamedTuple):
    """A range by its name, and a number in it."""

    range: str
    number: int


def number(text: str) -> Number | None:
    """Split a text that ends in digits; None where it does not, or in more than a number can have."""
    found = _NUMBER.fullmatch(text)
    if found is None or found[1][-1:].isdecimal():
        return None
    return Number(found[1], int(found[2]))


def void(text: str) -> tuple[str, int, int]:
    """Read numbers that are declared to be void: `R-104` or `R-104..106`, both ends included.

    Raises:
        ValueError: with what is wrong.
    """
    begin, several, end = text.partition("..")
    first = number(begin)
    last = number(end) if several else first
    if first is None or last is None or (several and last.range):
        raise ValueError(f"'{text}' names no numbers; write R-104 or R-104..106")
    if last.number < first.number:
        raise ValueError(f"'{text}' ends before it begins")
    return first.range, first.number, last.number
