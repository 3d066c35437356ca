"""What is absent may lie before the time that a stream is declared for: then nothing is proven."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.model.control import Run
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at, collect

START_DAY = 5
"""Both streams are declared complete from this day of January on."""
NOW = datetime(2026, 2, 20, tzinfo=UTC)
STREAM = """
      {name}:
        read: {{path: {name}.jsonl, format: jsonl}}
        complete: {{covers: [2026-01-0{day}T00:00:00Z, 2026-02-20T00:00:00Z], by: a test}}
        mapping:
          key: id
          document: {{type: claim, number: claim}}
          occurred_at: {{value: at, timezone: in value}}
          events:
            - rule: step
              type: {{value: what, unknown: quarantine, values: {{{values}}}}}
"""
CONFIGURATION = f"""\
tieout: 1
sources:
  tool:
    connector: files
    system: expense
    streams:{STREAM.format(name="approvals", day=START_DAY, values="submitted: claim.submitted, approved: claim.approved, rejected: claim.rejected")}
  bank:
    connector: files
    system: bank
    streams:{STREAM.format(name="payments", day=START_DAY, values="paid: claim.paid")}
flows:
  - flow: claims
    title: Claims
    anchor: claim
    steps:
      - {{name: submitted, system: expense, done_by: [claim.submitted]}}
      - {{name: approved, system: expense, after: submitted, done_by: [claim.approved], undone_by: [claim.rejected]}}
      - {{name: paid, system: bank, after: approved, done_by: [claim.paid]}}
controls:
  approval_missing: {{check: approval_missing, flows: [claims], parameters: {{commitment: paid}}}}
  approved_not_paid: {{check: approved_not_paid, flows: [claims], parameters: {{due: 10 days}}}}
"""
CLAIMS = {  # what happened, on which day of January; what each control says
    "approved in time": ("submitted 6, approved 7, paid 9", "ok", "ok"),
    "never approved": ("submitted 6, paid 9", "NONE", None),
    "submitted before the start": ("submitted 2, paid 9", "?", None),
    "submission unseen": ("paid 9", "?", None),
    "approved too late": ("submitted 6, paid 9, approved 12", "AFTER_COMMIT", "ok"),
    "late, begun before": ("submitted 2, paid 9, approved 12", "?", "ok"),
    "rejected after the start": ("submitted 2, approved 3, rejected 6, paid 9", "REJECTED_AFTER", None),
    "rejected before the start": ("submitted 2, approved 3, rejected 4, paid 9", "?", None),
    "unpaid": ("submitted 6, approved 7", None, "NOT_IN_RUN"),
    "unpaid, approved before": ("submitted 2, approved 3", None, "?"),
}  # fmt: skip


async def run(database: Database, folder: Path, control: str) -> Run:
    (folder / "tieout.yaml").write_text(CONFIGURATION)
    lines: dict[str, list[str]] = {"approvals": [], "payments": []}
    for claim, (story, _, _) in CLAIMS.items():
        for step in story.split(", "):
            what, day = step.split()
            record = {"id": f"{claim}/{what}", "claim": claim, "what": what}
            record["at"] = f"2026-01-{int(day):02d}T09:00:00Z"
            lines["payments" if what == "paid" else "approvals"].append(json.dumps(record))
    for name, texts in lines.items():
        (folder / f"{name}.jsonl").write_text("\n".join(texts) + "\n")
    store = DatabaseStore(database)
    configuration, tallies = await collect(store, folder / "tieout.yaml", at(NOW))
    assert sum(tally.quarantined for tally in tallies) == 0
    engine = Engine(configuration, store, CHECKS, at(NOW))
    return await engine.run(control, NOW, None, trigger="command", actor="test")


@pytest.mark.parametrize(("control", "place"), [("approval_missing", 1), ("approved_not_paid", 2)])
async def test_what_may_have_come_before_the_declared_start_is_no_exception(
    database: Database, tmp_path: Path, control: str, place: int
) -> None:
    found = await run(database, tmp_path, control)
    expected = {claim: told[place] for claim, told in CLAIMS.items() if told[place] is not None}
    said = {e.number: e.reason for e in found.exceptions}
    assert said == {claim: word for claim, word in expected.items() if word not in ("ok", "?")}
    words = list(expected.values())
    assert found.population["in_scope"] == len(expected)
    assert found.population["ok"] == words.count("ok")
    assert found.population["unevaluable"] == {"NOT_COVERED": words.count("?")}
