"""What one entity's stream lacks leaves the others' absences proven, and accuses nobody of its own."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.model.control import Run
from collector.pipeline.collect import Tally
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at, collect

NOW = datetime(2026, 2, 20, tzinfo=UTC)
STREAM = """
      {name}:
        read: {{path: "{name}.jsonl", format: jsonl}}
        complete: {{covers: [2026-01-01T00:00:00Z, 2026-02-20T00:00:00Z], records: {records}, by: a test}}
        {only}
        mapping:
          key: id
          document: {{type: claim, number: claim}}
          occurred_at: {{value: at, timezone: in value}}
          entity: entity
          events: [{{rule: step, type: {type}}}]
"""
CONFIGURATION = """\
tieout: 1
entities:
  DE10: {{name: Germany, calendar: weekdays}}
  JP10: {{name: Japan, calendar: weekdays}}
calendars:
  weekdays: {{timezone: UTC, closes: "18:00", holidays: []}}
sources:
  tool:
    connector: files
    system: expense
    streams:{approvals}
  bank:
    connector: files
    system: bank
    streams:{germany}{japan}
flows:
  - flow: claims
    title: Claims
    anchor: claim
    steps:
      - {{name: approved, system: expense, done_by: [claim.approved]}}
      - {{name: paid, system: bank, after: approved, done_by: [claim.paid]}}
controls:
  approved_not_paid: {{check: approved_not_paid, flows: [claims], parameters: {{due: 10 days}}}}
"""
APPROVED = [("DE10", "D-1"), ("DE10", "D-2"), ("JP10", "J-1"), ("JP10", "J-2")]
PAID = {"germany": [("DE10", "D-1")], "japan": [("JP10", "J-1")]}
"""D-2 was never paid; J-2 was, but Japan's stream lacks a record, as its declared number tells."""


def write(folder: Path, *, scoped: bool, paid: dict[str, list[tuple[str, str]]] = PAID) -> Path:
    """Write the streams and their configuration; each of the bank's declares as many as were paid."""
    for name, day, claims in (("approvals", 5, APPROVED), *((n, 9, c) for n, c in paid.items())):
        records = [
            {"id": f"{name}/{claim}", "claim": claim, "entity": entity, "at": f"2026-01-0{day}T09:00:00Z"}
            for entity, claim in claims
        ]  # fmt: skip
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in records))
    of = {"germany": "entity: DE10", "japan": "entity: JP10"} if scoped else dict.fromkeys(paid, "")
    streams = {
        "approvals": STREAM.format(name="approvals", records=4, only="", type="claim.approved"),
        "germany": STREAM.format(name="germany", records=1, only=of["germany"], type="claim.paid"),
        "japan": STREAM.format(name="japan", records=2, only=of["japan"], type="claim.paid"),
    }
    path = folder / "tieout.yaml"
    path.write_text(CONFIGURATION.format(**streams))
    return path


async def run(database: Database, path: Path) -> tuple[Run, list[Tally]]:
    store = DatabaseStore(database)
    configuration, tallies = await collect(store, path, at(NOW))
    engine = Engine(configuration, store, CHECKS, at(NOW))
    found = await engine.run("approved_not_paid", NOW, None, trigger="command", actor="test")
    return found, tallies


@pytest.mark.parametrize(
    ("scoped", "verdict", "exceptions", "unevaluable"),
    [(True, "FAIL", ["D-2"], 1), (False, "INCOMPLETE", [], 2)],
)
async def test_a_gap_of_one_entity_leaves_the_exceptions_of_the_other_proven(
    database: Database,
    tmp_path: Path,
    *,
    scoped: bool,
    verdict: str,
    exceptions: list[str],
    unevaluable: int,
) -> None:
    found, _ = await run(database, write(tmp_path, scoped=scoped))
    assert (found.verdict, found.error) == (verdict, None)
    assert [e.number for e in found.exceptions] == exceptions
    assert found.population["unevaluable"] == {"UNREAD": unevaluable}
    assert not found.complete
    assert [(gap["stream"], gap["what"]) for gap in found.gaps] == [("bank/japan", "UNREAD")]


async def test_a_record_of_another_entity_is_quarantined_and_proves_nothing(
    database: Database, tmp_path: Path
) -> None:
    paid = {"germany": [("JP10", "J-2")], "japan": [("JP10", "J-1"), ("JP10", "J-2")]}
    found, tallies = await run(database, write(tmp_path, scoped=True, paid=paid))
    assert [tally.quarantined for tally in tallies] == [0, 1, 0]
    assert found.exceptions == []
    assert found.population["unevaluable"] == {"QUARANTINED": 2}  # both of Germany
    assert found.population["ok"] == 2
