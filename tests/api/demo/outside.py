"""The truth once more, from the written files and the controls' wording alone.

Nothing of the generator is used here: each report's story is put together from what the systems
show, and judged by a plain reading of the four controls.
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

T = datetime.fromisoformat("2026-02-05T08:00:00+01:00")
UNDOES = {"SENDBACK", "REJECT", "RECALL", "RESUBMIT"}
UNSENDS = {"SENDBACK", "RECALL", "REJECT"}
CAMT = {"c": "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"}


@dataclass
class Paid:
    amount: Decimal
    settled_at: datetime
    returned_reason: str = ""


@dataclass
class Case:
    """What the four systems show of one report."""

    report_id: str
    entity: str = ""
    currency: str = ""
    payable: Decimal = Decimal(0)
    actions: list[tuple[datetime, str]] = field(default_factory=list)
    posted: dict[str, datetime] = field(default_factory=dict)
    reversed: set[str] = field(default_factory=set)
    posted_amounts: list[Decimal] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    instructed: list[str] = field(default_factory=list)
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
    def is_posted(self) -> bool:
        return bool(set(self.posted) - self.reversed)

    @property
    def net_paid(self) -> Decimal:
        return sum((p.amount for p in self.paid.values() if not p.returned_reason), Decimal(0))


def rows(path: Path, delimiter: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def changes(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted((folder / "expense").glob("*.json")):
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
        case.actions.append((at, record["facts"]["stepCode"]))
        case.instants.append(at)
    for case in cases.values():
        case.actions.sort()


def _berlin(day: str, clock: str) -> datetime:
    return datetime.strptime(day + clock, "%Y%m%d%H%M%S").replace(tzinfo=ZoneInfo("Europe/Berlin"))


def _read_erp(folder: Path, cases: _Cases) -> None:
    for row in rows(folder / "erp/bkpf.csv", ";"):
        case, at = cases[row["XBLNR"]], _berlin(row["CPUDT"], row["CPUTM"])
        case.instants.append(at)
        name = f"{row['BUKRS']}/{row['GJAHR']}/{row['BELNR']}"
        if row["BLART"] == "KZ":
            case.instructed.append(f"{row['BUKRS']}-{row['BELNR']}-{row['GJAHR']}")
        elif row["SHKZG"] == "S":
            case.reversed.add(f"{row['BUKRS']}/{row['STJAH']}/{row['STBLG']}")
        else:
            case.posted[name] = at
            case.posted_amounts.append(Decimal(row["WRBTR"].replace(",", ".")))
    for row in rows(folder / "erp/interface.csv", ";"):
        case = cases[row["ARCKEY"]]
        case.instants.append(_berlin(row["LOGDAT"], row["LOGTIM"]))
        case.messages.append(row["DOCNUM"])
        if row["STATUS"] == "51":
            case.refusals.append(row["STATXT"])


def _read_bank(folder: Path, cases: _Cases) -> None:
    for statement in statements(folder):
        for entry in statement.iterfind("c:Ntry", CAMT):
            report_id = text(entry, "c:NtryDtls/c:TxDtls/c:Refs/c:EndToEndId")
            if report_id == "NOTPROVIDED":
                continue
            case, at = cases[report_id], datetime.fromisoformat(text(entry, "c:BookgDt/c:DtTm"))
            case.instants.append(at)
            number = text(entry, "c:NtryDtls/c:TxDtls/c:Refs/c:InstrId")
            reason = entry.findtext("c:NtryDtls/c:TxDtls/c:RtrInf/c:Rsn/c:Cd", None, CAMT)
            if reason:
                case.paid[number].returned_reason = reason
            else:
                case.paid[number] = Paid(Decimal(text(entry, "c:Amt")), at)


def text(element: etree._Element, path: str) -> str:
    found = element.findtext(path, None, CAMT)
    assert found is not None, path
    return found


class Rules:
    """The four controls, read from their definition; deadlines and calendars from the files."""

    def __init__(self, folder: Path) -> None:
        self.settings = yaml.safe_load((folder / "tieout.yaml").read_text("utf-8"))
        flow = yaml.safe_load((folder / self.settings["flows"][0]).read_text("utf-8"))
        self.days = {s["name"]: int(s["due"].split()[0]) for s in flow["steps"] if "due" in s}

    def due(self, entity: str, basis: datetime, n: int) -> datetime:
        calendar = self.settings["calendars"][self.settings["entities"][entity]["calendar"]]
        zone, holidays = ZoneInfo(calendar["timezone"]), set(calendar["holidays"])
        closes = time.fromisoformat(calendar["closes"])
        local = basis.astimezone(zone)
        start = local.date() + timedelta(local.time() > closes)
        span = [start + timedelta(i) for i in range(1, 60)]
        day: date = [d for d in span if d.weekday() < 5 and d not in holidays][n - 1]
        return datetime.combine(day, closes, zone)

    def judge(self, case: Case) -> dict[str, str]:
        """Return what each control says: OK, PENDING, EXCLUDED or its reason."""
        not_posted = self.approved_not_posted(case)
        owned = not_posted not in {"OK", "PENDING", "EXCLUDED", ""}
        said = {
            "approved_not_posted": not_posted,
            "approved_not_paid": "" if owned else self.approved_not_paid(case),
            "stuck_transaction": "" if owned else self.stuck_transaction(case),
            "approval_missing": self.approval_missing(case),
        }
        return {control: verdict for control, verdict in said.items() if verdict}

    def approved_not_posted(self, case: Case) -> str:
        if case.final is None:
            return ""
        if case.payable == 0:
            return "EXCLUDED"
        if case.is_posted:
            return "OK"
        if self.due(case.entity, case.final, self.days["posted"]) >= T:
            return "PENDING"
        return self._why_not_posted(case)

    def _why_not_posted(self, case: Case) -> str:
        if case.refusals:
            return "REFUSED_BY_ERP"
        if case.reversed:
            return "REVERSED_NOT_REPOSTED"
        return "NO_DOCUMENT" if case.messages else "NEVER_SENT"

    def approved_not_paid(self, case: Case) -> str:
        if case.final is None:
            return ""
        if case.payable == 0:
            return "EXCLUDED"
        if case.net_paid >= case.payable:
            return "OK"
        if self.due(case.entity, case.final, self.days["paid"]) >= T:
            return "PENDING"
        if any(p.returned_reason for p in case.paid.values()):
            return "RETURNED"
        return "SETTLEMENT_MISSING" if case.instructed else "NOT_IN_RUN"

    def stuck_transaction(self, case: Case) -> str:
        last_step = case.actions[-1][1]
        if case.final or last_step in UNSENDS or case.posted:
            return ""
        submitted = max(at for at, step in case.actions if step in {"SUBMIT", "RESUBMIT"})
        in_time = self.due(case.entity, submitted, self.days["approved"]) >= T
        return "PENDING" if in_time else "WAITING_FOR_PERSON"

    def approval_missing(self, case: Case) -> str:
        if not case.posted:
            return ""
        committed = min(case.posted.values())
        if case.final_before(committed):
            return "OK"
        if case.final and case.final > committed + timedelta(minutes=2):
            return "AFTER_COMMIT"
        was_approved = any(at <= committed and step == "EXRTREADY" for at, step in case.actions)
        return "REJECTED_AFTER" if was_approved else "NONE"
