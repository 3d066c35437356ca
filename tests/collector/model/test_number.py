"""What is a number of a range, and which numbers a person declares to be void."""

import pytest

from collector.model.number import number, void


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("R-2026-0104", ("R-2026-", 104)),
        ("5100000456", ("", 5_100_000_456)),
        ("0", ("", 0)),
        ("9" * 18, ("", 10**18 - 1)),
        ("9" * 19, None),
        ("R" + "9" * 19, None),
        ("R-104a", None),
        ("", None),
        ("٤", None),  # another script's digit
        ("٤2", None),
    ],
)
def test_a_number_is_the_digits_that_a_text_ends_in(text: str, found: object) -> None:
    assert number(text) == found


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("R-0104", ("R-", 104, 104)), ("DE10 R-7..12", ("DE10 R-", 7, 12)), ("5..5", ("", 5, 5))],
)
def test_void_numbers_are_written_as_a_gap_names_them(text: str, numbers: object) -> None:
    assert void(text) == numbers


@pytest.mark.parametrize("text", ["", "R-", "R-1..", "..5", "R-1..R-5", "R-5..4", "1...4"])
def test_what_names_no_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"names no numbers|ends before it begins"):
        void(text)
