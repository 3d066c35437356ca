"""Check digits, held against the examples that the standards and those who apply them publish."""

import pytest

from collector.model.check_digits import (
    compact,
    compact_creditor_reference,
    is_creditor_reference,
    is_iban,
)

CREDITOR_REFERENCES = [
    "RF18 5390 0754 7034",  # ISO 11649, as banks' guides print it
    "RF18000000000539007547034",  # the same, filled up to 25 characters
    "RF47 1234 5678 90",
    "RF71 2348 231",
]
IBANS = [  # SWIFT's registry of ISO 13616, one of each shape
    "GB82 WEST 1234 5698 7654 32",
    "DE89 3704 0044 0532 0130 00",
    "BE68 5390 0754 7034",
    "FR14 2004 1010 0505 0001 3M02 606",
    "KW81 CBKU 0000 0000 0000 1234 5601 01",
    "BR97 0036 0305 0000 1000 9795 493P 1",
    "IT60 X054 2811 1010 0000 0123 456",
    "LB62 0999 0000 0001 0019 0122 9114",
]


@pytest.mark.parametrize("printed", CREDITOR_REFERENCES)
def test_a_published_creditor_reference_proves_itself(printed: str) -> None:
    assert is_creditor_reference(compact_creditor_reference(printed))
    assert is_creditor_reference(compact_creditor_reference(compact(printed).lower()))


@pytest.mark.parametrize("printed", IBANS)
def test_a_published_iban_proves_itself(printed: str) -> None:
    assert is_iban(compact(printed))


@pytest.mark.parametrize(
    ("proves", "value"),
    [
        *((is_creditor_reference, compact_creditor_reference(r)) for r in CREDITOR_REFERENCES),
        *((is_iban, compact(iban)) for iban in IBANS),
    ],
)
def test_one_wrong_digit_and_two_that_changed_places_are_noticed(
    proves: object, value: str
) -> None:
    """What the two digits are for; letters are checked by what they stand for."""
    assert callable(proves)
    for i, c in enumerate(value):
        if c.isdigit():
            wrong = f"{value[:i]}{(int(c) + 1) % 10}{value[i + 1 :]}"
            assert not proves(wrong), wrong
        if i + 1 < len(value) and c.isdigit() and value[i + 1].isdigit() and c != value[i + 1]:
            swapped = value[:i] + value[i + 1] + c + value[i + 2 :]
            assert not proves(swapped), swapped


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("GB02ABCD", "GB99ABCD"), ("GB98ABCD", "GB01ABCD"), ("GB97ABCD", "GB00ABCD")],
)
def test_check_digits_that_nobody_makes_are_refused(right: str, wrong: str) -> None:
    """They leave the same remainder as digits between 02 and 98: found by trying, for each of them."""
    made = next(f"{right}{n:08}" for n in range(100_000) if is_iban(f"{right}{n:08}"))
    assert not is_iban(made.replace(right, wrong))


@pytest.mark.parametrize(
    "value", ["", "RF", "RF18", "RF18539007547034X", "RF1853900754703\u0664", "DE89", "\uff11" * 20]
)
def test_what_has_another_form_is_none_and_no_fault(value: str) -> None:
    assert not is_creditor_reference(value)
    assert not is_iban(value)


def test_filling_zeros_make_no_other_reference() -> None:
    short, filled = map(compact_creditor_reference, CREDITOR_REFERENCES[:2])
    assert short == filled == "RF18539007547034"
    assert compact_creditor_reference("DE02000") == "DE02000"
