"""The bank's side: one camt.053.001.08 per account and business day, with balances that chain.

One bank books payment by payment, one each payment run with a list of its payments, one without. Names are
abbreviated and the text of a remittance is cut, as banks do. One week of one entity is not delivered
whole: the statements count and sum up what they do not hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import NamedTuple

from lxml import etree

from api.demo.company import (
    COVERS_FROM,
    ENTITIES,
    KW10,
    STATUS_TIME,
    Account,
    Company,
    Entity,
    Payment,
)
from api.demo.erp import Books, Entry, payment_number, run_name

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
NOT_PROVIDED = "NOTPROVIDED"
RETURN_REASON = "AC04"
COMBINED = "COMBINED"
"""The purpose of a transfer that the payment factory made of several payments."""

LOST_ENTITY = KW10
LOST_DAYS = (date(2026, 10, 11), date(2026, 10, 15))
"""The week of which the payments of one entity are not in the files; the statements count them."""

_USTRD = 35
"""As long as the text of a remittance may be at this bank."""

_TOP_UP_AT, _FEE_AT, _CLOSES_AT = time(8, 15), time(16, 40), time(18, 30)

Tree = Mapping[str, "str | Tree | Sequence[Tree]"]
"""XML as data: `@x` is an attribute, `#text` the text, a list repeats the element."""


@dataclass(frozen=True)
class Booking:
    """One entry on the account; `amount` is signed, credits positive, `payments` are those of a run."""

    entity: Entity
    account: Account
    at: datetime
    amount: int
    family: tuple[str, str]
    text: str
    refs: tuple[tuple[str, str], ...] = ()
    creditor: str = ""
    remittance: str = ""
    returned: bool = False
    combined: bool = False
    payments: tuple["Booking", ...] = ()

    @property
    def is_lost(self) -> bool:
        """Whether it is booked and counted, and yet not delivered."""
        first, last = LOST_DAYS
        in_week = first <= self.at.date() <= last
        return bool(self.refs) and self.entity is LOST_ENTITY and in_week


def bookings(company: Company, books: Books) -> list[Booking]:
    """List everything that the bank books, in order."""
    housekeeping = (b for e in ENTITIES for a in e.accounts for b in _housekeeping(e, a))
    entries = [*_payments(company, books), *housekeeping]
    return sorted(entries, key=lambda b: (b.account.number, b.at, b.refs))


def is_housekeeping(booking: Booking) -> bool:
    """Say whether a booking belongs to no claim."""
    return not booking.refs


def is_run(booking: Booking) -> bool:
    """Say whether a whole payment run was booked in one sum."""
    return bool(booking.payments)


def records(booking: Booking) -> tuple[Booking, ...]:
    """Return what the bank shows of it: the payments that it lists, or the entry alone."""
    return booking.payments if booking.entity.lists_payments and is_run(booking) else (booking,)


def _payments(company: Company, books: Books) -> Iterator[Booking]:
    transfers: dict[str, list[Booking]] = {}
    paid: list[Booking] = []
    for claim in company.claims:
        for n, payment in enumerate(claim.timeline.payments, start=1):
            settled, *returned = _booked(books[claim.report_id, -n, False], payment)
            if payment.combined:
                transfers.setdefault(payment.combined, []).append(settled)
            else:
                paid.append(settled)
            yield from returned
    paid += (_combined(name, settled) for name, settled in transfers.items())
    runs: dict[str, list[Booking]] = {}
    for settled in paid:
        if settled.entity.books_runs:
            runs.setdefault(settled.refs[0][1], []).append(settled)
        else:
            yield settled
    yield from map(_in_one_sum, runs.values())


def _booked(entry: Entry, payment: Payment) -> Iterator[Booking]:
    """Book one payment, and perhaps its return."""
    claim, entity, owner = entry.claim, entry.entity, entry.claim.owner
    run = f"{entity.code}-{payment.run_at:%Y%m%d}-{run_name(entity, payment)}"
    refs = (
        ("PmtInfId", run),
        ("InstrId", payment_number(entry)),
        ("EndToEndId", claim.report_id),
    )
    name = f"{owner.first_name[0]}. {owner.last_name}"
    text = f"Reimbursement {claim.report_id} {claim.purpose}"[:_USTRD]
    amount = payment.short - entry.amount
    out = (entity, claim.account, payment.settled_at, amount, ("ICDT", "ESCT"))
    yield Booking(*out, "Expense reimbursement", refs, name, text)
    if payment.returned_at:
        back = (entity, claim.account, payment.returned_at, entry.amount, ("ICDT", "RRTN"))
        yield Booking(*back, "Return: account closed", refs, name, text, returned=True)


def _in_one_sum(payments: Sequence[Booking]) -> Booking:
    """Book a run: its name, its sum and its payments."""
    first = payments[0]
    return replace(
        first,
        at=max(p.at for p in payments),
        amount=sum(p.amount for p in payments),
        text="Expense reimbursements",
        refs=first.refs[:1],
        creditor="",
        remittance="",
        combined=False,
        payments=tuple(payments),
    )


def _combined(name: str, payments: Sequence[Booking]) -> Booking:
    """Book one transfer that pays several claims: it names none of them."""
    run, *_ = payments[0].refs
    return replace(
        payments[0],
        amount=sum(p.amount for p in payments),
        refs=(run, ("InstrId", name), ("EndToEndId", name)),
        remittance=f"Reimbursement of {len(payments)} reports",
        combined=True,
    )


def _housekeeping(entity: Entity, account: Account) -> Iterator[Booking]:
    """Top up the account and charge a fee on the first business day of each week."""
    week = -1
    for day in _days(entity):
        if day.isocalendar().week == week:
            continue
        week = day.isocalendar().week
        topped = entity.calendar.at(day, _TOP_UP_AT)
        charged = entity.calendar.at(day, _FEE_AT)
        yield Booking(entity, account, topped, account.top_up, ("RCDT", "XBCT"), "Cash pool")
        yield Booking(entity, account, charged, -account.fee, ("OTHR", "FEES"), "Account fee")


def _days(entity: Entity) -> list[date]:
    """List the business days that are over at the status time."""
    last = date.fromordinal(STATUS_TIME.date().toordinal() - 1)
    return entity.calendar.days(COVERS_FROM.date(), last)


def statements(entries: Sequence[Booking]) -> dict[str, bytes]:
    """Write the statements of all accounts; the key is the file's name."""
    files: dict[str, bytes] = {}
    for entity in ENTITIES:
        for account in entity.accounts:
            balance = account.opening
            by_day: dict[date, list[Booking]] = {day: [] for day in _days(entity)}
            for booking in entries:
                if booking.account is account:
                    by_day[booking.at.date()].append(booking)
            for number, (day, booked) in enumerate(by_day.items(), start=1):
                name = f"camt053-{entity.code}-{account.currency}-{day}.xml"
                files[name] = _statement(_Day(entity, account, day, number, balance), booked)
                balance += sum(b.amount for b in booked)
    return files


