"""Every query of every board brings data from a real PostgreSQL and a real Prometheus."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from collector.pipeline.measure import measure
from collector.telemetry.metrics import render
from control_checks.bridge.current import keep_current
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from dashboards.registry import BOARDS
from dashboards.render import documents
from tests.support import shop
from tests.support.postgres import Database
from tests.support.prometheus import Prometheus, scraping
from tests.support.store import DatabaseStore, at, collect

NOW = shop.NOW
CHOSEN = {"source": ".*", "flow": "invoices", "control": "(late_payments|nothing_stuck)"}
WINDOW = "1m"


class Query(NamedTuple):
    """One query of a panel, and what makes its variables' values."""

    panel: str
    text: str


def boards() -> Iterator[dict[str, Any]]:
    for path, text in documents().items():
        assert path.stem in BOARDS
        yield json.loads(text)


def queries(kind: str) -> list[Query]:
    """Return the queries of a kind: `expr` for PromQL, `rawSql` for PostgreSQL."""
    found = [
        Query(panel["title"], target[kind])
        for board in boards()
        for panel in board["panels"]
        for target in panel.get("targets", [])
        if kind in target
    ]
    assert found
    return found


def promql(text: str) -> str:
    """Fill in what Grafana fills in: its own variables and the chosen values."""
    for name, value in {"__rate_interval": WINDOW, "__range": WINDOW, **CHOSEN}.items():
        text = re.sub(rf"\${name}\b|\$\{{{name}\}}", value, text)
    assert "$" not in text, f"a variable is left: {text}"
    return text


def sql(text: str, start: datetime, end: datetime) -> str:
    """Expand the time macros as Grafana documents them for PostgreSQL."""
    first, last = (f"'{t.strftime('%Y-%m-%dT%H:%M:%SZ')}'" for t in (start, end))
    text = re.sub(r"\$__timeFilter\(([^)]+)\)", rf"\1 BETWEEN {first} AND {last}", text)
    text = text.replace("$__timeFrom()", first).replace("$__timeTo()", last)
    assert "$" not in text, f"a macro is left: {text}"
    return text


@pytest.fixture
async def filled(database: Database, tmp_path: Path) -> str:
    """Fill the database through the pipeline and the engine; return the exposition."""
    store = DatabaseStore(database)
    configuration, _ = await collect(store, shop.write(tmp_path), at(NOW - timedelta(hours=1)))
    engine = Engine(configuration, store, CHECKS, at(NOW))
    for control, verdict in (("late_payments", "FAIL"), ("nothing_stuck", "PASS")):
        run = await engine.run(control, None, None, trigger="command", actor="test")
        assert (run.verdict, run.error) == (verdict, None)
    await keep_current(engine)
    return render(await measure(store, configuration, NOW))


async def test_every_postgresql_query_brings_rows_to_the_reader(
    filled: str, database: Database
) -> None:
    conn = await asyncpg.connect(database.dsn("tieout_reader"))
    try:
        for query in queries("rawSql"):
            text = sql(query.text, NOW - timedelta(days=1), NOW + timedelta(minutes=1))
            assert await conn.fetch(text), f"{query.panel}: no rows"
            early = sql(query.text, NOW - timedelta(days=9), NOW - timedelta(days=8))
            rows = await conn.fetch(early)
            assert (rows == []) == ("$__timeFilter" in query.text), query.panel
    finally:
        await conn.close()


async def test_the_last_verdicts_are_those_of_the_runs_the_worst_first(
    filled: str, database: Database
) -> None:
    conn = await asyncpg.connect(database.dsn("tieout_reader"))
    (query,) = [q for q in queries("rawSql") if q.panel == "Last verdicts"]
    rows = await conn.fetch(query.text)
    await conn.close()
    assert [(r["control"], r["verdict"]) for r in rows] == [
        ("late_payments", "FAIL"),
        ("never_run", "PASS"),  # but for the bridge
        ("nothing_stuck", "PASS"),
    ]


@pytest.fixture
def prometheus(filled: str, tmp_path: Path) -> Iterator[Prometheus]:
    with scraping(filled, tmp_path) as server:
        yield server


def test_every_promql_query_and_every_variable_brings_data(prometheus: Prometheus) -> None:
    for query in queries("expr"):
        found = prometheus.query(promql(query.text))
        assert found, f"{query.panel}: no data for {promql(query.text)}"
        assert all(r["value"][1] != "NaN" for r in found), query.panel
    for board in boards():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                matched = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
                assert matched is not None
                metric, label = matched.groups()
                assert prometheus.ask(f"label/{label}/values", **{"match[]": metric}), variable
    figures = {
        (r["metric"]["step"]): float(r["value"][1])
        for r in prometheus.query(promql(panel("Transactions in flight")))
    }
    assert figures == {"received": 0, "approved": 1, "paid": 2}
    (waiting,) = prometheus.query(promql(panel("Undelivered notices")))
    assert (waiting["metric"], waiting["value"][1]) == ({"destination": "cases"}, "1")


def panel(title: str) -> str:
    """Return the one query of a panel."""
    (text,) = [query.text for query in queries("expr") if query.panel == title]
    return text
