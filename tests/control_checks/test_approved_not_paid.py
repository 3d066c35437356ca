"""Payments that settle, settle in part, or are in a currency that says nothing about the claim."""

import json
from datetime import UTC, datetime
from pathlib import Path

from collector.model.control import Run
from control_checks.contract import Check
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at, collect

NOW = datetime(2026, 2, 20, tzinfo=UTC)
CONFIGURATION = """\
tieout: 1
sources:
  tool:
    connector: files
    system: expense
    streams:
      steps:
        read: {path: steps.jsonl, format: jsonl}
        complete: {covers: [2026-01-01T00:00:00Z, 2026-02-20T00:00:00Z], records: 14, by: a test}
        mapping:
          key: id
          document: {type: claim, number: claim}
          occurred_at: {value: at, timezone: in value}
          amount: {value: amount, currency: currency}
          events:
            - {rule: approved, when: [{value: what, is: [approved]}], type: claim.approved}
            - rule: paid
              when: [{value: what, is: [paid]}]
              type: payment.settled
              document: {type: payment, number: id}
              references: [{kind: claim, role: identity, value: claim}]
flows:
  - flow: claims
    title: Claims
    anchor: claim
    steps:
      - {name: approved, system: expense, done_by: [claim.approved]}
      - {name: paid, system: expense, after: approved, done_by: [payment.settled]}
controls:
  approved_not_paid: {check: approved_not_paid, flows: [claims], parameters: {due: 30 days}}
"""
CLAIMS = {  # approved amount, payments
    "C-WHOLE": ("100.00 EUR", ["100.00 EUR"]),
    "C-TWICE": ("100.00 EUR", ["40.00 EUR", "60.00 EUR"]),
    "C-PART": ("100.00 EUR", ["40.00 EUR"]),
    "C-YEN": ("100.00 EUR", ["16000 JPY"]),
    "C-MIXED": ("100.00 EUR", ["60.00 EUR", "6400 JPY"]),
    "C-SILENT": ("", ["5.00 EUR"]),
}


async def run(database: Database, folder: Path, checks: dict[str, Check]) -> Run:
    """Read the claims and run the control over them."""
    (folder / "tieout.yaml").write_text(CONFIGURATION, encoding="utf-8")
    records = []
    for claim, (approved, payments) in CLAIMS.items():
        for n, (what, money) in enumerate(
            [("approved", approved), *(("paid", m) for m in payments)]
        ):
            amount, _, currency = money.partition(" ")
            record = {"id": f"{claim}/{n}", "claim": claim, "what": what, "amount": amount}
            record |= {"at": f"2026-01-{5 + n:02d}T09:00:00Z", "currency": currency}
            records.append(json.dumps(record))
    (folder / "steps.jsonl").write_text("\n".join(records) + "\n", encoding="utf-8")
    store = DatabaseStore(database)
    configuration, (tally,) = await collect(store, folder / "tieout.yaml", at(NOW))
    assert (tally.accepted, tally.quarantined) == (14, 0)
    engine = Engine(configuration, store, checks, at(NOW))
    status_time = datetime(2026, 2, 15, tzinfo=UTC)
    return await engine.run("approved_not_paid", status_time, None, trigger="command", actor="test")


async def test_payments_are_summed_and_never_netted_across_currencies(
    database: Database, tmp_path: Path
) -> None:
    found = await run(database, tmp_path, CHECKS)
    assert (found.verdict, found.error) == ("FAIL", None)
    assert found.population["ok"] == 3  # whole, in two payments, and one that claimed no amount
    assert found.population["unevaluable"] == {"OTHER_CURRENCY": 2}  # yen, and yen beside euros
    (part,) = found.exceptions
    assert (part.number, part.reason, part.difference_minor) == ("C-PART", "PARTLY_PAID", -6000)
    assert part.sentence == (
        "Claim C-PART (EUR 100.00), approved on Mon 5 Jan 2026, is paid only in part: EUR 40.00."
    )


async def test_a_run_that_breaks_is_kept_as_one_that_did_not_run(
    database: Database, tmp_path: Path
) -> None:
    def broken(*_: object) -> str:
        raise ValueError("a sentence that cannot be said")

    check = CHECKS["approved_not_paid"]._replace(sentence=broken)
    found = await run(database, tmp_path, {"approved_not_paid": check})
    assert (found.verdict, found.complete, found.exceptions) == ("ERROR", False, [])
    assert found.error == "a sentence that cannot be said"
    assert found.run > 0
