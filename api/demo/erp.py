"""The ERP's side: documents as a flattened table extract, and the interface's messages.

Extracted with the output format of a German user: amounts with a decimal comma. Times are those of
the one application server, in Berlin, for both company codes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from api.demo.company import BERLIN, ENTITIES, Claim, Company, Entity, Payment

INVOICE, PAYMENT = "KR", "KZ"
_FIRST_NUMBER = {INVOICE: 1_900_000_001, PAYMENT: 2_000_000_001}
_FIRST_MESSAGE = 4_711_001
_MESSAGE_AHEAD_S = 20
_REGULAR_RUN_WEEKDAYS = (1, 4)

_DOCUMENT_COLUMNS = (
    "MANDT BUKRS BELNR GJAHR BLART BLDAT BUDAT MONAT CPUDT CPUTM USNAM TCODE XBLNR BKTXT WAERS "
    "STBLG STJAH STGRD XREVERSAL AWTYP AWKEY BSTAT KOART LIFNR SHKZG WRBTR KOSTL AUGDT AUGBL "
    "ZLSPR LAUFD LAUFI"
)
DOCUMENT_COLUMNS = _DOCUMENT_COLUMNS.split()
_MESSAGE_COLUMNS = (
    "MANDT DOCNUM LOGDAT LOGTIM COUNTR "  # codespell:ignore countr -- SAP's name
    "STATUS STATXT STAMID STAMNO MESTYP SNDPRN BUKRS ARCKEY"
)
MESSAGE_COLUMNS = _MESSAGE_COLUMNS.split()


@dataclass(frozen=True)
class Entry:
    """One ERP document: a posting, the reversal of one, or a payment."""

    claim: Claim
    kind: str
    at: datetime
    number: str = ""
    posting: int = -1  # index in the claim's postings; -1 for a payment
    is_reversal: bool = False

    @property
    def entity(self) -> Entity:
        """The company code that the document stands in."""
        return self.claim.entity

    @property
    def key(self) -> tuple[str, int, bool]:
        """What finds an entry's counterpart."""
        return (self.claim.report_id, self.posting, self.is_reversal)


Books = Mapping[tuple[str, int, bool], Entry]


def book(company: Company) -> Books:
    """Number all documents in the order of their entry, per company code and kind."""
    books: dict[tuple[str, int, bool], Entry] = {}
    for entity in ENTITIES:
        serials = {kind: count(first) for kind, first in _FIRST_NUMBER.items()}
        drafts = [e for c in company.claims if c.entity is entity for e in _drafts(c)]
        for e in sorted(drafts, key=lambda e: (e.at, e.claim.report_id)):
            number = str(next(serials[e.kind]))
            books[e.key] = Entry(e.claim, e.kind, e.at, number, e.posting, e.is_reversal)
    return books


def _drafts(claim: Claim) -> Iterator[Entry]:
    for index, posting in enumerate(claim.timeline.postings):
        yield Entry(claim, INVOICE, posting.at, posting=index)
        if posting.reversed_at:
            yield Entry(claim, INVOICE, posting.reversed_at, posting=index, is_reversal=True)
    if claim.timeline.payment:
        yield Entry(claim, PAYMENT, claim.timeline.payment.run_at)


def payment_number(books: Books, claim: Claim) -> str:
    """Return the number of the claim's payment document, as the payment medium carries it."""
    entry = books[claim.report_id, -1, False]
    return f"{entry.entity.code}-{entry.number}-{entry.at.year}"


def run_name(payment: Payment) -> str:
    """Return the identification of a payment run: the regular ones, and extra ones."""
    regular = payment.run_at.weekday() in _REGULAR_RUN_WEEKDAYS
    return "EXP1" if regular else "EXP9"


def documents(books: Books) -> list[dict[str, str]]:
    """Show every document as one row, in order of entry."""
    ordered = sorted(books.values(), key=lambda e: (e.at, e.entity.code, e.kind, e.number))
    return [_row(books, e) for e in ordered]


def _row(books: Books, entry: Entry) -> dict[str, str]:
    claim, entity = entry.claim, entry.entity
    system_time = entry.at.astimezone(BERLIN)
    day = f"{entry.at:%Y%m%d}"
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
        "XBLNR": claim.report_id,
        "BKTXT": f"Expenses {claim.purpose}",
        "WAERS": entity.currency,
        "AWTYP": "BKPFF",
        "AWKEY": f"{entry.number}{entity.code}{entry.at:%Y}",
        "KOART": "K",
        "LIFNR": claim.owner.employee_id,
        "SHKZG": "S" if entry.is_reversal or entry.kind == PAYMENT else "H",
        "WRBTR": entity.text(claim.payable, ","),
        **(_paid(claim) if entry.kind == PAYMENT else _posted(books, entry)),
    }


def _paid(claim: Claim) -> dict[str, str]:
    payment = claim.timeline.payment
    if payment is None:
        raise ValueError(f"{claim.report_id} has no payment")
    run = f"{payment.run_at:%Y%m%d}"
    return {"USNAM": "F110BATCH", "TCODE": "F110", "LAUFD": run, "LAUFI": run_name(payment)}


def _posted(books: Books, entry: Entry) -> dict[str, str]:
    """Give a posting or its reversal: each names the other, as the ERP does."""
    claim = entry.claim
    by_hand = claim.timeline.postings[entry.posting].by_hand
    cells = {
        "USNAM": "KREDITOR02" if by_hand or entry.is_reversal else "IF_EXPENSE",
        "TCODE": "FB08" if entry.is_reversal else "FB60" if by_hand else "",
        "KOSTL": claim.cost_centre,
    }
    other = books.get((claim.report_id, entry.posting, not entry.is_reversal))
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
    """One message of the interface: a posting, or a refused attempt."""

    claim: Claim
    at: datetime
    refusal: str = ""


def messages(company: Company) -> list[dict[str, str]]:
    """Show every message with its states: handed over (64), then posted (53) or refused (51)."""
    sent = [
        *(_Sent(c, p.at) for c in company.claims for p in c.timeline.postings if not p.by_hand),
        *(_Sent(c, r.at, r.message) for c in company.claims for r in c.timeline.refusals),
    ]
    sent.sort(key=lambda s: (s.at, s.claim.report_id))
    return [row for n, s in enumerate(sent, start=_FIRST_MESSAGE) for row in _states(n, s)]


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
