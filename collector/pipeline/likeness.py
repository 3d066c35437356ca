"""How alike two texts are, from 0 to 100: names that are abbreviated, and texts that were cut.

Words are compared without case, marks and the ways in which letters are transcribed: Müller, Mueller and Muller
are one name.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

from rapidfuzz import fuzz

INITIAL = 0.9
"""What a letter counts that stands for a word: less than the word, for another name may begin with it."""
TYPING_ERRORS_FROM = 80.0
"""From here on rapidfuzz's ratio of two words is that of one word with a typing error; below, of two words."""

_LETTERS = str.maketrans({"ø": "o", "đ": "d", "ł": "l", "þ": "th", "ð": "d", "æ": "ae", "œ": "oe"})
_TRANSCRIBED = re.compile("([aou])e")
_WORD = re.compile(r"[^\W_]+")


@lru_cache(200_000)
def words(text: str) -> tuple[str, ...]:
    """Take a text apart into words, folded so that every way to write one gives the same."""
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return tuple(_WORD.findall(_TRANSCRIBED.sub(r"\1", plain)))


@lru_cache(200_000)
def _initials(text: str) -> frozenset[str]:
    return frozenset(word[0] for word in words(text))


def name_likeness(a: str, b: str) -> int:
    """Compare names: what of both their words has a counterpart, in any order; an initial stands for a word."""
    if _initials(a).isdisjoint(_initials(b)):
        return 0  # most names are as different as that
    return _share(words(a), words(b), _same_name, lambda _: 1, of_both=True)


@lru_cache(100_000)  # the same texts come again and again
def text_likeness(a: str, b: str) -> int:
    """Compare texts: what of the shorter one's letters stands in the longer one; its last word may be cut."""
    shorter, longer = sorted((words(a), words(b)), key=lambda found: (sum(map(len, found)), found))
    last = {found[-1] for found in (shorter, longer) if found}

    def same(one: str, other: str) -> float:
        cut = (one in last and other.startswith(one)) or (other in last and one.startswith(other))
        return 1.0 if cut else _same_word(one, other)

    return _share(shorter, longer, same, len, of_both=False)


@lru_cache(500_000)
def _same_word(one: str, other: str) -> float:
    if one == other:
        return 1.0
    if one.isdigit() or other.isdigit():
        return 0.0  # another number is another thing
    ratio = fuzz.ratio(one, other)
    return ratio / 100 if ratio >= TYPING_ERRORS_FROM else 0.0


def _same_name(one: str, other: str) -> float:
    if len(one) == 1 or len(other) == 1:
        return 1.0 if one == other else INITIAL
    return _same_word(one, other)


def _share(
    a: Sequence[str],
    b: Sequence[str],
    same: Callable[[str, str], float],
    weight: Callable[[str], int],
    *,
    of_both: bool,
) -> int:
    """Give each word of one text its best counterpart in the other, each once; weigh what has one.

    A word with another first letter is another word.
    """
    alike = [
        (-value, i, j)
        for i, x in enumerate(a)
        for j, y in enumerate(b)
        if x[0] == y[0] and (value := same(x, y))
    ]
    mine, other, found = set[int](), set[int](), 0.0
    for value, i, j in sorted(alike):
        if i not in mine and j not in other:
            mine.add(i)
            other.add(j)
            found -= value * weight(a[i])
    if not found:
        return 0
    whole = sum(map(weight, a))
    if of_both:
        found, whole = 2 * found, whole + sum(map(weight, b))
    return round(100 * found / whole)
