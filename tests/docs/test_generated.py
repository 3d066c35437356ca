"""What is generated says what its sources say."""

import json
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import asyncpg
import pytest

from collector.store.cluster import database_sql
from collector.store.embedded import Server
from tests.support import campaigns
from tests.support.campaigns import merged
from tests.support.postgres import Database
from tests.support.scripts import script

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The script as a module; it has no extension."""
    return script("generate")


def test_every_generated_file_is_what_its_source_says(generate: ModuleType) -> None:
    stale = [str(path.relative_to(ROOT)) for path in generate.differing(generate.texts())]
    assert stale == [], "run `make schema`"


def test_a_file_that_differs_or_is_missing_is_named(generate: ModuleType, tmp_path: Path) -> None:
    same, other, missing = (tmp_path / name for name in ("same", "other", "missing"))
    same.write_text("as it should be")
    other.write_text("edited by hand")
    wanted = dict.fromkeys((same, other, missing), "as it should be")
    assert generate.differing(wanted) == [other, missing]


def test_the_page_of_what_was_measured_says_which_bars_were_reached(generate: ModuleType) -> None:
    told = {"file": "tests/benchmarks/test_live.py", "unit": "s", "at": "2026-01-01", "load": 0.4}
    told["machine"] = "one core"
    figures = [
        ("slow", 1.25, 1.0, "lower"),
        ("quick", 0.00512, 1.0, "lower"),
        ("just so", 1.0, 1.0, "higher"),
        ("few", 12_345.6, 20_000, "higher"),
        ("by the way", 3.0, None, "lower"),
    ]
    results = [
        {**told, "name": name, "value": value, "bar": bar, "better": better}
        for name, value, bar, better in figures
    ]
    page = generate.performance(results)
    assert "On one core." in page
    assert "\n## `tieout run` in a process of its own" in page
    assert [line for line in page.splitlines() if "2026-01-01" in line] == [
        "| slow | 1.25 s | ≤ 1 | **missed** | 2026-01-01 | 0.4 |",
        "| quick | 0.00512 s | ≤ 1 | reached | 2026-01-01 | 0.4 |",
        "| just so | 1 s | ≥ 1 | reached | 2026-01-01 | 0.4 |",
        "| few | 12,346 s | ≥ 20,000 | **missed** | 2026-01-01 | 0.4 |",
        "| by the way | 3 s |  |  | 2026-01-01 | 0.4 |",
    ]


def test_the_page_of_faults_tells_what_campaigns_of_one_name_recorded_together(
    generate: ModuleType,
) -> None:
    told = {"name": "kills", "equal_to": "the truth", "at": "2026-01-02", "load": 0.5, "s": 61.4}
    told["machine"] = "one core"
    recorded = [
        {**told, "test": "tests/b.py::test_kills[1]", "hits": {"kill": 999}},
        {**told, "test": "tests/b.py::test_kills[2]", "hits": {"kill": 3}, "at": "2026-01-01"},
        {**told, "test": "tests/a.py::test_cuts", "hits": {"cut": 2}, "name": "cuts"},
    ]
    page = "Before.\n<!-- figures -->\nOld.\n<!-- end of figures -->\nAfter.\n"
    told_in = generate.reliability(page, recorded)
    assert told_in.startswith("Before.\n<!-- figures -->\n\nOn one core.\n")
    assert told_in.endswith("\n<!-- end of figures -->\nAfter.\n")
    assert "Old." not in told_in
    assert [line for line in told_in.splitlines() if "the truth" in line] == [
        "| cuts<br>`pytest tests/a.py::test_cuts` | cut: 2 | the truth | 61 s | 2026-01-02 | 0.5 |",
        "| kills<br>`pytest tests/b.py::test_kills` | kill: 1,002 | the truth | 123 s | 2026-01-01 | 0.5 |",
    ]
    assert generate.reliability(told_in, recorded) == told_in


def test_a_campaign_that_was_not_run_again_keeps_its_row_and_one_that_was_has_its_last() -> None:
    kept = [{"test": "b", "hits": {"kill": 1}}, {"test": "a", "hits": {"cut": 1}}]
    lines = [json.dumps({"test": "b", "hits": {"kill": n}}) for n in (2, 3)]
    assert merged(kept, lines) == [
        {"test": "a", "hits": {"cut": 1}},
        {"test": "b", "hits": {"kill": 3}},
    ]


def test_a_campaign_that_fails_records_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaigns, "RECORD", tmp_path / "build/faults.jsonl")
    with pytest.raises(ZeroDivisionError), campaigns.campaign("kills", "the truth") as hits:
        hits["kill"] = 1 // 0
    assert not campaigns.RECORD.exists()
    with campaigns.campaign("kills", "the truth") as hits:
        hits["kill"] += 2
    (row,) = map(json.loads, campaigns.RECORD.read_text().splitlines())
    here = "test_generated.py::test_a_campaign_that_fails_records_nothing"
    assert (row["test"], row["hits"]) == (f"tests/docs/{here}", {"kill": 2})


def test_the_committed_schema_is_what_the_migrations_make(
    generate: ModuleType, database: Database
) -> None:
    assert generate.SCHEMA_SQL.read_text(encoding="utf-8") == generate.schema_sql(
        database.dsn("postgres")
    ), "run `make schema`"


async def test_the_committed_schema_and_the_migrations_make_the_same_database(
    generate: ModuleType, database: Database, server: Server
) -> None:
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(server.dsn("postgres", "postgres"))
    try:
        for statement in database_sql(name):
            await admin.execute(statement)
        loaded = Database(server, name)
        conn = await asyncpg.connect(loaded.dsn("postgres"))
        try:
            await conn.execute(generate.SCHEMA_SQL.read_text(encoding="utf-8"))
        finally:
            await conn.close()
        made = generate.schema_sql(loaded.dsn("postgres"))
        assert made == generate.schema_sql(database.dsn("postgres"))
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()
