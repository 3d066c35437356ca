"""The ERP's side: documents as a flattened table extract, the interface's messages, cost centres.

Extracted with the output format of a German user: amounts with a decimal comma. Times are those of
the one application server, in Berlin, for all company codes. Fields have SAP's lengths: the reference
field XBLNR holds 16 of a report id's 20 characters, so the header text BKTXT carries it whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count

from api.demo.company import BERLIN, ENTITIES, Account, Claim, Company, CostCentre, Entity, Payment

INVOICE, PAYMENT = "KR", "KZ"
_FIRST_NUMBER = {INVOICE: 1_900_000_001, PAYMENT: 2_000_000_001}
_FIRST_MESSAGE = 4_711_001
_MESSAGE_AHEAD_S = 20
_XBLNR, _BKTXT, _SGTXT, _KTEXT = 16, 25, 50, 20
"""The lengths of these fields."""

_DOCUMENT_COLUMNS = (
    "MANDT BUKRS BELNR GJAHR BLART BLDAT BUDAT MONAT CPUDT CPUTM USNAM TCODE XBLNR BKTXT WAERS "
    "STBLG STJAH STGRD XREVERSAL AWTYP AWKEY GRPID BSTAT XREF1_HD XREF2_HD KOART LIFNR SHKZG WRBTR ZUONR SGTXT KOSTL "
    "AUGDT AUGBL ZLSPR LAUFD LAUFI"
)
DOCUMENT_COLUMNS = _DOCUMENT_COLUMNS.split()
_MESSAGE_COLUMNS = (
    "MANDT DOCNUM LOGDAT LOGTIM COUNTR "  # codespell:ignore countr -- SAP's name
    "STATUS STATXT STAMID STAMNO MESTYP SNDPRN BUKRS ARCKEY"
)
MESSAGE_COLUMNS = _MESSAGE_COLUMNS.split()
COST_CENTRE_COLUMNS = [
    "MANDT",
    "KOKRS",
    "BUKRS",
    "KOSTL",
    "DATAB",
    "KTEXT",
    "STATUS",
    "AEDAT",
    "AETIM",
]


@dataclass(frozen=True)
class Entry:
    """One ERP document: a posting, the reversal of one, or a payment."""

    claim: Claim
    kind: str
    at: datetime
    number: str = ""
    index: int = 0  # in the claim's postings; of its payments -1, -2 …
    is_reversal: bool = False

    @property
    def entity(self) -> Entity:
        """The company code that the document stands in."""
        return self.claim.entity

    @property
    def account(self) -> Account:
        """The account, and so the currency, that it is about."""
        return self.claim.account

    @property
    def currency(self) -> str:
        """The currency that it stands in."""
        is_other = self.index >= 0 and self.claim.timeline.postings[self.index].in_other_currency
        return self.account.other if is_other else self.account.currency

    @property
    def amount(self) -> int:
        """What it is about, in minor units."""
        deeds = self.claim.timeline
        deed = deeds.payments[-self.index - 1] if self.index < 0 else deeds.postings[self.index]
        return self.claim.payable if deed.amount is None else deed.amount

    @property
    def key(self) -> tuple[str, int, bool]:
        """What finds an entry's counterpart."""
        return (self.claim.report_id, self.index, self.is_reversal)


Books = Mapping[tuple[str, int, bool], Entry]


def book(company: Company) -> Books:
    """Number all documents in the order of their entry, per company code and kind."""
    books: dict[tuple[str, int, bool], Entry] = {}
    for entity in ENTITIES:
        serials = {kind: count(first) for kind, first in _FIRST_NUMBER.items()}
        drafts = [e for c in company.claims if c.entity is entity for e in _drafts(c)]
        for e in sorted(drafts, key=lambda e: (e.at, e.claim.report_id)):
            number = str(next(serials[e.kind]))
            books[e.key] = replace(e, number=number)
    return books


