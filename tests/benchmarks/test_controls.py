"""Controls and the bridge over many transactions, against queries by hand that answer one question and no other.

A control says of every item which class it is in, for any T and K, over whatever the flow says; the
query by hand (controls/<control>.sql) knows this flow and these facts, and finds the exceptions. Both
read the same tables, warm, over one connection each, interleaved, with the same settings; the sets of
exceptions must be equal, and so must the cells of the bridge. controls/world.sql says what the transactions
are: 975 of 1,000 are plain.
"""

import json
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from collector.clock import now, stopwatch
from collector.pipeline.publish import publish
from collector.settings.load import Configuration
from collector.store import streams
from collector.store.runs import population, reading
from collector.store.session import Role
from control_checks.bridge.bridge import prepared
from control_checks.cases import STREAM, Case, cases, configuration
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from tests.benchmarks.report import report
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

pytestmark = pytest.mark.bench

FLOW, CENTRES = "expense-to-reimbursement", "cost-centres"
TRANSACTIONS = 1_000_000
ROUNDS = 3
BAR = 2.0
T = datetime(2026, 7, 1, tzinfo=UTC)
PERIOD = "2026-06"
BEGIN, END = (
    datetime.fromisoformat("2026-06-01T00:00+02:00"),
    datetime.fromisoformat("2026-07-01T00:00+02:00"),
)
SQL = Path(__file__).parent / "controls"
WORLD = (SQL / "world.sql").read_text(encoding="utf-8")
BRIDGE = (SQL / "bridge.sql").read_text(encoding="utf-8")
BY_HAND = {
    name: (SQL / f"{name}.sql").read_text(encoding="utf-8")
    for name in CHECKS
    if name != "weak_key"  # looks at names, not at events
}
OWNERS = {
    "amounts": "amount_differs",
    "twice": "duplicate_posting",
    "not_posted": "approved_not_posted",
    "not_paid": "approved_not_paid",
}
"""The controls whose exceptions the bridge shows."""


def _configuration(records: int) -> Configuration:
    """Configure both flows, with all that was read declared complete up to T."""
    case = Case("speed", "2026-07-01 02:00", "", {}, unread={"expense": records})
    centres = configuration(CHECKS["stale_dimension"], case)
    plain = configuration(CHECKS["approved_not_posted"], case).settings.model_dump(mode="json")
    plain["flows"] = [flow.model_dump(mode="json") for flow in centres.flows]
    for flow in plain["flows"]:
        if flow["flow"] == FLOW:
            flow["bridge"] = ["approved", "posted", "paid"]
    plain["controls"] = {name: {"check": check, "flows": [FLOW]} for name, check in OWNERS.items()}
    return Configuration(type(centres.settings).model_validate(plain), centres.path, {})


async def _fill(database: Database, transactions: int) -> Configuration:
    """Fill a store as if one read of each stream had brought all of it in."""
    admin = await asyncpg.connect(database.dsn("postgres"))
    try:
        for month in range(5, 5 + 15):
            first = date(2025 + month // 12, month % 12 + 1, 1)
            await admin.execute("SELECT tieout.ensure_partition($1)", first)
        await admin.execute(WORLD.replace("$1", str(transactions)))
        records = await admin.fetchval("SELECT count(*) FROM tieout.event")
        settings = _configuration(records)
        await publish(admin, settings, now)
        for source in sorted(settings.settings.sources, key=lambda name: name != "expense"):
            stream = await streams.register(admin, source, STREAM, source)
            await admin.execute(
                "INSERT INTO tieout.batch SELECT nextval('tieout.batch_id'), max(seq), $1, NULL, '', '', NULL, NULL,"
                " $2, $2, 0, 0, 0, $2, '{}', 0, 'intact', 0 FROM tieout.commit_log",
                stream,
                records if source == "expense" else 0,
            )
        await admin.execute("VACUUM ANALYZE")
    finally:
        await admin.close()
    return settings


@asynccontextmanager
async def _connected(database: Database, role: Role) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(database.dsn(role))
    try:
        yield conn
    finally:
        await conn.close()


async def test_a_control_takes_at_most_twice_as_long_as_a_query_by_hand(database: Database) -> None:
    settings = await _fill(database, TRANSACTIONS)
    async with (
        _connected(database, "tieout_reader") as reader,
        _connected(database, "tieout_app") as owner,
    ):
        ratios = {name: await _ratio(reader, owner, name) for name in BY_HAND}
        ratios["bridge"] = await _bridge(database, settings, owner)
    for name, ratio in ratios.items():
        what = "the bridge of a month" if name == "bridge" else f"{name}, a control"
        report(f"{what} against a query by hand", ratio, "ratio", BAR, "lower")
    assert max(ratios.values()) <= BAR, ratios


async def _ratio(reader: Any, owner: Any, name: str) -> float:  # noqa: ANN401 -- connections
    check = CHECKS[name]
    of_centres = name == "stale_dimension"
    given = cases(name).parameters if of_centres else {}
    parameters = check.parameters.model_validate(given).model_dump_json()
    arguments = CENTRES if of_centres else FLOW, T, now(), parameters
    ratios = []
    for _ in range(ROUNDS):
        elapsed_s = stopwatch()
        _, rows = await population(reader, check.plain, check.query, (), *arguments)
        control_s = elapsed_s()
        async with reading(owner):
            elapsed_s = stopwatch()
            wanted = await owner.fetch(BY_HAND[name], T)
            ratios.append(control_s / elapsed_s())
        found = {row["subject"]: row for row in rows if row["finding"] == "breach"}
        assert found.keys() == {row["subject"] for row in wanted}
        assert found
        if of_centres:
            used = {row["subject"]: row["used"] for row in wanted}
            assert {s: json.loads(row["details"])["used"] for s, row in found.items()} == used
            assert sum(used.values())
        print(f"{name}: {control_s:.2f} s, by hand {control_s / ratios[-1]:.2f} s")
    return statistics.median(ratios)


async def _bridge(database: Database, settings: Configuration, owner: Any) -> float:  # noqa: ANN401 -- a connection
    engine = Engine(settings, DatabaseStore(database), CHECKS, now)
    bridge = await prepared(engine, T, None, "the benchmark")
    assert all(run.complete and run.exceptions for run in bridge.runs)
    runs = {run.control: run.run for run in bridge.runs}
    ratios = []
    for _ in range(ROUNDS):
        elapsed_s = stopwatch()
        document = await bridge.document(PERIOD)
        bridge_s = elapsed_s()
        async with reading(owner):
            elapsed_s = stopwatch()
            wanted = await owner.fetch(BRIDGE, T, BEGIN, END, *(runs[name] for name in OWNERS))
            ratios.append(bridge_s / elapsed_s())
        found = {
            (row["to"], cell): (value["count"], value["amount_minor"])
            for row in document["rows"]
            for cell, value in row["cells"].items()
            if value["amount_minor"] or value["count"]
        }
        assert found == {(r["to"], r["cell"]): (r["count"], r["amount_minor"]) for r in wanted}
        print(f"bridge: {bridge_s:.2f} s, by hand {bridge_s / ratios[-1]:.2f} s")
    return statistics.median(ratios)
