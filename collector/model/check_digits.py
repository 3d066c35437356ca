"""References that prove themselves: two check digits after two letters, by ISO 7064 MOD 97-10.

As ISO 11649 and ISO 13616 compute them: the first four characters move to the end, a letter stands for
the two digits of its place in the alphabet plus nine (A is 10), and the number leaves 1 when divided by 97.
Check digits are made between 02 and 98; 00, 01 and 99 would leave 1 as well and are no one's.
"""

import re

_CHECKED = r"(?!00|01|99)[0-9]{2}"
_CREDITOR_REFERENCE = re.compile(rf"RF{_CHECKED}[0-9A-Z]{{1,21}}")
_IBAN = re.compile(rf"[A-Z]{{2}}{_CHECKED}[0-9A-Z]{{11,30}}")


def compact(value: str) -> str:
    """Write a value as it is sent: without the blanks of its printed form, in capitals."""
    return "".join(value.split()).upper()


def compact_creditor_reference(value: str) -> str:
    """Write a creditor reference as it is sent, without zeros that fill it up behind its check digits."""
    sent = compact(value)
    return f"{sent[:4]}{sent[4:].lstrip('0')}" if sent.startswith("RF") else sent


def is_creditor_reference(value: str) -> bool:
    """Say whether a compact value is a creditor reference of ISO 11649."""
    return _CREDITOR_REFERENCE.fullmatch(value) is not None and _remainder(value) == 1


def is_iban(value: str) -> bool:
    """Say whether a compact value has the form and the check digits of an IBAN.

    How long the IBANs of a country are is not looked at.
    """
    return _IBAN.fullmatch(value) is not None and _remainder(value) == 1


def _remainder(value: str) -> int:
    return int("".join(str(int(c, 36)) for c in value[4:] + value[:4])) % 97
