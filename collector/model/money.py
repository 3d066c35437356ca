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
    InvalidOperation,
)


def _codes(text: str) -> list[str]:
    return text.split()


MINOR_UNITS_DEFAULT = 2
MINOR_UNITS = {
    **dict.fromkeys(
        _codes("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"), 0
    ),
    **dict.fromkeys(_codes("BHD IQD JOD KWD LYD OMR TND"), 3),
    **dict.fromkeys(_codes("CLF UYW"), 4),
}
WITHDRAWN = frozenset(_codes("ANG BGN HRK"))
"""Replaced in recent years: books and archives still hold them."""
CURRENCIES = WITHDRAWN | frozenset(
    _codes(
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD "
        "BTN BWP BYN BZD CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK "
        "DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF "
        "IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP "
        "LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD "
        "NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD "
        "SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD "
        "TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF "
        "YER ZAR ZMW ZWG"
    )
)
ROUNDING = {
    None: ROUND_DOWN,
    "half_even": ROUND_HALF_EVEN,
    "half_up": ROUND_HALF_UP,
    "down": ROUND_DOWN,
}
AMOUNT_MINOR_MAX = 2**63 - 1
NUMBER_CHARS_MAX = 100
PLAIN_DIGITS_MAX = 15  # with the decimals that may be missing, within 63 bits
"""No amount is written with more; what is longer is not a number but something else."""
WIDE = Context(prec=60, traps=[InvalidOperation])
NAN = Decimal("NaN")
_DIGITS = {code: MINOR_UNITS.get(code, MINOR_UNITS_DEFAULT) for code in CURRENCIES}
_QUANTA = [Decimal(1).scaleb(-digits) for digits in range(max(_DIGITS.values()) + 1)]


class NotMoney(ValueError):
    """The text is no amount in this currency; the message says why."""


def minor_units(currency: str) -> int:
    """Return how many decimals the currency has; raise NotMoney where it is no ISO 4217 code."""
    digits = _DIGITS.get(currency)
    if digits is None:
        raise NotMoney(f"'{currency}' is no ISO 4217 currency code")
    return digits


def decimal(text: str) -> Decimal:
    """Read a number of ASCII digits with a decimal point, exactly; raise NotMoney for all else."""
    if len(text) <= NUMBER_CHARS_MAX and text.isascii() and "_" not in text:
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = NAN
        if number.is_finite():
            return number
    raise NotMoney(f"'{text[:NUMBER_CHARS_MAX]}' is not an amount")


def to_minor(number: str | int | Decimal, currency: str, rounding: str | None = None) -> int:
    """Turn a decimal number into minor units of the currency.

    `rounding` is a key of ROUNDING; without it an amount with more decimals than the currency has
    raises NotMoney, for nothing is rounded silently.
    """
    digits = minor_units(currency)
    exact = decimal(number) if isinstance(number, str) else Decimal(number)
    try:
        whole = exact.quantize(_QUANTA[digits], ROUNDING[rounding], WIDE)
        minor = int(whole.scaleb(digits, WIDE))
    except (InvalidOperation, ValueError):  # more digits than WIDE has, or no number
        raise NotMoney(f"this is no number, or too large to be an amount in {currency}") from None
    if rounding is None and whole != exact:
        raise NotMoney(
            f"{exact} has more decimals than {currency} ({digits}), and the mapping has no rounding rule"
        )
    if not -AMOUNT_MINOR_MAX <= minor <= AMOUNT_MINOR_MAX:
        raise NotMoney(f"the number is too large to be an amount in {currency}")
    return minor


def plain_minor(text: str, currency: str) -> int | None:
    """Do what `to_minor` does for the commonest form at a fraction of the cost; None for any other.

    That form is unsigned ASCII digits with at most as many decimals as the currency has.
    """
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    missing = _DIGITS.get(currency, -1) - len(fraction)
    if missing < 0 or len(digits) > PLAIN_DIGITS_MAX or not (digits.isdigit() and text.isascii()):
        return None
    return int(digits + "0" * missing)


def from_minor(amount_minor: int, currency: str) -> str:
    """Write an amount for people: `EUR 1,250.00`, `JPY 120`, `EUR -0.05`."""
    digits = minor_units(currency)
    whole, rest = divmod(abs(amount_minor), 10**digits)
    sign = "-" if amount_minor < 0 else ""
    return f"{currency} {sign}{whole:,}" + (f".{rest:0{digits}d}" if digits else "")
