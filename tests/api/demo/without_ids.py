"""The demo company as it would be if nobody carried a claim's number further: the bank's lines and the ERP's
documents lose theirs, and what their numbers said before is the truth to be found again.

What is left: amount, currency, day, cost centre and employee in the ledger, an abbreviated name and a cut text at
the bank.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from lxml import etree

from tests.api.demo.outside import CAMT, DETAILS, rows

REMITTANCE_CHARACTERS = 35
CUT = ("BKTXT", "XBLNR", "ZUONR", "XREF1_HD", "XREF2_HD", "STBLG", "AUGBL")
"""Fields of the ledger that hold a number of the claim, of its message or of another document."""

LINKS: dict[str, Any] = {
    "bank_line": {
        "left": {"events": ["bank_line.booked"]},
        "right": {"events": ["payment.instructed"], "sources": ["erp"]},
        "within": {"days_before": 4},
        "similar": [
            {"left": "counterparty", "right": "attributes.payee", "as": "name", "weight": 4},
            {"left": "attributes.remittance", "right": "attributes.text"},
        ],
        "accept": 80,
        "margin": 10,
    },
    "posting": {
        "left": {"events": ["journal.posted"]},
        "right": {"events": ["expense_report.final_approved"]},
        "equal": ["amount", "currency", "entity", "dimensions.cost_center", "references.employee"],
        "within": {"days_before": 5},
        "similar": [{"left": "attributes.text", "right": "attributes.title"}],
        "accept": 30,
        "margin": 10,
    },
}


class Truth(NamedTuple):
    """What belongs together: (bank line, payment) and (posting, claim), by number."""

    bank_line: set[tuple[str, str]]
    posting: set[tuple[str, str]]


def strip(company: Path) -> Truth:
    """Take the numbers away from the company's files; return what they said."""
    ledger = rows(company / "erp/bkpf.csv", ";")
    text = {_payment(row): row["SGTXT"].removeprefix("Expenses ") for row in ledger}
    truth = Truth(set(), set())
    for path in sorted((company / "bank").glob("*.xml")):
        truth.bank_line.update(_strip_statement(path, text))
    truth.posting.update(
        (row["BELNR"], row["BKTXT"])
        for row in ledger
        if row["BLART"] == "KR" and row["XREVERSAL"] != "2" and not row["BSTAT"] and row["BKTXT"]
    )
    _strip_ledger(company, ledger)
    _configure(company)
    return truth


def _payment(row: Mapping[str, str]) -> str:
    return f"{row['BUKRS']}-{row['BELNR']}-{row['GJAHR']}"


def _strip_statement(path: Path, text: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    tree = etree.parse(path)
    for entry in tree.iterfind(".//c:Ntry", CAMT):
        for batch in entry.iterfind("c:NtryDtls/c:Btch", CAMT):
            _drop(batch, "c:PmtInfId")
        for n, details in enumerate(entry.iterfind(DETAILS, CAMT), start=1):
            number = _strip_payment(details, text)
            if number is not None:
                yield f"{entry.findtext('c:AcctSvcrRef', None, CAMT)}/{n}", number
    tree.write(path, xml_declaration=True, encoding="UTF-8")


def _strip_payment(details: etree._Element, text: Mapping[str, str]) -> str | None:
    """Return the number that a payment bore; none of a return, and of a transfer that pays several claims."""
    number = details.findtext("c:Refs/c:InstrId", None, CAMT)
    for refs in details.iterfind("c:Refs", CAMT):
        _drop(refs, "c:InstrId", "c:PmtInfId", "c:EndToEndId")
    if number is None or number not in text:
        return None
    for told in details.iterfind("c:RmtInf/c:Ustrd", CAMT):
        told.text = f"Reimbursement {text[number]}".upper()[:REMITTANCE_CHARACTERS]
    return number if details.find("c:RtrInf", CAMT) is None else None


def _drop(parent: etree._Element, *names: str) -> None:
    for name in names:
        for child in parent.findall(name, CAMT):
            parent.remove(child)


def _strip_ledger(company: Path, ledger: list[dict[str, str]]) -> None:
    workers = {w["Employee_ID"]: w for w in rows(company / "hr/workers.csv", ",")}
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, [*ledger[0], "NAME1"], delimiter=";", lineterminator="\n")
    writer.writeheader()
    for row in ledger:
        payee = workers[row["LIFNR"]]
        name = f"{payee['Legal_Last_Name']}, {payee['Legal_First_Name']}"
        writer.writerow({**row, **dict.fromkeys(CUT, ""), "NAME1": name})
    (company / "erp/bkpf.csv").write_text(out.getvalue(), encoding="utf-8")


def _configure(company: Path) -> None:
    """Read the bank, the ledger and the claims by mappings that know of no number, and link by rule."""
    settings = yaml.safe_load((company / "tieout.yaml").read_text("utf-8"))
    sources = {name: settings["sources"][name] for name in ("bank", "erp", "expense")}
    for source, stream in (("erp", "documents"), ("expense", "reports")):
        sources[source]["streams"] = {stream: sources[source]["streams"][stream]}
    kept = {key: settings[key] for key in ("tieout", "entities", "calendars")}
    text = yaml.safe_dump({**kept, "sources": sources, "links": LINKS})
    (company / "tieout.yaml").write_text(text, encoding="utf-8")
    mappings = company / "mappings"
    bank = yaml.safe_load((mappings / "bank-statements.yaml").read_text("utf-8"))
    *_, other = bank["events"]
    bank["events"] = [_line("booked", empty=True), _line("returned", empty=False), other]
    other["when"] = [{"value": "NtryDtls.TxDtls.RltdPties.Cdtr.Pty.Nm", "empty": True}]
    (mappings / "bank-statements.yaml").write_text(yaml.safe_dump(bank), encoding="utf-8")
    erp = (mappings / "erp-documents.yaml").read_text("utf-8")
    erp = re.sub(r"  - \{kind: (expense_report|reference_number|transfer).*\n", "", erp)
    erp = erp.replace("attributes:\n", "attributes:\n  payee: NAME1\n  text: SGTXT\n")
    erp = erp.replace("personal: [actor]", "personal: [actor, payee]")
    (mappings / "erp-documents.yaml").write_text(erp, encoding="utf-8")


def _line(verb: str, *, empty: bool) -> dict[str, Any]:
    details = "NtryDtls.TxDtls"
    return {
        "rule": verb,
        "type": f"bank_line.{verb}",
        "when": [
            {"value": f"{details}.RltdPties.Cdtr.Pty.Nm"},
            {"value": f"{details}.RtrInf.Rsn.Cd", "empty": empty},
        ],
        "document": {"type": "bank_line", "number": "{AcctSvcrRef}/{#number}"},
        "amount": {"value": f"{details}.Amt.#text", "currency": f"{details}.Amt.@Ccy"},
        "counterparty": f"{details}.RltdPties.Cdtr.Pty.Nm",
    }
