"""A number that is missing from a range that the source declares keeps a control from a PASS, by name."""

import json
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded

import pytest

from collector.model.control import Run
from collector.pipeline.completeness import known_coverage
from collector.store import numbers, totals
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at, collect

NOW = datetime(2026, 2, 20, tzinfo=UTC)
CONFIGURATION = """\
tieout: 1
sources:
  ledger:
    connector: files
    system: erp
    streams:
      documents:
        read: {path: "*.jsonl", format: jsonl}
        complete: {covers: [2026-01-01T00:00:00Z, 2026-02-20T00:00:00Z], by: Ledger, void: VOID}
        mapping: mapping.yaml
flows:
  - flow: documents
    title: Documents
    anchor: document
    steps: [{name: posted, system: erp, done_by: [document.posted]}]
controls:
  nothing_stuck: {check: stuck_transaction, flows: [documents]}
"""
MAPPING = """\
key: id
document: {type: document, number: id}
occurred_at: {value: day, timezone: UTC}
number_range: {number: number, within: company, first: FIRST}
events: [{rule: posted, type: document.posted}]
"""


def write(
    folder: Path,
    numbers: Iterable[tuple[str, str]],
    void: Collection[str] = (),
    first: str = "null",
) -> Path:
    path = folder / "tieout.yaml"
    path.write_text(CONFIGURATION.replace("VOID", json.dumps(list(void))))
    (folder / "mapping.yaml").write_text(MAPPING.replace("FIRST", first))
    (folder / "documents.jsonl").write_text(
        "".join(
            json.dumps({"id": f"{c}/{n}/{i}", "company": c, "number": n, "day": "2026-01-05"})
            + "\n"
            for i, (c, n) in enumerate(numbers)
        )
    )
    return path


async def run(database: Database, path: Path) -> Run:
    store = DatabaseStore(database)
    configuration, _ = await collect(store, path, at(NOW))
    engine = Engine(configuration, store, CHECKS, at(NOW))
    ran = await engine.run("nothing_stuck", NOW, None, trigger="command", actor="test")
    assert ran.error is None
    return ran


@pytest.mark.parametrize(
    ("numbers", "first", "void", "sentences"),
    [
        (["R-104", "R-106", "R-105"], "null", [], []),
        (["R-104", "R-108"], "null", [], ["lacks 3 numbers of its range: DE10 R-105..107."]),
        (["R-104", "R-108"], "103", [], ["lacks 4 numbers of its range: DE10 R-103, DE10 R-105..107."]),
        (["R-104", "R-108"], "null", ["DE10 R-105..106"], ["lacks 1 number of its range: DE10 R-107."]),
        (["R-104", "R-108"], "null", ["DE10 R-1..200"], []),
        (["R-104", "R-108"], "null", ["JP10 R-105..107"], ["lacks 3 numbers of its range: DE10 R-105..107."]),
        (["R-104", "S-108"], "null", [], []),
        (["R-104", "", "R-105"], "null", [], []),
    ],
)  # fmt: skip
async def test_missing_numbers_are_a_gap_unless_a_person_declares_them_void(
    database: Database,
    tmp_path: Path,
    numbers: list[str],
    first: str,
    void: list[str],
    sentences: list[str],
) -> None:
    ran = await run(database, write(tmp_path, [("DE10", n) for n in numbers], void, first))
    assert [g["sentence"].removeprefix("ledger/documents ") for g in ran.gaps] == sentences
    assert {g["what"] for g in ran.gaps} <= {"MISSING_NUMBERS"}
    assert ran.verdict == ("INCOMPLETE" if sentences else "PASS")
    assert all(g["amounts"] is None for g in ran.gaps)


async def test_where_there_are_more_holes_than_are_looked_at_nobody_knows_how_many_are_missing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "HOLES_MAX", 2)
    ran = await run(database, write(tmp_path, [("DE10", f"R-{n}") for n in (1, 3, 5, 7)]))
    (gap,) = ran.gaps
    assert gap["records"] is None
    assert gap["sentence"].endswith("lacks at least 2 numbers of its range: DE10 R-2, DE10 R-4.")


async def test_what_is_no_number_is_quarantined(database: Database, tmp_path: Path) -> None:
    ran = await run(database, write(tmp_path, [("DE10", "R-1"), ("DE10", "none"), ("", "R-2")]))
    assert [(g["what"], g["records"]) for g in ran.gaps] == [("QUARANTINED", 2)]


async def test_holes_are_what_a_set_of_all_numbers_lacks(
    database: Database, tmp_path: Path
) -> None:
    random = Random(11)  # noqa: S311 -- no secret
    seen = {(c, n) for c in ("DE10", "JP10") for n in random.sample(range(400), 300)}
    store = DatabaseStore(database)
    path = write(tmp_path, [(c, f"{n:06}") for c, n in seen])
    configuration, _ = await collect(store, path, at(NOW))
    async with store.connect() as conn:
        known = await totals.last_recorded(conn, NOW)
        covered = await known_coverage(conn, configuration.document(), known)
    expected = []
    for company in ("DE10", "JP10"):
        mine = sorted(n for c, n in seen if c == company)
        lacking = [n for n in range(mine[0], mine[-1]) if n not in mine]
        for _, run_ in groupby(enumerate(lacking), key=lambda pair: pair[1] - pair[0]):
            block = [n for _, n in run_]
            expected.append((f"{company} ", block[0], block[-1]))
    holes = covered["ledger", "documents"].missing_numbers
    assert [(h.range, h.first, h.last) for h in holes] == expected