def _drafts(claim: Claim) -> Iterator[Entry]:
    for index, posting in enumerate(claim.timeline.postings):
        yield Entry(claim, INVOICE, posting.at, index=index)
        if posting.reversed_at:
            yield Entry(claim, INVOICE, posting.reversed_at, index=index, is_reversal=True)
    for n, payment in enumerate(claim.timeline.payments, start=1):
        yield Entry(claim, PAYMENT, payment.run_at, index=-n)


def payment_number(entry: Entry) -> str:
    """Return the number of a payment document, as the payment medium carries it."""
    return f"{entry.entity.code}-{entry.number}-{entry.at.year}"


def run_name(entity: Entity, payment: Payment) -> str:
    """Return the identification of a payment run: the regular ones, and extra ones."""
    return "EXP1" if payment.run_at.weekday() in entity.pays_on else "EXP9"


def documents(books: Books, sent: "Messages") -> list[dict[str, str]]:
    """Show every document as one row, in order of entry."""
    ordered = sorted(books.values(), key=lambda e: (e.at, e.entity.code, e.kind, e.number))
    return [_row(books, sent, e) for e in ordered]


def _row(books: Books, sent: "Messages", entry: Entry) -> dict[str, str]:
    claim, entity = entry.claim, entry.entity
    system_time = entry.at.astimezone(BERLIN)
    day = f"{entry.at:%Y%m%d}"
    source = "" if claim.kind == "no_source" else claim.report_id
    return dict.fromkeys(DOCUMENT_COLUMNS, "") | {
        "MANDT": "100",
        "BUKRS": entity.code,
        "BELNR": entry.number,
        "GJAHR": f"{entry.at:%Y}",
        "BLART": entry.kind,
        "BLDAT": day,
        "BUDAT": day,
        "MONAT": f"{entry.at:%m}",
        "CPUDT": f"{system_time:%Y%m%d}",
        "CPUTM": f"{system_time:%H%M%S}",
        "XBLNR": source[:_XBLNR],
        "BKTXT": source[:_BKTXT],
        "WAERS": entry.currency,
        "AWTYP": "BKPFF",
        "AWKEY": f"{entry.number}{entity.code}{entry.at:%Y}",
        "KOART": "K",
        "LIFNR": claim.owner.employee_id,
        "SHKZG": "S" if entry.is_reversal or entry.kind == PAYMENT else "H",
        "WRBTR": entry.account.text(entry.amount, ","),
        "SGTXT": f"Expenses {claim.purpose}"[:_SGTXT],
        **(_paid(entry) if entry.kind == PAYMENT else _posted(books, sent, entry)),
    }


def _paid(entry: Entry) -> dict[str, str]:
    payment = entry.claim.timeline.payments[-entry.index - 1]
    run = {"LAUFD": f"{payment.run_at:%Y%m%d}", "LAUFI": run_name(entry.entity, payment)}
    return {"USNAM": "F110BATCH", "TCODE": "F110", "XREF2_HD": payment.combined, **run}


def _posted(books: Books, sent: "Messages", entry: Entry) -> dict[str, str]:
    """Give a posting or its reversal: each names the other, as the ERP does."""
    claim = entry.claim
    posting = claim.timeline.postings[entry.index]
    by_person = posting.by_hand or entry.is_reversal
    cells = {
        "USNAM": "KREDITOR02" if by_person else "IF_EXPENSE",
        "TCODE": "FB08" if entry.is_reversal else "FB60" if posting.by_hand else "",
        "GRPID": "" if by_person else "EXPENSES",
        "BSTAT": "V" if posting.is_parked else "",
        "ZLSPR": "A" if posting.is_blocked else "",
        "KOSTL": claim.cost_centre,
        "ZUONR": posting.allocation,
        "XREF1_HD": "" if entry.is_reversal else sent.number_of(claim, entry.index),
    }
    other = books.get((claim.report_id, entry.index, not entry.is_reversal))
    if other:
        cells |= {"STBLG": other.number, "STJAH": f"{other.at:%Y}"}
        cells |= {"XREVERSAL": "2" if entry.is_reversal else "1"}
        cells |= {"STGRD": "01"}
        clearing: Entry | None = max(entry, other, key=lambda e: e.at)
    else:
        clearing = books.get((claim.report_id, -1, False))
    if clearing:
        cells |= {"AUGBL": clearing.number, "AUGDT": f"{clearing.at:%Y%m%d}"}
    return cells


