import pytest

from collector.model.words import SHAPE_CHARS_MAX, shape


@pytest.mark.parametrize(
    ("value", "looks"),
    [
        ("DE-1017", "AA-9999"),
        ("AT-2204", "AA-9999"),
        ("471100", "999999"),
        ("2026-01-05T08:00", "9999-99-99A99:99"),
        ("teleported", "A+"),
        ("Köln ist weit", "AAAA AAA AAAA"),
        ("1.234,50", "9.999,99"),
        ("٣٤", "99"),
        ("", ""),
    ],
)
def test_a_value_looks_like_the_others_of_its_form(value: str, looks: str) -> None:
    assert shape(value) == looks


def test_what_is_long_is_cut() -> None:
    assert shape("1" * 500) == "9" * (SHAPE_CHARS_MAX - 1) + "…"
    assert shape("x" * 500) == "A+"
