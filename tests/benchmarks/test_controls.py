"""Controls over many transactions against a query by hand that answers the control's question and no other.

A control says of every item which class it is in, for any T and K, over whatever the flow says; the
query by hand (controls/<control>.sql) knows this flow and these facts, and finds the exceptions. Both
read the same tables, warm, over one connection each, interleaved, with the same settings; the sets of
exceptions must be equal. controls/world.sql says what the transactions are: 975 of 1,000 are plain.
"""

import statistics
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from collector.clock import now, stopwatch
from collector.pipeline.publish import publish
from collector.store import streams
from collector.store.runs import population, reading
from control_checks.cases import Case, configuration
from control_checks.registry import CHECKS
from tests.benchmarks.report import report
from tests.support.postgres import Database

pytestmark = pytest.mark.bench

FLOW = "expense-to-reimbursement"
TRANSACTIONS = 1_000_000
ROUNDS = 3
BAR = 2.0
T = datetime(2026, 7, 1, tzinfo=UTC)
SQL = Path(__file__).parent / "controls"
WORLD = (SQL / "world.sql").read_text(encoding="utf-8")
BY_HAND = {
    name: (SQL / f"{name}.sql").read_text(encoding="utf-8")
    for name, check in CHECKS.items()
    if check.plain
}


async def _fill(database: Database, transactions: int) -> None:
    admin = await asyncpg.connect(database.dsn("postgres"))
    try:
        settings = configuration(
            CHECKS["approved_not_paid"], Case("speed", "2026-07-01 00:00", "", {})
        )
        await publish(admin, settings, now)
        stream = await streams.register(admin, "expense", "all", "expense")
        await admin.execute(
            "INSERT INTO tieout.batch SELECT 1, max(seq), $1, NULL, '', '', NULL, NULL, 0, 0, 0, 0, 0, 0, '{}', 0"
            " FROM tieout.commit_log",
            stream,
        )
        for month in range(6, 6 + 14):
            first = date(2025 + month // 12, month % 12 + 1, 1)
            await admin.execute("SELECT tieout.ensure_partition($1)", first)
        await admin.execute(WORLD.replace("$1", str(transactions)))
        await admin.execute("VACUUM ANALYZE")
    finally:
        await admin.close()


async def test_a_control_takes_at_most_twice_as_long_as_a_query_by_hand(database: Database) -> None:
    await _fill(database, TRANSACTIONS)
    reader = await asyncpg.connect(database.dsn("tieout_reader"))
    owner = await asyncpg.connect(database.dsn("tieout_app"))
    try:
        ratios = {name: await _ratio(reader, owner, name) for name in BY_HAND}
    finally:
        await reader.close()
        await owner.close()
    for control, ratio in ratios.items():
        report(f"{control}, a control against a query by hand", ratio, "ratio", BAR, "lower")
    assert max(ratios.values()) <= BAR, ratios


async def _ratio(reader: Any, owner: Any, name: str) -> float:  # noqa: ANN401 -- connections
    check = CHECKS[name]
    parameters = check.parameters.model_validate({}).model_dump_json()
    ratios = []
    for _ in range(ROUNDS):
        elapsed_s = stopwatch()
        _, rows = await population(reader, check.plain, check.query, (), FLOW, T, now(), parameters)
        control_s = elapsed_s()
        async with reading(owner):
            elapsed_s = stopwatch()
            wanted = await owner.fetch(BY_HAND[name], T)
            ratios.append(control_s / elapsed_s())
        found = {row["subject"] for row in rows if row["finding"] == "breach"}
        assert found == {row["subject"] for row in wanted}
        assert found
        print(f"{name}: {control_s:.2f} s, by hand {control_s / ratios[-1]:.2f} s")
    return statistics.median(ratios)
