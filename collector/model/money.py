"""Money: an integer number of minor units and an ISO 4217 currency. Never a float.

Minor units are those of ISO 4217 (list one, "Minor unit" column): two, but for the currencies named
here.
"""

from decimal import (
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
)

MINOR_UNITS_DEFAULT = 2
MINOR_UNITS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}
CURRENCIES = frozenset(
    [
        "AED",
        "AFN",
        "ALL",
        "AMD",
        "AOA",
        "ARS",
        "AUD",
        "AWG",
        "AZN",
        "BAM",
        "BBD",
        "BDT",
        "BHD",
        "BIF",
        "BMD",
        "BND",
        "BOB",
        "BOV",
        "BRL",
        "BSD",
        "BTN",
        "BWP",
        "BYN",
        "BZD",
        "CAD",
        "CDF",
        "CHE",
        "CHF",
        "CHW",
        "CLF",
        "CLP",
        "CNY",
        "COP",
        "COU",
        "CRC",
        "CUP",
        "CVE",
        "CZK",
        "DJF",
        "DKK",
        "DOP",
        "DZD",
        "EGP",
        "ERN",
        "ETB",
        "EUR",
        "FJD",
        "FKP",
        "GBP",
        "GEL",
        "GHS",
        "GIP",
        "GMD",
        "GNF",
        "GTQ",
        "GYD",
        "HKD",
        "HNL",
        "HTG",
        "HUF",
        "IDR",
        "ILS",
        "INR",
        "IQD",
        "IRR",
        "ISK",
        "JMD",
        "JOD",
        "JPY",
        "KES",
        "KGS",
        "KHR",
        "KMF",
        "KPW",
        "KRW",
        "KWD",
        "KYD",
        "KZT",
        "LAK",
        "LBP",
        "LKR",
        "LRD",
        "LSL",
        "LYD",
        "MAD",
        "MDL",
        "MGA",
        "MKD",
        "MMK",
        "MNT",
        "MOP",
        "MRU",
        "MUR",
        "MVR",
        "MWK",
        "MXN",
        "MXV",
        "MYR",
        "MZN",
        "NAD",
        "NGN",
        "NIO",
        "NOK",
        "NPR",
        "NZD",
        "OMR",
        "PAB",
        "PEN",
        "PGK",
        "PHP",
        "PKR",
        "PLN",
        "PYG",
        "QAR",
        "RON",
        "RSD",
        "RUB",
        "RWF",
        "SAR",
        "SBD",
        "SCR",
        "SDG",
        "SEK",
        "SGD",
        "SHP",
        "SLE",
        "SOS",
        "SRD",
        "SSP",
        "STN",
        "SVC",
        "SYP",
        "SZL",
        "THB",
        "TJS",
        "TMT",
        "TND",
        "TOP",
        "TRY",
        "TTD",
        "TWD",
        "TZS",
        "UAH",
        "UGX",
        "USD",
        "USN",
        "UYI",
        "UYU",
        "UYW",
        "UZS",
        "VED",
        "VES",
        "VND",
        "VUV",
        "WST",
        "XAF",
        "XCD",
        "XCG",
        "XOF",
        "XPF",
        "YER",
        "ZAR",
        "ZMW",
        "ZWG",
        "BGN",
        "HRK",
        "ANG",
    ]
)
ROUNDING = {"half_even": ROUND_HALF_EVEN, "half_up": ROUND_HALF_UP, "down": ROUND_DOWN}
AMOUNT_MINOR_MAX = 2**63 - 1
WIDE = Context(prec=60, traps=[InvalidOperation])
EXACT = Context(prec=60, traps=[InvalidOperation, Inexact])


class NotMoney(ValueError):
    """The text is no amount in this currency; the message says why."""


def minor_units(currency: str) -> int:
    """Return how many decimals the currency has; raise NotMoney where it is no ISO 4217 code."""
    if currency not in CURRENCIES:
        raise NotMoney(f"'{currency}' is no ISO 4217 currency code")
    return MINOR_UNITS.get(currency, MINOR_UNITS_DEFAULT)


def to_minor(number: str | int | Decimal, currency: str, rounding: str | None = None) -> int:
    """Turn a decimal number into minor units of the currency.

    `rounding` is a key of ROUNDING; without it an amount with more decimals than the currency has
    raises NotMoney, for nothing is rounded silently.
    """
    digits = minor_units(currency)
    try:
        scaled = EXACT.scaleb(Decimal(number), digits)
        whole = scaled.quantize(Decimal(1), ROUNDING[rounding or "down"], WIDE)
    except (InvalidOperation, Inexact):
        raise NotMoney(f"'{number}' is not an amount") from None
    if rounding is None and whole != scaled:
        raise NotMoney(
            f"{number} has more decimals than {currency} ({digits}), and the mapping has no rounding rule"
        )
    if abs(whole) > AMOUNT_MINOR_MAX:
        raise NotMoney(f"'{number}' {currency} is too large to be an amount")
    return int(whole)


def from_minor(amount_minor: int, currency: str) -> str:
    """Write an amount for people: `EUR 1,250.00`, `JPY 120`, `EUR -0.05`."""
    digits = minor_units(currency)
    return f"{currency} {Decimal(amount_minor).scaleb(-digits):,.{digits}f}"
