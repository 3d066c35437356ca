"""The written files have the systems' shapes, agree with themselves and come out the same again."""

import json
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise, product
from pathlib import Path
from time import process_time

import pytest
from lxml import etree

from api.demo import Truth, create
from collector.errors import Misconfigured
from tests.api.demo.conftest import SEED
from tests.api.demo.outside import (
    CAMT,
    DECIMALS,
    Case,
    berlin,
    changes,
    document,
    payments,
    rows,
    statements,
    text,
)


def digests(folder: Path) -> Mapping[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.long
def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    folder: Path, tmp_path: Path
) -> None:
    create(tmp_path / "again", SEED)
    create(tmp_path / "other", SEED + 1)
    assert digests(tmp_path / "again") == digests(folder)
    assert digests(tmp_path / "other") != digests(folder)


def test_a_folder_with_this_demo_is_left_as_it_is(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    create(folder, SEED)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.long
def test_a_folder_with_another_seed_is_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    create(tmp_path / "demo", 1)
    (tmp_path / "demo/left-over").touch()
    truth = create(tmp_path / "demo", 2)
    assert truth.seed == 2
    assert not (tmp_path / "demo/left-over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", "utf-8")
    with pytest.raises(Misconfigured, match="holds something else"):
        create(tmp_path, SEED)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_five_thousand_claims_take_under_ten_seconds_of_work(tmp_path: Path) -> None:
    start = process_time()
    create(tmp_path / "demo", SEED)
    assert process_time() - start < 10


def test_the_truth_lies_outside_the_folders_that_the_sources_read(folder: Path) -> None:
    assert (folder / "truth.json").is_file()
    read = {
        path.parent.name for name in ("csv", "json", "xml") for path in folder.rglob(f"*.{name}")
    }
    assert read - {folder.name} == {"hr", "expense", "erp", "bank", "middleware"}


def test_the_streams_hold_as_many_records_as_stated(folder: Path, truth: Truth) -> None:
    entries: Counter[str] = Counter()
    for statement in statements(folder):
        owner = text(statement, "c:Acct/c:Ownr/c:Id/c:OrgId/c:Othr/c:Id")
        listed = (len(payments(n)) for n in statement.iterfind("c:Ntry", CAMT))
        entries[f"bank/{owner.lower()}"] += sum(n or 1 for n in listed)
    assert truth.records == {
        "hr/workers": len(rows(folder / "hr/workers.csv", ",")),
        "expense/reports": len(changes(folder)),
        "expense/confirmations": len(document(folder, "confirmations")),
        "expense/payments": len(document(folder, "payments")),
        "expense/cost_centres": len(document(folder, "items")),
        "erp/documents": len(rows(folder / "erp/bkpf.csv", ";")),
        "erp/interface": len(rows(folder / "erp/interface.csv", ";")),
        "erp/cost_centres": len(rows(folder / "erp/csks.csv", ";")),
        "middleware/messages": len(
            json.loads((folder / "middleware/logs.json").read_text("utf-8"))
        ),
        **entries,
    }


def test_native_keys_are_unique_and_references_fit_their_fields(folder: Path) -> None:
    documents = rows(folder / "erp/bkpf.csv", ";")
    messages = rows(folder / "erp/interface.csv", ";")
    booked = [n for s in statements(folder) for n in s.iterfind("c:Ntry", CAMT)]
    for keys in (
        [record["id"] for record in changes(folder)],
        [record["id"] for record in document(folder, "payments")],
        [(row["BUKRS"], row["GJAHR"], row["BELNR"]) for row in documents],
        [(row["DOCNUM"], row["COUNTR"]) for row in messages],
        [text(entry, "c:AcctSvcrRef") for entry in booked],
        [row["Employee_ID"] for row in rows(folder / "hr/workers.csv", ",")],
    ):
        assert len(keys) == len(set(keys))
    lengths = {"XBLNR": 16, "BKTXT": 25, "ZUONR": 18, "SGTXT": 50, "XREF1_HD": 20, "GRPID": 12}
    for name, length in lengths.items():
        assert max(len(row[name]) for row in documents) <= length
    assert {len(row["BELNR"]) for row in documents} == {10}
    assert {row["XBLNR"] for row in documents} == {row["BKTXT"][:16] for row in documents}
    paid = [payment for entry in booked for payment in payments(entry)]
    assert max(len(text(p, "c:RmtInf/c:Ustrd")) for p in paid) == 35
    assert max(len(text(p, "c:Refs/c:EndToEndId")) for p in paid) <= 35


def test_one_bank_books_runs_and_lists_their_payments_one_does_not_and_one_books_payments(
    folder: Path,
) -> None:
    sizes: dict[str, list[tuple[int, int]]] = {"DE10": [], "JP10": [], "KW10": []}
    for statement in statements(folder):
        for entry in statement.iterfind("c:Ntry", CAMT):
            stated = int(entry.findtext("c:NtryDtls/c:Btch/c:NbOfTxs", "0", CAMT))
            owner, listed = (
                text(statement, "c:Acct/c:Ownr/c:Id/c:OrgId/c:Othr/c:Id"),
                payments(entry),
            )
            sizes[owner].append((stated, len(listed)))
            if stated and listed:
                assert stated == len(listed)
                assert signed(entry) == sum(map(signed, listed))
    assert max(sizes["DE10"]) > (50, 50)
    assert {listed for stated, listed in sizes["DE10"] if not stated} == {0, 1}, "fees, returns"
    assert {listed for stated, listed in sizes["JP10"] if stated} == {0}
    assert {stated for stated, _ in sizes["KW10"]} == {0}


def test_a_reversal_and_its_original_name_each_other(folder: Path) -> None:
    rows_ = rows(folder / "erp/bkpf.csv", ";")
    documents = {(r["BUKRS"], r["BELNR"]): r for r in rows_}
    reversals = [r for r in rows_ if r["XREVERSAL"] == "2"]
    assert reversals
    for reversal in reversals:
        original = documents[reversal["BUKRS"], reversal["STBLG"]]
        assert (original["STBLG"], original["XREVERSAL"]) == (reversal["BELNR"], "1")
        assert (original["SHKZG"], reversal["SHKZG"]) == ("H", "S")
        assert original["WRBTR"] == reversal["WRBTR"]
        assert original["CPUDT"] <= reversal["CPUDT"]


def test_document_numbers_rise_with_the_time_of_entry(folder: Path) -> None:
    for series in product(("DE10", "JP10", "KW10"), ("KR", "KZ")):
        own = [r for r in rows(folder / "erp/bkpf.csv", ";") if (r["BUKRS"], r["BLART"]) == series]
        ordered = sorted(own, key=lambda r: (berlin(r["CPUDT"], r["CPUTM"]), r["BELNR"]))
        assert [r["BELNR"] for r in ordered] == sorted(r["BELNR"] for r in own)


def test_amounts_have_the_decimals_of_their_currency_everywhere(folder: Path) -> None:
    written = [
        (r["WAERS"], r["WRBTR"].replace(",", ".")) for r in rows(folder / "erp/bkpf.csv", ";")
    ]
    for record in changes(folder):
        money = record["report"]["totalClaimed"]
        written.append((money["currencyCode"], money["value"]))
    for statement in statements(folder):
        written += [
            (str(a.get("Ccy")), str(a.text)) for a in statement.iter("{*}Amt") if a.get("Ccy")
        ]
    assert {currency for currency, _ in written} == set(DECIMALS)
    for currency, amount in written:
        assert len(amount.partition(".")[2]) == DECIMALS[currency], amount


def signed(element: etree._Element) -> Decimal:
    amount = Decimal(text(element, "c:Amt"))
    return -amount if text(element, "c:CdtDbtInd") == "DBIT" else amount


def balances(statement: etree._Element) -> dict[str, Decimal]:
    return {
        text(bal, "c:Tp/c:CdOrPrtry/c:Cd"): signed(bal) for bal in statement.iterfind("c:Bal", CAMT)
    }


def test_balances_add_up_and_chain_from_statement_to_statement(folder: Path) -> None:
    accounts: dict[str, list[etree._Element]] = {}
    for statement in statements(folder):
        accounts.setdefault(text(statement, "c:Acct/c:Ccy"), []).append(statement)
    assert set(accounts) == {"EUR", "JPY", "KWD", "USD"}
    for chain in accounts.values():
        for statement in chain:
            entries = sum((signed(n) for n in statement.iterfind("c:Ntry", CAMT)), Decimal(0))
            found = balances(statement)
            assert (found["OPBD"] + entries == found["CLBD"]) == is_whole(statement)
            assert found["CLBD"] > 0
        for earlier, later in pairwise(chain):
            assert balances(earlier)["CLBD"] == balances(later)["OPBD"]
            numbers = [int(text(s, "c:ElctrncSeqNb")) for s in (earlier, later)]
            assert numbers[0] + 1 == numbers[1]


def is_whole(statement: etree._Element) -> bool:
    stated = int(text(statement, "c:TxsSummry/c:TtlNtries/c:NbOfNtries"))
    return stated == len(statement.findall("c:Ntry", CAMT))


def test_the_summary_of_a_whole_statement_equals_its_entries(folder: Path) -> None:
    for statement in filter(is_whole, statements(folder)):
        amounts = [signed(n) for n in statement.iterfind("c:Ntry", CAMT)]
        for part, chosen in (
            ("TtlNtries", amounts),
            ("TtlCdtNtries", [a for a in amounts if a > 0]),
            ("TtlDbtNtries", [a for a in amounts if a < 0]),
        ):
            at = f"c:TxsSummry/c:{part}"
            assert int(text(statement, f"{at}/c:NbOfNtries")) == len(chosen)
            assert Decimal(text(statement, f"{at}/c:Sum")) == sum(map(abs, chosen))
        net = statement.find("c:TxsSummry/c:TtlNtries/c:TtlNetNtry", CAMT)
        assert net is not None
        assert signed(net) == sum(amounts)


def test_a_return_carries_its_reason_and_the_references_of_the_payment(
    cases: Mapping[str, Case], truth: Truth
) -> None:
    reasons = [p.returned_reason for c in cases.values() for p in c.paid.values()]
    returned = [reason for reason in reasons if reason]
    n = truth.controls["approved_not_paid"].reasons["RETURNED"]
    assert returned == ["AC04"] * (n + truth.labels["returned_and_paid_again"])


def test_the_platform_hears_of_a_return_as_it_heard_of_the_payment(
    cases: Mapping[str, Case],
) -> None:
    told = [c.told[n] for c in cases.values() for n, p in c.paid.items() if p.returned_reason]
    assert told
    for paid, returned in told:
        assert (paid[1], returned) == ("paid", (paid[0], "returned"))