@dataclass(frozen=True)
class _Sent:
    """One message of the interface: a posting, or a refused attempt; `index` of the posting."""

    claim: Claim
    at: datetime
    index: int = -1
    refusal: str = ""


class Messages:
    """All messages of the interface, numbered in the order of their time."""

    def __init__(self, company: Company) -> None:
        sent = [m for claim in company.claims if claim.is_claim for m in _messages(claim)]
        sent.sort(key=lambda s: (s.at, s.claim.report_id, s.index))
        self._sent = dict(enumerate(sent, start=_FIRST_MESSAGE))
        self._numbers = {(s.claim.report_id, s.index): n for n, s in self._sent.items()}

    def number_of(self, claim: Claim, posting: int) -> str:
        """Return the number of the message that a posting came from; empty where it came from none."""
        if claim.is_claim and claim.timeline.postings[posting].replayed:
            posting -= 1
        number = self._numbers.get((claim.report_id, posting))
        return "" if number is None else f"{number:016d}"

    def rows(self) -> list[dict[str, str]]:
        """Show every message with its states: handed over (64), then posted (53) or refused (51)."""
        return [row for n, s in self._sent.items() for row in _states(n, s)]


def _messages(claim: Claim) -> Iterator[_Sent]:
    for index, posting in enumerate(claim.timeline.postings):
        if not posting.by_hand and not posting.replayed:
            yield _Sent(claim, posting.at, index)
    for refusal in claim.timeline.refusals:
        yield _Sent(claim, refusal.at, refusal=refusal.message)


def cost_centres(centres: Sequence[CostCentre]) -> list[dict[str, str]]:
    """Show every change of a cost centre as one row, in the order of entry."""
    rows = []
    for centre in centres:
        for value in centre.owned:
            at = value.at.astimezone(BERLIN)
            cells = {
                "MANDT": "100",
                "KOKRS": "1000",
                "BUKRS": centre.entity.code,
                "KOSTL": f"{centre.code:0>10}",
                "DATAB": "" if value.valid_from is None else f"{value.valid_from:%Y%m%d}",
                "KTEXT": value.name[:_KTEXT],
                "STATUS": "open" if value.is_open else "closed",
                "AEDAT": f"{at:%Y%m%d}",
                "AETIM": f"{at:%H%M%S}",
            }
            rows.append(cells)
    return sorted(rows, key=lambda row: (row["AEDAT"], row["AETIM"], row["KOSTL"]))


def _states(number: int, sent: _Sent) -> Sequence[dict[str, str]]:
    common = {
        "MANDT": "100",
        "DOCNUM": f"{number:016d}",
        "MESTYP": "ACC_EMPLOYEE_EXP",
        "SNDPRN": "EXPENSE",
        "BUKRS": sent.claim.entity.code,
        "ARCKEY": sent.claim.report_id,
    }
    system_time = sent.at.astimezone(BERLIN)
    outcome = ("51", sent.refusal) if sent.refusal else ("53", "Application document posted")
    handed_over = ("64", "IDoc ready to be transferred to application")
    rows = []
    for counter, (status, text) in enumerate((handed_over, outcome), start=1):
        at = system_time.timestamp() - (_MESSAGE_AHEAD_S if counter == 1 else 0)
        logged = datetime.fromtimestamp(at, BERLIN)
        code = {"STAMID": "KI", "STAMNO": "248"} if status == "51" else {}
        state = {
            "LOGDAT": f"{logged:%Y%m%d}",
            "LOGTIM": f"{logged:%H%M%S}",
            "COUNTR": f"{counter:03d}",  # codespell:ignore countr -- SAP's name
            "STATUS": status,
            "STATXT": text,
        }
        rows.append(dict.fromkeys(MESSAGE_COLUMNS, "") | common | state | code)
    return rows
