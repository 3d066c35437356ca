"""The bank's side: one camt.053.001.08 per account and business day, with balances that chain."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time

from lxml import etree

from api.demo.company import COVERS_FROM, ENTITIES, STATUS_TIME, Company, Entity
from api.demo.erp import Books, payment_number, run_name

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
NOT_PROVIDED = "NOTPROVIDED"
RETURN_REASON = "AC04"

_OPENING = {"DE10": 18_000_000, "JP10": 24_000_000}
_TOP_UP = {"DE10": 25_000_000, "JP10": 20_000_000}
_FEE = {"DE10": 1_290, "JP10": 880}
"""Opening balance, weekly transfer from the cash pool and weekly fee, in minor units."""

_MONDAY = 0
_TOP_UP_AT, _FEE_AT, _CLOSES_AT = time(8, 15), time(16, 40), time(18, 30)

Tree = Mapping[str, "str | Tree | Sequence[Tree]"]
"""XML as data: `@x` is an attribute, `#text` the text, a list repeats the element."""


@dataclass(frozen=True)
class Booking:
    """One entry on the account; `amount` is signed, credits positive."""

    entity: Entity
    at: datetime
    amount: int
    family: tuple[str, str]
    text: str
    refs: tuple[tuple[str, str], ...] = ()
    creditor: str = ""
    returned: bool = False


def bookings(company: Company, books: Books) -> list[Booking]:
    """List everything that the bank books, in order."""
    entries = [*_payments(company, books), *(b for e in ENTITIES for b in _housekeeping(e))]
    return sorted(entries, key=lambda b: (b.entity.code, b.at, b.refs))


def is_housekeeping(booking: Booking) -> bool:
    """Say whether a booking belongs to no claim."""
    return not booking.refs


def _payments(company: Company, books: Books) -> Iterator[Booking]:
    for claim in company.claims:
        payment = claim.timeline.payment
        if payment is None:
            continue
        entity, owner = claim.entity, claim.owner
        run = f"{entity.code}-{payment.run_at:%Y%m%d}-{run_name(payment)}"
        refs = (
            ("PmtInfId", run),
            ("InstrId", payment_number(books, claim)),
            ("EndToEndId", claim.report_id),
        )
        name = f"{owner.first_name} {owner.last_name}"
        out = (entity, payment.settled_at, -claim.payable, ("ICDT", "ESCT"))
        yield Booking(*out, "Expense reimbursement", refs, name)
        if payment.returned_at:
            back = (entity, payment.returned_at, claim.payable, ("ICDT", "RRTN"))
            yield Booking(*back, "Return: account closed", refs, name, returned=True)


def _housekeeping(entity: Entity) -> Iterator[Booking]:
    """Top up the account and charge a fee on the first business day of each week."""
    week = -1
    for day in _days(entity):
        if day.isocalendar().week == week:
            continue
        week = day.isocalendar().week
        topped = entity.calendar.at(day, _TOP_UP_AT)
        charged = entity.calendar.at(day, _FEE_AT)
        yield Booking(entity, topped, _TOP_UP[entity.code], ("RCDT", "XBCT"), "Cash pool")
        yield Booking(entity, charged, -_FEE[entity.code], ("OTHR", "FEES"), "Account fee")


def _days(entity: Entity) -> list[date]:
    """List the business days that are over at the status time."""
    last = date.fromordinal(STATUS_TIME.date().toordinal() - 1)
    return entity.calendar.days(COVERS_FROM.date(), last)


def statements(entries: Sequence[Booking]) -> dict[str, bytes]:
    """Write the statements of all accounts; the key is the file's name."""
    files: dict[str, bytes] = {}
    for entity in ENTITIES:
        balance = _OPENING[entity.code]
        by_day: dict[date, list[Booking]] = {day: [] for day in _days(entity)}
        for booking in entries:
            if booking.entity is entity:
                by_day[booking.at.date()].append(booking)
        for number, (day, booked) in enumerate(by_day.items(), start=1):
            name = f"camt053-{entity.code}-{day}.xml"
            files[name] = _statement(entity, day, number, balance, booked)
            balance += sum(b.amount for b in booked)
    return files


