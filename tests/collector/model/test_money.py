from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.model.money import (
    CURRENCIES,
    NotMoney,
    from_minor,
    minor_units,
    plain_minor,
    to_minor,
)

# ISO 4217, list one, column "Minor unit", written down from the standard.
NO_DECIMALS = {
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND",
    "VUV", "XAF", "XOF", "XPF",
}  # fmt: skip
THREE_DECIMALS = {"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"}
FOUR_DECIMALS = {"CLF", "UYW"}
G10 = {"AUD", "CAD", "CHF", "EUR", "GBP", "JPY", "NOK", "NZD", "SEK", "USD"}


def test_minor_units_are_those_of_the_standard() -> None:
    for code in CURRENCIES:
        expected = (
            0
            if code in NO_DECIMALS
            else 3
            if code in THREE_DECIMALS
            else 4
            if code in FOUR_DECIMALS
            else 2
        )
        assert minor_units(code) == expected, code
    assert NO_DECIMALS | THREE_DECIMALS | FOUR_DECIMALS | G10 <= CURRENCIES


@pytest.mark.parametrize("code", ["eur", "EURO", "EU", "", "XXX", "€", "DEM", " EUR"])
def test_what_is_no_currency_in_use_is_refused(code: str) -> None:
    with pytest.raises(NotMoney, match="no ISO 4217 currency code"):
        to_minor("1", code)


@pytest.mark.parametrize(
    ("number", "half_even", "half_up", "down"),
    [
        ("0.004", 0, 0, 0),
        ("0.005", 0, 1, 0),
        ("0.0050001", 1, 1, 0),
        ("0.015", 2, 2, 1),
        ("0.025", 2, 3, 2),
        ("2.675", 268, 268, 267),
        ("-0.005", 0, -1, 0),
        ("-0.015", -2, -2, -1),
        ("-2.675", -268, -268, -267),
        ("26.85120450862128", 2685, 2685, 2685),
        ("1e-50", 0, 0, 0),
    ],
)
def test_rounding_is_as_the_rule_says(number: str, half_even: int, half_up: int, down: int) -> None:
    assert to_minor(number, "EUR", "half_even") == half_even
    assert to_minor(number, "EUR", "half_up") == half_up
    assert to_minor(number, "EUR", "down") == down


@pytest.mark.parametrize(
    ("number", "currency", "minor"),
    [
        ("1250.00", "EUR", 125_000),
        ("1250.0000000", "EUR", 125_000),
        ("-0", "EUR", 0),
        ("-0.00", "JPY", 0),
        ("+5", "EUR", 500),
        (".5", "EUR", 50),
        ("5.", "EUR", 500),
        ("1e2", "JPY", 100),
        ("1.2345", "CLF", 12_345),
        ("0.001", "KWD", 1),
        ("92233720368547758.07", "EUR", 2**63 - 1),
        ("-92233720368547758.07", "EUR", -(2**63) + 1),
        ("1." + "0" * 90, "EUR", 100),
        (7, "EUR", 700),
        (Decimal("7.10"), "EUR", 710),
    ],
)
def test_an_amount_is_exact(number: str | int | Decimal, currency: str, minor: int) -> None:
    assert to_minor(number, currency) == minor


@pytest.mark.parametrize(
    "number",
    ["1.001", "0.0000000000000000000000000000000000001", "1.00" + "0" * 80 + "1"],
)
def test_without_a_rule_surplus_decimals_are_refused_however_far_behind(number: str) -> None:
    with pytest.raises(NotMoney, match="no rounding rule"):
        to_minor(number, "EUR")


@pytest.mark.parametrize("rounding", [None, "half_even", "half_up", "down"])
@pytest.mark.parametrize(
    "number",
    [
        "", " ", "-", "NaN", "sNaN", "-NaN", "nan", "Infinity", "-inf", "1e400", "1e99999999999999",
        "92233720368547758.08", "9" * 101, "1_000", "\uff11\uff12", "٣", "1,5", "0x10", "12 EUR", "1e", "--1",
        Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), 10**400,
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused(number: str | int | Decimal, rounding: str | None) -> None:
    with pytest.raises(NotMoney):
        to_minor(number, "EUR", rounding)


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from(sorted(CURRENCIES)))
def test_an_amount_survives_being_written_and_read(minor: int, currency: str) -> None:
    code, text = from_minor(minor, currency).split()
    assert code == currency
    assert to_minor(text.replace(",", ""), currency) == minor


TEXTS = st.one_of(
    st.from_regex(r"[0-9]{0,17}(\.[0-9]{0,5})?", fullmatch=True),
    st.text("0123456789.-+,e_\u0663 ", max_size=8),
)


@given(TEXTS, st.sampled_from([*sorted(CURRENCIES), "EURO"]))
@example("", "EUR")
@example(".", "JPY")
@example("5.", "JPY")
@example("٣", "EUR")
@example("٣.10", "EUR")
@example("1.²", "EUR")
def test_the_short_way_to_an_amount_ends_where_the_long_one_does(text: str, currency: str) -> None:
    minor = plain_minor(text, currency)
    assert minor is None or minor == to_minor(Decimal(text), currency)


def test_common_amounts_take_the_short_way() -> None:
    assert plain_minor("1250.00", "EUR") == 125_000
    assert plain_minor("1250.5", "EUR") == 125_050
    assert plain_minor("120", "JPY") == 120
    assert plain_minor("0.001", "EUR") is None


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=9, min_value=-(10**9), max_value=10**9
    )
)
def test_rounding_half_even_is_never_off_by_more_than_half(number: Decimal) -> None:
    minor = to_minor(number, "EUR", "half_even")
    assert abs(Decimal(minor) - number * 100) <= Decimal("0.5")


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (125_000, "EUR", "EUR 1,250.00"),
        (-5, "EUR", "EUR -0.05"),
        (120, "JPY", "JPY 120"),
        (1_234_567, "KWD", "KWD 1,234.567"),
        (10**40 + 1, "EUR", "EUR 100," + "000," * 11 + "000.01"),
    ],
)
def test_an_amount_is_written_for_people(minor: int, currency: str, text: str) -> None:
    assert from_minor(minor, currency) == text
