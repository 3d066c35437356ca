"""Bank statements (camt, ISO 20022): what a bank states of itself, held against what it lists.

A statement states the number of its entries. An entry may list its payments (`DETAILS`): then their
number is that of its batch, and their sum its amount.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from lxml import etree

from collector.connector import Stated
from collector.model.money import NotMoney, decimal

ENTRY: Final = "Ntry"
DETAILS: Final = ("NtryDtls", "TxDtls")
CONTAINERS: Final = frozenset({"Stmt", "Rpt", "Ntfctn"})
COUNT: Final = ("TxsSummry", "TtlNtries", "NbOfNtries")
_AMOUNTS: Final = ("{*}Amt", "{*}AmtDtls/{*}TxAmt/{*}Amt")
"""Of a payment; up to version 2 there is only the second, and where money was exchanged it can be
the one in the currency of the account."""


class Totals:
    """Adds up the numbers of entries that the statements of a document state."""

    def __init__(self) -> None:
        self._count = 0
        self._statements = 0
        self._stating = 0

    def see(self, element: etree._Element, at: tuple[str, ...]) -> None:
        """Take in an element of the document, and the path that it stands at."""
        if at[-1] in CONTAINERS:
            self._statements += 1
        elif at[-4:-3] and at[-4] in CONTAINERS and at[-3:] == COUNT:
            text = (element.text or "").strip()
            if text.isdecimal():
                self._stating += 1
                self._count += int(text)

    def stated(self, entries: int, records: int) -> Stated | None:
        """Return the sum, if every statement states its number: as records, for `entries` gave `records`."""
        if not self._statements or self._stating != self._statements:
            return None
        what = f"{'/'.join(COUNT)} of {self._statements} statement(s)"
        if more := records - entries:
            what += f": {self._count} entries, and {more} more payments in their details"
        return Stated("A", what, self._count + more)


def contradiction(entry: etree._Element) -> str:
    """Say how the payments that an entry lists contradict it; nothing where none does."""
    listed = entry.findall("/".join(f"{{*}}{name}" for name in DETAILS))
    try:
        said = [*_miscounted(entry), *_differing(entry, listed)] if listed else []
    except NotMoney as error:
        said = [str(error)]
    if not said:
        return ""
    name = entry.findtext("{*}AcctSvcrRef") or entry.findtext("{*}NtryRef") or "without a reference"
    return (
        f"Entry {name}: {', and '.join(said)}. Nothing was taken from it: have the bank correct"
        " the statement and read that, then accept this record with a reason."
    )


def _miscounted(entry: etree._Element) -> Iterator[str]:
    for details in entry.findall(f"{{*}}{DETAILS[0]}"):
        there = len(details.findall(f"{{*}}{DETAILS[1]}"))
        stated = (details.findtext("{*}Btch/{*}NbOfTxs") or "").strip()
        if there and stated.isdecimal() and int(stated) != there:
            yield f"its batch has {stated} payments (Btch/NbOfTxs) and lists {there}"


def _differing(entry: etree._Element, listed: Sequence[etree._Element]) -> Iterator[str]:
    """Compare the amounts; of a single payment that states none in the currency it is the entry's."""
    booked = entry.find("{*}Amt")
    if booked is None:
        return
    currency, sign = booked.get("Ccy"), entry.findtext("{*}CdtDbtInd")
    amounts = [a for a in (_amount(one, currency) for one in listed) if a is not None]
    if len(amounts) < len(listed):
        if len(listed) > 1:
            yield f"{len(amounts)} of its {len(listed)} payments state an amount in {currency}"
        return
    total = _signed(booked, sign)
    signs = (one.findtext("{*}CdtDbtInd") or sign for one in listed)
    there = sum(map(_signed, amounts, signs), Decimal(0))
    if there != total:
        yield (
            f"it is booked as {currency} {total:f}, and its payments make {currency} {there:f},"
            f" a difference of {there - total:f}"
        )


def _amount(payment: etree._Element, currency: str | None) -> etree._Element | None:
    found = (amount for path in _AMOUNTS for amount in payment.iterfind(path))
    return next((amount for amount in found if amount.get("Ccy") == currency), None)


def _signed(amount: etree._Element, sign: str | None) -> Decimal:
    number = decimal((amount.text or "").strip())
    return -number if sign == "DBIT" else number