def _statement(
    entity: Entity, day: date, number: int, opening: int, booked: Sequence[Booking]
) -> bytes:
    created = entity.calendar.at(day, _CLOSES_AT).isoformat()
    statement_id = f"{entity.code}-{day:%Y%m%d}"
    closing = opening + sum(b.amount for b in booked)
    bounds = [entity.calendar.at(day, clock).isoformat() for clock in (time(0), time(23, 59, 59))]
    tree: Tree = {
        "BkToCstmrStmt": {
            "GrpHdr": {"MsgId": f"CAMT053-{statement_id}", "CreDtTm": created},
            "Stmt": {
                "Id": statement_id,
                "ElctrncSeqNb": str(number),
                "CreDtTm": created,
                "FrToDt": {"FrDtTm": bounds[0], "ToDtTm": bounds[1]},
                "Acct": _account(entity),
                "Bal": [
                    _balance(entity, day, "OPBD", opening),
                    _balance(entity, day, "CLBD", closing),
                ],
                "TxsSummry": _summary(entity, booked),
                "Ntry": [_entry(n, b) for n, b in enumerate(booked, start=1)],
            },
        }
    }
    root = etree.fromstring(f'<Document xmlns="{NAMESPACE}"/>')
    _grow(root, tree)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _account(entity: Entity) -> Tree:
    kind: Tree = {"Othr": {"Id": entity.account}}
    if entity.account.startswith(entity.code[:2]):
        kind = {"IBAN": entity.account}
    owner: Tree = {"Nm": entity.name, "Id": {"OrgId": {"Othr": {"Id": entity.code}}}}
    bank: Tree = {"FinInstnId": {"BICFI": entity.bic}}
    return {"Id": kind, "Ccy": entity.currency, "Ownr": owner, "Svcr": bank}


def _money(entity: Entity, minor: int) -> Tree:
    return {"@Ccy": entity.currency, "#text": entity.text(abs(minor))}


def _sign(minor: int) -> str:
    return "DBIT" if minor < 0 else "CRDT"


def _balance(entity: Entity, day: date, code: str, minor: int) -> Tree:
    return {
        "Tp": {"CdOrPrtry": {"Cd": code}},
        "Amt": _money(entity, minor),
        "CdtDbtInd": _sign(minor),
        "Dt": {"Dt": day.isoformat()},
    }


def _summary(entity: Entity, booked: Sequence[Booking]) -> Tree:
    credits_ = [b.amount for b in booked if b.amount > 0]
    debits = [-b.amount for b in booked if b.amount < 0]
    net = sum(credits_) - sum(debits)
    return {
        "TtlNtries": {
            "NbOfNtries": str(len(booked)),
            "Sum": entity.text(sum(credits_) + sum(debits)),
            "TtlNetNtry": {"Amt": entity.text(abs(net)), "CdtDbtInd": _sign(net)},
        },
        "TtlCdtNtries": {"NbOfNtries": str(len(credits_)), "Sum": entity.text(sum(credits_))},
        "TtlDbtNtries": {"NbOfNtries": str(len(debits)), "Sum": entity.text(sum(debits))},
    }


def _entry(number: int, booking: Booking) -> Tree:
    family, sub_family = booking.family
    domain: Tree = {"Cd": "PMNT", "Fmly": {"Cd": family, "SubFmlyCd": sub_family}}
    return {
        "NtryRef": str(number),
        "Amt": _money(booking.entity, booking.amount),
        "CdtDbtInd": _sign(booking.amount),
        "Sts": {"Cd": "BOOK"},
        "BookgDt": {"DtTm": booking.at.isoformat()},
        "ValDt": {"Dt": booking.at.date().isoformat()},
        "AcctSvcrRef": f"{booking.entity.bic[4:6]}{booking.at:%y%m%d}{number:06d}",
        "BkTxCd": {"Domn": domain},
        "NtryDtls": {"TxDtls": _details(booking)},
        "AddtlNtryInf": booking.text,
    }


def _details(booking: Booking) -> Tree:
    if is_housekeeping(booking):
        return {"Refs": {"EndToEndId": NOT_PROVIDED}}
    reason: Tree = {"Rsn": {"Cd": RETURN_REASON}, "AddtlInf": "Account closed"}
    return {
        "Refs": dict(booking.refs),
        "Amt": _money(booking.entity, booking.amount),
        "CdtDbtInd": _sign(booking.amount),
        "RltdPties": {"Cdtr": {"Pty": {"Nm": booking.creditor}}},
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
