"""What a control may conclude depends on the grade: a bank statement that counts its own entries proves it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

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
    assert [certificate["grade"] for certificate in run.certificate] == [grade]
    sizes = [gap["records"] for gap in run.gaps if gap["what"] == "DIFFERS"]
    assert sizes == [2] * gaps.count("DIFFERS")