class _Day(NamedTuple):
    """What a statement is about, with its number and its opening balance."""

    entity: Entity
    account: Account
    day: date
    number: int
    opening: int


def _statement(of: _Day, booked: Sequence[Booking]) -> bytes:
    entity, account, day = of.entity, of.account, of.day
    created = entity.calendar.at(day, _CLOSES_AT).isoformat()
    statement_id = f"{entity.code}-{account.currency}-{day:%Y%m%d}"
    closing = of.opening + sum(b.amount for b in booked)
    bounds = [entity.calendar.at(day, clock).isoformat() for clock in (time(0), time(23, 59, 59))]
    entries = [_entry(n, b) for n, b in enumerate(booked, start=1) if not b.is_lost]
    tree: Tree = {
        "BkToCstmrStmt": {
            "GrpHdr": {"MsgId": f"CAMT053-{statement_id}", "CreDtTm": created},
            "Stmt": {
                "Id": statement_id,
                "ElctrncSeqNb": str(of.number),
                "CreDtTm": created,
                "FrToDt": {"FrDtTm": bounds[0], "ToDtTm": bounds[1]},
                "Acct": _account(entity, account),
                "Bal": [
                    _balance(account, day, "OPBD", of.opening),
                    _balance(account, day, "CLBD", closing),
                ],
                "TxsSummry": _summary(account, booked),
                "Ntry": entries,
            },
        }
    }
    root = etree.fromstring(f'<Document xmlns="{NAMESPACE}"/>')
    _grow(root, tree)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _account(entity: Entity, account: Account) -> Tree:
    kind: Tree = {"Othr": {"Id": account.number}}
    if account.number.startswith(entity.code[:2]):
        kind = {"IBAN": account.number}
    owner: Tree = {"Nm": entity.name, "Id": {"OrgId": {"Othr": {"Id": entity.code}}}}
    bank: Tree = {"FinInstnId": {"BICFI": account.bic}}
    return {"Id": kind, "Ccy": account.currency, "Ownr": owner, "Svcr": bank}


