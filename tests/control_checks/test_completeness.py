"""What a control may conclude depends on the grade: a bank statement that counts its own entries proves it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.store import certificates
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at, collect

NOW = datetime(2026, 2, 20, tzinfo=UTC)
CONFIGURATION = """\
tieout: 1
sources:
  bank:
    connector: files
    system: bank
    streams:
      statements:
        read: {path: "camt*.xml", format: xml, records: Stmt/Ntry}
        complete: {covers: [2026-01-01T00:00:00Z, 2026-02-20T00:00:00Z], by: Treasury}
        mapping:
          key: NtryRef
          document: {type: entry, number: NtryRef}
          occurred_at: {value: BookgDt.Dt, timezone: UTC}
          events: [{rule: booked, type: entry.booked}]
flows:
  - flow: entries
    title: Entries
    anchor: entry
    steps: [{name: booked, system: bank, done_by: [entry.booked]}]
controls:
  nothing_stuck: {check: stuck_transaction, flows: [entries], completeness: A}
"""


def camt(stated: str, entries: int) -> str:
    entry = "<Ntry><NtryRef>{0}</NtryRef><Amt Ccy='EUR'>1</Amt><BookgDt><Dt>2026-01-05</Dt></BookgDt></Ntry>"
    listed = "".join(entry.format(f"N-{entries}-{n}") for n in range(entries))
    return f"<Document><B2CStmt><Stmt>{stated}{listed}</Stmt></B2CStmt></Document>"


def summary(count: int) -> str:
    return f"<TxsSummry><TtlNtries><NbOfNtries>{count}</NbOfNtries></TtlNtries></TxsSummry>"  # of ISO 20022


@pytest.mark.parametrize(
    ("files", "verdict", "gaps", "grade"),
    [
        ([camt(summary(3), 3), camt(summary(2), 2)], "PASS", [], "A"),
        ([camt(summary(3), 3), camt(summary(4), 2)], "INCOMPLETE", ["DIFFERS", "UNDECLARED"], "C"),
        ([camt(summary(3), 3), camt("", 2)], "INCOMPLETE", ["UNDECLARED"], "C"),
    ],
)
async def test_a_control_that_asks_for_grade_a_passes_only_on_statements_that_count_themselves(
    database: Database, tmp_path: Path, files: list[str], verdict: str, gaps: list[str], grade: str
) -> None:
    path = tmp_path / "tieout.yaml"
    path.write_text(CONFIGURATION)
    for n, text in enumerate(files):
        (tmp_path / f"camt-{n}.xml").write_text(text)
    store = DatabaseStore(database)
    configuration, _ = await collect(store, path, at(NOW))
    engine = Engine(configuration, store, CHECKS, at(NOW))
    run = await engine.run("nothing_stuck", NOW, None, trigger="command", actor="test")
    assert (run.verdict, run.error) == (verdict, None)
    assert [gap["what"] for gap in run.gaps] == gaps
    async with store.connect() as conn:
        body = await certificates.body_of(conn, str(run.certificate))
    assert [of["grade"] for of in json.loads(str(body))["streams"]] == [grade]
    sizes = [gap["records"] for gap in run.gaps if gap["what"] == "DIFFERS"]
    assert sizes == [2] * gaps.count("DIFFERS")


BATCH = (
    "<Ntry><NtryRef>B-1</NtryRef><Amt Ccy='EUR'>9</Amt><BookgDt><Dt>2026-01-05</Dt></BookgDt><NtryDtls>"
    "<TxDtls><Amt Ccy='EUR'>4</Amt></TxDtls><TxDtls><Amt Ccy='EUR'>5</Amt></TxDtls></NtryDtls></Ntry>"
)


@pytest.mark.parametrize(
    ("damage", "verdict", "gaps"),
    [
        ("", "PASS", []),
        (
            BATCH,
            "INCOMPLETE",
            [
                "camt.xml states 2 records (TxsSummry/TtlNtries/NbOfNtries of 1 statement(s)), and 1 were read: 1 fewer.",
                "bank/statements: its completeness is of grade C, and A is asked for.",
            ],
        ),
        (
            "<TxDtls><Amt Ccy='EUR'>5</Amt></TxDtls>",
            "INCOMPLETE",
            ["1 record of bank/statements quarantined: see `tieout quarantine list`."],
        ),
    ],
    ids=["whole", "an entry is missing", "a payment is missing"],
)
async def test_a_statement_read_by_payment_is_whole_if_its_entries_are_and_each_adds_up(
    database: Database, tmp_path: Path, damage: str, verdict: str, gaps: list[str]
) -> None:
    path = tmp_path / "tieout.yaml"
    by_payment = CONFIGURATION.replace("Stmt/Ntry}", "Stmt/Ntry, split: NtryDtls/TxDtls}")
    path.write_text(by_payment.replace(": NtryRef", ': "{NtryRef}-{#number}"', 1))
    text = camt(summary(2), 1).replace("</Stmt>", f"{BATCH}</Stmt>")
    (tmp_path / "camt.xml").write_text(text.replace(damage, ""))
    store = DatabaseStore(database)
    configuration, _ = await collect(store, path, at(NOW))
    engine = Engine(configuration, store, CHECKS, at(NOW))
    run = await engine.run("nothing_stuck", NOW, None, trigger="command", actor="test")
    assert (run.verdict, run.error) == (verdict, None)
    assert [gap["sentence"] for gap in run.gaps] == gaps
