"""Names that are abbreviated and texts that were cut: how alike a person would say they are.

The expected values are worked out by hand from the definition: an initial counts 9/10 of its word, a name's score is
twice what has a counterpart over the words of both, a text's that over the letters of the shorter one.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.pipeline.likeness import name_likeness, text_likeness, words

NAMES = [
    ("Anna Kowalczyk", "Anna Kowalczyk", 100),
    ("Kowalczyk, Anna", "ANNA KOWALCZYK", 100),
    ("Kowalczyk, A.", "Anna Kowalczyk", 95),  # 2 x (1 + 0.9) / 4
    ("B. Kowalczyk", "Anna Kowalczyk", 50),  # 2 x 1 / 4
    ("Kowalczyk", "Anna Kowalczyk", 67),  # 2 x 1 / 3
    ("Anna Maria Kowalczyk", "Anna Kowalczyk", 80),  # 2 x 2 / 5
    ("A. M. Kowalczyk", "Anna Maria Kowalczyk", 93),  # 2 x 2.8 / 6
    ("A. Albers", "Albers Anna", 95),  # the word first, then the initial
    ("Jürgen Müller", "Juergen Mueller", 100),
    ("Jürgen Müller", "Jurgen Muller", 100),
    ("Gößmann", "GOESSMANN", 100),
    ("Łukasz Żak", "Lukasz Zak", 100),
    ("Søren Ærø", "Soren Aero", 100),
    ("Anna Kowalcyzk", "Anna Kowalczyk", 94),  # typed wrong: 16 of 18 letters, (1 + 0.89) / 2
    ("Dorn", "Dornbach", 0),
    ("Yousef Alrashed", "Jaber Alsaleh", 0),
    ("", "Anna", 0),
    ("---", "...", 0),
]
TEXTS = [
    ("Reimbursement Per diem", "Per diem", 100),
    ("REIMBURSEMENT MEALS WITH CUSTOM", "Meals with customer", 100),  # cut: custom(er)
    ("Expenses Train", "Reimbursement Train", 38),  # 5 of 13 letters
    ("Invoice 4711", "Invoice 4712", 64),  # 7 of 11: another number is another thing
    ("Invoice 4711", "4711 INVOICE", 100),
    ("Train", "Taxi", 0),
    ("", "Train", 0),
]


@pytest.mark.parametrize(("a", "b", "alike"), NAMES)
def test_names_are_alike_however_they_are_written(a: str, b: str, alike: int) -> None:
    assert name_likeness(a, b) == name_likeness(b, a) == alike


@pytest.mark.parametrize(("a", "b", "alike"), TEXTS)
def test_texts_are_alike_where_the_shorter_stands_in_the_longer(a: str, b: str, alike: int) -> None:
    assert text_likeness(a, b) == text_likeness(b, a) == alike


@given(a=st.text(max_size=20), b=st.text(max_size=20))
def test_likeness_is_symmetric_bounded_and_whole_for_the_same(a: str, b: str) -> None:
    for alike in (name_likeness, text_likeness):
        assert 0 <= alike(a, b) == alike(b, a) <= 100
        assert alike(a, a) == (100 if words(a) else 0)