def _money(account: Account, minor: int) -> Tree:
    return {"@Ccy": account.currency, "#text": account.text(abs(minor))}


def _sign(minor: int) -> str:
    return "DBIT" if minor < 0 else "CRDT"


def _balance(account: Account, day: date, code: str, minor: int) -> Tree:
    return {
        "Tp": {"CdOrPrtry": {"Cd": code}},
        "Amt": _money(account, minor),
        "CdtDbtInd": _sign(minor),
        "Dt": {"Dt": day.isoformat()},
    }


def _summary(account: Account, booked: Sequence[Booking]) -> Tree:
    credits_ = [b.amount for b in booked if b.amount > 0]
    debits = [-b.amount for b in booked if b.amount < 0]
    net = sum(credits_) - sum(debits)
    return {
        "TtlNtries": {
            "NbOfNtries": str(len(booked)),
            "Sum": account.text(sum(credits_) + sum(debits)),
            "TtlNetNtry": {"Amt": account.text(abs(net)), "CdtDbtInd": _sign(net)},
        },
        "TtlCdtNtries": {"NbOfNtries": str(len(credits_)), "Sum": account.text(sum(credits_))},
        "TtlDbtNtries": {"NbOfNtries": str(len(debits)), "Sum": account.text(sum(debits))},
    }


def _entry(number: int, booking: Booking) -> Tree:
    family, sub_family = booking.family
    domain: Tree = {"Cd": "PMNT", "Fmly": {"Cd": family, "SubFmlyCd": sub_family}}
    return {
        "NtryRef": str(number),
        "Amt": _money(booking.account, booking.amount),
        "CdtDbtInd": _sign(booking.amount),
        "Sts": {"Cd": "BOOK"},
        "BookgDt": {"DtTm": booking.at.isoformat()},
        "ValDt": {"Dt": booking.at.date().isoformat()},
        "AcctSvcrRef": f"{booking.account.currency}{booking.at:%y%m%d}{number:06d}",
        "BkTxCd": {"Domn": domain},
        "NtryDtls": _details(booking),
        "AddtlNtryInf": booking.text,
    }


def _details(booking: Booking) -> Tree:
    if is_housekeeping(booking):
        return {"TxDtls": {"Refs": {"EndToEndId": NOT_PROVIDED}}}
    if not is_run(booking):
        return {"TxDtls": _transaction(booking)}
    batch: Tree = {
        **dict(booking.refs),
        "NbOfTxs": str(len(booking.payments)),
        "TtlAmt": _money(booking.account, booking.amount),
        "CdtDbtInd": _sign(booking.amount),
    }
    if not booking.entity.lists_payments:
        return {"Btch": batch}
    return {"Btch": batch, "TxDtls": [_transaction(payment) for payment in booking.payments]}


def _transaction(booking: Booking) -> Tree:
    reason: Tree = {"Rsn": {"Cd": RETURN_REASON}, "AddtlInf": "Account closed"}
    return {
        "Refs": dict(booking.refs),
        "Amt": _money(booking.account, booking.amount),
        "CdtDbtInd": _sign(booking.amount),
        "RltdPties": {"Cdtr": {"Pty": {"Nm": booking.creditor}}},
        **({"Purp": {"Prtry": COMBINED}} if booking.combined else {}),
        "RmtInf": {"Ustrd": booking.remittance},
        **({"RtrInf": reason} if booking.returned else {}),
    }


def _grow(parent: etree._Element, tree: Tree) -> None:
    """Build elements from data."""
    for name, value in tree.items():
        if name == "#text":
            parent.text = str(value)
        elif name.startswith("@"):
            parent.set(name[1:], str(value))
        else:
            items = [value] if isinstance(value, (str, Mapping)) else value
            for item in items:
                child = etree.SubElement(parent, f"{{{NAMESPACE}}}{name}")
                if isinstance(item, str):
                    child.text = item
                else:
                    _grow(child, item)
