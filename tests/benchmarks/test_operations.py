"""A million events in a month: written to a backup, restored, and dropped as a month.

The programs run in processes of their own. No command of the product drops a month: facts stay (decision 14). What is
shown here is that the layout allows it, to whoever owns the schema: one table goes, nothing else is written.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from collector.clock import stopwatch
from tests.benchmarks import test_live as live
from tests.benchmarks.processes import watched
from tests.benchmarks.report import report
from tests.support.postgres import Database, empty_database

pytestmark = pytest.mark.bench

JANUARY, FEBRUARY = 1_000_000, 100_000
"""Events in each month."""
MEMORY_BAR_MB = 300.0
DROP_BAR_S, WAL_BAR_MB = 5.0, 16.0
OTHERS = """
SELECT c.oid::regclass::text, c.relfilenode, pg_relation_size(c.oid) FROM pg_class c
WHERE c.relnamespace = 'tieout'::regnamespace AND c.relkind IN ('r', 'i', 'S') AND c.relname NOT LIKE 'event_202601%'
"""


def write(path: Path) -> None:
    """Write a month of a million events, three an order, and a smaller one."""
    with path.open("w", encoding="utf-8") as file:
        for first, events, spacing_s in ((0, JANUARY, 2), (31 * 86_400, FEBRUARY, 20)):
            for n in range(events):
                at_ms = (first + n * spacing_s) * 1_000
                file.write(live.line(f"SO-{first}-{n // 3}", n % 3, at_ms))


def typed(folder: Path, *words: str) -> tuple[Any, float, float]:
    """Run a command; return what it shows, the seconds that it took and the peak of its memory in MB."""
    line = [live.TIEOUT, "--config", str(folder / "tieout.yaml"), *words, "--json"]
    elapsed_s = stopwatch()
    with (
        subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process,  # noqa: S603 -- our own program
        watched(process) as peak,
    ):
        out, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(out), elapsed_s(), peak.mb


async def test_a_million_events_are_backed_up_restored_and_dropped_as_a_month(
    database: Database, tmp_path: Path
) -> None:
    live.configure(tmp_path, database)
    write(tmp_path / "orders.jsonl")
    typed(tmp_path, "sync")
    file = tmp_path / "store.backup"
    made, backup_s, backup_mb = typed(tmp_path, "backup", str(file))
    assert made["events"] == JANUARY + FEBRUARY
    async with empty_database(database.server) as other:
        (tmp_path / "store.dsn").write_text(other.server.dsn("postgres", other.name))
        _, restore_s, restore_mb = typed(tmp_path, "restore", str(file))
        size_mb = file.stat().st_size / 1e6
        print(f"\n{size_mb:.0f} MB in {backup_s:.1f} s; restored in {restore_s:.1f} s")
        report("backup", made["events"] / backup_s, "events/s", None, "higher")
        report("restore", made["events"] / restore_s, "events/s", None, "higher")
        report(
            "memory of backup and restore", max(backup_mb, restore_mb), "MB", MEMORY_BAR_MB, "lower"
        )
        drop_s, wal_mb = await dropped(other)
    report("dropping a month of a million events", drop_s, "s", DROP_BAR_S, "lower")
    report("log written for it", wal_mb, "MB", WAL_BAR_MB, "lower")
    assert max(backup_mb, restore_mb) <= MEMORY_BAR_MB
    assert drop_s <= DROP_BAR_S
    assert wal_mb <= WAL_BAR_MB


async def dropped(database: Database) -> tuple[float, float]:
    """Drop January; return the seconds and the MB of log that it took, and find everything else untouched."""
    conn = await asyncpg.connect(database.dsn("postgres"))
    try:
        assert await conn.fetchval("SELECT count(*) FROM tieout.event_202601") == JANUARY
        before = await conn.fetch(OTHERS)
        await conn.execute("CHECKPOINT")
        at = await conn.fetchval("SELECT pg_current_wal_lsn()")
        elapsed_s = stopwatch()
        await conn.execute(
            "ALTER TABLE tieout.event DETACH PARTITION tieout.event_202601; DROP TABLE tieout.event_202601"
        )
        took_s = elapsed_s()
        written = await conn.fetchval("SELECT pg_current_wal_lsn() - $1::pg_lsn", at)
        assert await conn.fetch(OTHERS) == before
        assert await conn.fetchval("SELECT count(*) FROM tieout.event") == FEBRUARY
    finally:
        await conn.close()
    return took_s, float(written) / 1e6
