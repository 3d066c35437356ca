"""Words that sentences are made of."""

import re

SHAPE_CHARS_MAX = 40
_LETTERS = re.compile(r"[^\W\d_]")
_DIGITS = re.compile(r"\d")
_WORD = re.compile("A{5,}")


def counted(number: int, noun: str) -> str:
    """Count things in words: `1 record`, `2,000 records`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shape(value: str) -> str:
    """Say what a value looks like: a digit is 9, a letter A, and a word of any length A+.

    `DE-1017` and `AT-2204` look alike: `AA-9999`. What different values of one defect have in common.
    """
    looks = _WORD.sub("A+", _LETTERS.sub("A", _DIGITS.sub("9", value[: 2 * SHAPE_CHARS_MAX])))
    return looks if len(looks) <= SHAPE_CHARS_MAX else f"{looks[: SHAPE_CHARS_MAX - 1]}…"
