"""The truth once more, from the written files and the controls' wording alone.

Nothing of the generator is used here: each report's story is put together from what the systems
show, and judged by a plain reading of the controls.
"""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from lxml import etree
from typing_extensions import override

T = datetime.fromisoformat("2026-11-05T08:00:00+01:00")
UNDOES = {"SENDBACK", "REJECT", "RECALL", "RESUBMIT"}
UNSENDS = {"SENDBACK", "RECALL", "REJECT"}
CAMT = {"c": "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"}
DETAILS = "c:NtryDtls/c:TxDtls"
DECIMALS = {
    "EUR": 2,
    "JPY": 0,
    "KWD": 3,
    "USD": 2,
    "BHD": 3,
    "KRW": 0,
}  # ISO 4217; the last two by mistake
WEEKENDS = {"DE10": {5, 6}, "JP10": {5, 6}, "KW10": {4, 5}}


@dataclass
class Posted:
    """A document in the ledger."""

    number: str
    entity: str
    at: datetime
    amount: Decimal
    by_interface: bool
    message: str
    allocation: str
    currency: str
    is_blocked: bool
    reversed_at: datetime | None = None


@dataclass
class Paid:
    amount: Decimal
    settled_at: datetime
    returned_reason: str = ""


@dataclass
class Case:
    """What the five systems show of one report."""

    report_id: str
    entity: str = ""
    currency: str = ""
    payable: Decimal = Decimal(0)
    advanced: Decimal = Decimal(0)
    project: str = ""
    actions: list[tuple[datetime, str]] = field(default_factory=list)
    posted: dict[str, Posted] = field(default_factory=dict)
    parked: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    sent: list[tuple[datetime, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    shown: list[tuple[datetime, str, str]] = field(default_factory=list)
    instructed: list[str] = field(default_factory=list)
    told: dict[str, list[tuple[Decimal, str]]] = field(default_factory=lambda: defaultdict(list))
    paid: dict[str, Paid] = field(default_factory=dict)
    instants: list[datetime] = field(default_factory=list)

    @property
    def final(self) -> datetime | None:
        return self.final_before(T)

    def final_before(self, instant: datetime) -> datetime | None:
        """The effective final approval as it stood at `instant`."""
        final = None
        for at, step in self.actions:
            if at <= instant and step == "EXRTREADY":
                final = at
            elif at <= instant and step in UNDOES:
                final = None
        return final

    @property
    def standing(self) -> list[Posted]:
        return [p for p in self.posted.values() if p.reversed_at is None]

    @property
    def net_paid(self) -> Decimal:
        return sum((p.amount for p in self.paid.values() if not p.returned_reason), Decimal(0))


def rows(path: Path, delimiter: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def changes(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted((folder / "expense").glob("reports-*.json")):
        found += json.loads(path.read_text("utf-8"))["events"]
    return found


def statements(folder: Path) -> list[etree._Element]:
    paths = sorted((folder / "bank").glob("*.xml"))
    return [found for p in paths for found in etree.parse(str(p)).getroot().iter("{*}Stmt")]


def read(folder: Path) -> dict[str, Case]:
    cases = _Cases()
    _read_expense(folder, cases)
    _read_erp(folder, cases)
    _read_bank(folder, cases)
    return dict(cases)


class _Cases(defaultdict[str, Case]):
    """Cases by report id; and who is paid how much in each payment run and transfer, as the ledger says."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, list[tuple[Case, str, Decimal]]] = defaultdict(list)
        self.transfers: dict[str, list[tuple[Case, str, Decimal]]] = defaultdict(list)

    @override
    def __missing__(self, report_id: str) -> Case:
        self[report_id] = Case(report_id)
        return self[report_id]


def _read_expense(folder: Path, cases: _Cases) -> None:
    for record in changes(folder):
        case, report = cases[record["facts"]["reportId"]], record["report"]
        at = datetime.fromisoformat(record["timeStamp"])
        case.entity = report["companyCode"]
        case.currency = report["amountDueEmployee"]["currencyCode"]
        case.payable = Decimal(report["amountDueEmployee"]["value"])
        case.advanced = Decimal(report["offsetByCashAdvance"]["value"])
        case.project = report["project"]
        case.actions.append((at, record["facts"]["stepCode"]))
        case.instants.append(at)
    for case in cases.values():
        case.actions.sort()
    for record in document(folder, "confirmations"):
        case, at = cases[record["reportId"]], datetime.fromisoformat(record["confirmedAt"])
        told = (at, record["documentNumber"], record["overallPostingStatusCode"])
        case.shown.append(told)
        case.instants.append(at)
    for record in document(folder, "payments"):
        case, money = cases[record["reportId"]], record["paymentAmount"]
        assert money["currencyCode"] == case.currency
        case.told[record["paymentNumber"]].append(
            (Decimal(money["value"]), record["paymentStatusCode"])
        )
        case.instants.append(datetime.fromisoformat(record["confirmedAt"]))
    for log in json.loads((folder / "middleware/logs.json").read_text("utf-8")):
        if log["report_id"]:
            ended = datetime.fromisoformat(log["ended_at"])
            cases[log["report_id"]].sent.append((ended, log["status"]))


def document(folder: Path, name: str) -> list[dict[str, Any]]:
    """The records of one of the platform's other files."""
    path = {"items": "cost-centres.json"}.get(name, f"{name}.json")
    whole = json.loads((folder / "expense" / path).read_text("utf-8"))
    assert whole["count"] == len(whole[name])
    found: list[dict[str, Any]] = whole[name]
    return found


def berlin(day: str, clock: str) -> datetime:
    """A time of the server, which stands still in the first of two hours that bear one name."""
    local = datetime.fromisoformat(f"{day}T{clock}")
    return local.replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=1)


def _read_erp(folder: Path, cases: _Cases) -> None:
    for row in rows(folder / "erp/bkpf.csv", ";"):
        name = f"{row['BUKRS']}/{row['GJAHR']}/{row['BELNR']}"
        case, at = cases[row["BKTXT"] or name], berlin(row["CPUDT"], row["CPUTM"])
        case.instants.append(at)
        amount = Decimal(row["WRBTR"].replace(",", "."))
        if row["BLART"] == "KZ":
            number = f"{row['BUKRS']}-{row['BELNR']}-{row['GJAHR']}"
            case.instructed.append(number)
            run = f"{row['BUKRS']}-{row['LAUFD']}-{row['LAUFI']}"
            cases.runs[run].append((case, number, amount))
            if row["XREF2_HD"]:
                cases.transfers[row["XREF2_HD"]].append((case, number, amount))
        elif row["BSTAT"] == "V":
            case.parked.append(name)
        elif row["SHKZG"] == "S":
            case.posted[f"{row['BUKRS']}/{row['STJAH']}/{row['STBLG']}"].reversed_at = at
        else:
            case.posted[name] = Posted(
                row["BELNR"],
                row["BUKRS"],
                at,
                amount,
                row["GRPID"] == "EXPENSES",
                row["XREF1_HD"],
                row["ZUONR"],
                row["WAERS"],
                bool(row["ZLSPR"]),
            )
    for row in rows(folder / "erp/interface.csv", ";"):
        case = cases[row["ARCKEY"]]
        case.instants.append(berlin(row["LOGDAT"], row["LOGTIM"]))
        case.messages.append(row["DOCNUM"])
        if row["STATUS"] == "51":
            case.refusals.append(row["STATXT"])


def _read_bank(folder: Path, cases: _Cases) -> None:
    returns = {}
    for statement in statements(folder):
        for entry in statement.iterfind("c:Ntry", CAMT):
            at = datetime.fromisoformat(text(entry, "c:BookgDt/c:DtTm"))
            _read_sum(entry, at, cases)
            for paid in payments(entry):
                if _is_of_several(paid, at, cases):
                    continue
                report_id, number = (
                    text(paid, f"c:Refs/c:{name}") for name in ("EndToEndId", "InstrId")
                )
                case = cases[report_id]
                case.instants.append(at)
                reason = paid.findtext("c:RtrInf/c:Rsn/c:Cd", None, CAMT)
                if reason:
                    returns[report_id, number] = reason
                else:
                    case.paid[number] = Paid(Decimal(text(paid, "c:Amt")), at)
    for (report_id, number), reason in returns.items():
        cases[report_id].paid[number].returned_reason = reason


def payments(entry: etree._Element) -> list[etree._Element]:
    """The payments that the bank lists in an entry."""
    return [t for t in entry.findall(DETAILS, CAMT) if t.find("c:Refs/c:InstrId", CAMT) is not None]


def _read_sum(entry: etree._Element, at: datetime, cases: _Cases) -> None:
    """Take the payments of a run that are not listed as paid, if their sum is the ledger's."""
    run = entry.findtext("c:NtryDtls/c:Btch/c:PmtInfId", None, CAMT)
    if run and not payments(entry):
        ordered = cases.runs[run]
        assert int(text(entry, "c:NtryDtls/c:Btch/c:NbOfTxs")) == len(ordered)
        assert Decimal(text(entry, "c:Amt")) == sum(amount for *_, amount in ordered)
        for case, number, amount in ordered:
            case.paid[number] = Paid(amount, at)


def _is_of_several(paid: etree._Element, at: datetime, cases: _Cases) -> bool:
    """Whether it is a transfer of several claims: then these are paid."""
    if not is_combined(paid):
        return False
    ordered = cases.transfers[text(paid, "c:Refs/c:InstrId")]
    assert len(ordered) > 1
    for case, number, amount in ordered:
        case.paid[number] = Paid(amount, at)
    return True


def is_combined(paid: etree._Element) -> bool:
    return paid.findtext("c:Purp/c:Prtry", None, CAMT) == "COMBINED"


def text(element: etree._Element, path: str) -> str:
    found = element.findtext(path, None, CAMT)
    assert found is not None, path
    return found


def lost(folder: Path) -> dict[tuple[str, str], int]:
    """How many entries fewer than it counts each statement holds, by entity and day, where it does."""
    short: dict[tuple[str, str], int] = {}
    for statement in statements(folder):
        stated = int(text(statement, "c:TxsSummry/c:TtlNtries/c:NbOfNtries"))
        missing = stated - len(statement.findall("c:Ntry", CAMT))
        if missing:
            entity = text(statement, "c:Acct/c:Ownr/c:Id/c:OrgId/c:Othr/c:Id")
            day = text(statement, "c:FrToDt/c:FrDtTm")[:10]
            short[entity, day] = short.get((entity, day), 0) + missing
    return short


def short_transfers(folder: Path) -> dict[tuple[str, str], str]:
    """What `amount_differs` says of transfers that pay several claims, by entity and name."""
    paid: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows(folder / "erp/bkpf.csv", ";"):
        if row["BLART"] == "KZ" and row["XREF2_HD"]:
            paid[row["XREF2_HD"]] += Decimal(row["WRBTR"].replace(",", "."))
    said = {}
    for statement in statements(folder):
        entity = text(statement, "c:Acct/c:Ownr/c:Id/c:OrgId/c:Othr/c:Id")
        for transfer in filter(is_combined, statement.iterfind(f"c:Ntry/{DETAILS}", CAMT)):
            name = text(transfer, "c:Refs/c:InstrId")
            if Decimal(text(transfer, "c:Amt")) != paid.pop(name):
                said[entity, name] = "AMOUNT"
    assert not paid, "the bank books every transfer"
    return said


class Rules:
    """The controls over claims and documents, read from their definition; deadlines and calendars from the files."""

    def __init__(self, folder: Path) -> None:
        self.settings = yaml.safe_load((folder / "tieout.yaml").read_text("utf-8"))
        flow = yaml.safe_load((folder / self.settings["flows"][0]).read_text("utf-8"))
        self.days = {s["name"]: int(s["due"].split()[0]) for s in flow["steps"] if "due" in s}
        self.blind = {entity for entity, _ in lost(folder)}

    def due(self, entity: str, basis: datetime, n: int) -> datetime:
        calendar = self.settings["calendars"][self.settings["entities"][entity]["calendar"]]
        zone, holidays = ZoneInfo(calendar["timezone"]), set(calendar.get("holidays", []))
        closes = time.fromisoformat(calendar["closes"])
        local = basis.astimezone(zone)
        start = local.date() + timedelta(local.time() > closes)
        span = [start + timedelta(i) for i in range(1, 60)]
        off = WEEKENDS[entity]
        day: date = [d for d in span if d.weekday() not in off and d not in holidays][n - 1]
        return datetime.combine(day, closes, zone)

    def judge(self, case: Case) -> dict[str, dict[str, str]]:
        """Return what each control says of the claim, or of its documents: by control, then number.

        OK, PENDING, EXCLUDED, UNEVALUABLE or its reason.
        """
        claim = {
            "approved_not_posted": self.approved_not_posted(case),
            "approved_not_paid": self.approved_not_paid(case),
            "stuck_transaction": self.stuck_transaction(case),
            "amount_differs": self.amount_differs(case),
            "approval_missing": self.approval_missing(case),
        }
        said = {control: {case.report_id: verdict} for control, verdict in claim.items() if verdict}
        said["duplicate_posting"] = self.duplicate_posting(case)
        said["status_not_returned"] = self.status_not_returned(case)
        said["payment_not_returned"] = self.payment_not_returned(case)
        said["posted_not_approved"] = self.posted_not_approved(case)
        return said

    def approved_not_posted(self, case: Case) -> str:
        if case.final is None:
            return ""
        if case.payable == 0:
            return "EXCLUDED"
        if case.standing:
            return "OK"
        if self.due(case.entity, case.final, self.days["posted"]) >= T:
            return "PENDING"
        return self._why_not_posted(case)

    def _why_not_posted(self, case: Case) -> str:
        if case.refusals:
            return "REFUSED_BY_ERP"
        if case.parked:
            return "PARKED"
        if case.posted:
            return "REVERSED_NOT_REPOSTED"
        if not case.sent:
            return "NEVER_SENT"
        return "SEND_FAILED" if case.sent[-1][1] == "FAILED" else "NO_DOCUMENT"

    def approved_not_paid(self, case: Case) -> str:
        if case.final is None:
            return ""
        if case.payable == 0 or case.advanced:
            return "EXCLUDED"
        if case.net_paid >= case.payable:
            return "OK"
        if self.due(case.entity, case.final, self.days["paid"]) >= T:
            return "PENDING"
        return "UNEVALUABLE" if case.entity in self.blind else self._why_not_paid(case)

    def _why_not_paid(self, case: Case) -> str:
        if case.net_paid:
            return "PARTLY_PAID"
        if any(p.returned_reason for p in case.paid.values()):
            return "RETURNED"
        if any(p.is_blocked for p in case.standing):
            return "BLOCKED"
        return "NOT_IN_RUN" if case.standing else "NOT_POSTED"

    def stuck_transaction(self, case: Case) -> str:
        if not case.actions:
            return ""
        failed = [at for at, status in case.sent if status == "FAILED"]
        if len(failed) >= 5 and failed[-1] - failed[-5] <= timedelta(hours=24):
            return "RETRY_LOOP"
        last_step = case.actions[-1][1]
        if case.final or last_step in UNSENDS or case.posted:
            return ""
        if sum(step in UNDOES for _, step in case.actions) >= 3:
            return "PING_PONG"
        submitted = max(at for at, step in case.actions if step in {"SUBMIT", "RESUBMIT"})
        in_time = self.due(case.entity, submitted, self.days["approved"]) >= T
        return "PENDING" if in_time else "WAITING_FOR_PERSON"

    def amount_differs(self, case: Case) -> str:
        posted = sum((p.amount for p in case.standing), Decimal(0))
        once = {p.amount for p in case.standing if not p.allocation}
        if case.final and case.standing and {p.currency for p in case.standing} != {case.currency}:
            return "CURRENCY"
        if case.final and case.standing and posted != case.payable:
            if once == {case.payable}:
                return "EXCLUDED"
            return "SCALE" if posted in {10 * case.payable, 100 * case.payable} else "AMOUNT"
        if case.standing and case.net_paid and case.net_paid < posted:
            return "PARTLY_OVERDUE"
        if case.standing and case.net_paid > posted:
            return "AMOUNT"
        return "OK" if case.standing else ""

    def duplicate_posting(self, case: Case) -> dict[str, str]:
        """Each posting after the first of its allocation that stood together with it at a month's end."""
        said: dict[str, str] = {}
        first: dict[str, Posted] = {}
        for p in sorted(case.posted.values(), key=lambda p: p.at):
            month = (p.at.year, p.at.month)
            if p.reversed_at and (p.reversed_at.year, p.reversed_at.month) == month:
                continue
            before = first.setdefault(p.allocation, p)
            gone = before.reversed_at
            if before is p or (gone and (gone.year, gone.month) <= month):
                said[p.number] = "OK"
            elif p.reversed_at:
                said[p.number] = "REVERSED_IN_LATER_PERIOD"
            elif p.by_interface != before.by_interface:
                said[p.number] = "INTERFACE_AND_MANUAL"
            else:
                said[p.number] = "REPLAYED" if p.message == before.message else "RESENT"
        return said

    def status_not_returned(self, case: Case) -> dict[str, str]:
        said = {}
        for p in case.standing:
            own = [status for _, number, status in case.shown if number == p.number]
            others = [
                n for _, n, _ in case.shown if n not in {q.number for q in case.posted.values()}
            ]
            if "success" in own:
                said[p.number] = "OK"
            elif self.due(p.entity, p.at, self.days["confirmed"]) >= T:
                said[p.number] = "PENDING"
            elif own:
                said[p.number] = "STATUS_DIFFERS"
            else:
                said[p.number] = "NUMBER_DIFFERS" if others else "NOT_RETURNED"
        return said

    def payment_not_returned(self, case: Case) -> dict[str, str]:
        said = {}
        for number, p in case.paid.items():
            if p.returned_reason:
                continue
            due = self.due(case.entity, p.settled_at, self.days["returned"])
            otherwise = "PENDING" if due >= T else "NOT_RETURNED"
            said[number] = "OK" if case.told[number] == [(p.amount, "paid")] else otherwise
        return said

    def posted_not_approved(self, case: Case) -> dict[str, str]:
        said = {}
        for p in case.standing:
            if not p.by_interface:
                continue
            if case.final:
                said[p.number] = "OK"
            elif self.due(p.entity, p.at, 1) >= T:
                said[p.number] = "PENDING"
            elif case.actions:
                rejected = case.actions[-1][1] == "REJECT"
                said[p.number] = "SOURCE_REJECTED" if rejected else "SOURCE_NOT_APPROVED"
            else:
                said[p.number] = "NO_SOURCE" if "/" in case.report_id else "LINK_BROKEN"
        return said

    def approval_missing(self, case: Case) -> str:
        if not case.actions or not case.standing:
            return ""
        committed = min(p.at for p in case.standing)
        if case.final_before(committed):
            return "OK"
        if case.final and case.final > committed + timedelta(minutes=2):
            return "AFTER_COMMIT"
        was_approved = any(at <= committed and step == "EXRTREADY" for at, step in case.actions)
        return "REJECTED_AFTER" if was_approved else "NONE"
