"""A trace by key at a million events against a bare primary-key look-up through the same driver.

The function measured builds the full answer: documents, steps with their states, events. Both are
warm, over one connection, interleaved, with the same random keys.
"""

import json
import statistics
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below

import asyncpg
import pytest

from api.wiring import CHECK_PARAMETERS, open_source
from collector.clock import now, stopwatch
from collector.pipeline.collect import Collector
from collector.pipeline.publish import publish
from collector.pipeline.story import Stories
from collector.settings.load import load
from connectors.registry import CONNECTORS
from tests.benchmarks.report import report
from tests.support.postgres import Database

pytestmark = pytest.mark.bench

EVENTS = 1_000_000
EVENTS_MAX = 20
LOOKUPS, WARM = 3_000, 500
P50_BAR, P99_BAR = 3.0, 5.0
START = datetime(2025, 1, 1, tzinfo=UTC)
CONFIGURATION = """\
tieout: 1
entities: {HQ: {name: HQ, calendar: office}}
calendars: {office: {timezone: Europe/Berlin}}
sources:
  shop:
    connector: files
    system: shop
    streams:
      orders:
        read: {path: orders.jsonl, format: jsonl}
        mapping:
          key: id
          document: {type: sales_order, number: order}
          occurred_at: {value: at, timezone: in value}
          amount: {value: amount, currency: =EUR}
          entity: =HQ
          references:
            - {kind: customer_order, role: identity, value: theirs, scope: customer}
            - {kind: customer, role: context, value: customer}
          events:
            - rule: order
              type:
                value: what
                unknown: sales_order.noted
                values: {ordered: sales_order.ordered, invoiced: sales_order.invoiced,
                         paid: sales_order.paid}
flows:
  - flow: orders
    title: Order to cash
    anchor: sales_order
    steps:
      - {name: ordered, system: shop, done_by: [sales_order.ordered]}
      - {name: invoiced, system: shop, after: ordered, due: 2 business days,
         done_by: [sales_order.invoiced]}
      - {name: paid, system: shop, after: invoiced, due: 30 days, done_by: [sales_order.paid]}
"""


def write(folder: Path) -> int:
    """Write a million events of orders with 1 to 20 events each; return the number of orders."""
    (folder / "tieout.yaml").write_text(CONFIGURATION, encoding="utf-8")
    written = order = 0
    with (folder / "orders.jsonl").open("w", encoding="utf-8") as file:
        while written < EVENTS:
            for n in range(order % EVENTS_MAX + 1):
                at = START + timedelta(minutes=order * 4 + n * 700)
                record = {
                    "id": f"{order}-{n}",
                    "at": at.isoformat(),
                    "what": ("ordered", "invoiced", "paid", "noted")[min(n, 3)],
                    "order": f"SO-{order:07d}",
                    "theirs": f"PO/{order * 31:09d}",
                    "customer": f"C{order % 900}",
                    "amount": f"{order % 900}.25",
                }
                file.write(json.dumps(record) + "\n")
                written += 1
            order += 1
    return order


def percentile(times_s: list[float], percent: int) -> float:
    return statistics.quantiles(times_s, n=100)[percent - 1]


async def test_a_trace_by_key_costs_a_few_bare_look_ups(database: Database, tmp_path: Path) -> None:
    orders = write(tmp_path)
    configuration = load(tmp_path / "tieout.yaml", CONNECTORS, CHECK_PARAMETERS)
    conn = await asyncpg.connect(database.dsn("tieout_app"))
    await publish(conn, configuration, now)
    with Collector(conn, lambda _kind: 20, now) as collector:
        tally = await collector.sync(open_source(configuration, "shop", "orders"))
    assert tally.accepted >= EVENTS
    owner = await asyncpg.connect(database.dsn("tieout_owner"))
    await owner.execute("ANALYZE")
    await owner.close()

    stories, random, as_of = Stories(configuration.settings), Random(3), now()  # noqa: S311 -- which keys
    last = await conn.fetchval("SELECT max(id) FROM tieout.document")
    bare, told = [], []
    for n in range(WARM + LOOKUPS):
        order, number = random.randrange(orders), random.randrange(last) + 1
        elapsed = stopwatch()
        await conn.fetchrow("SELECT * FROM tieout.document WHERE id = $1", number)
        bare_s = elapsed()
        key = f"SO-{order:07d}" if n % 2 else f"po/{order * 31:09d}"
        elapsed = stopwatch()
        story = await stories.tell(conn, key, as_of)
        told_s = elapsed()
        assert len(story.transactions[0].events) == order % EVENTS_MAX + 1
        assert len(story.transactions[0].steps) == 3
        if n >= WARM:
            bare.append(bare_s)
            told.append(told_s)
    await conn.close()
    for percent, bar in ((50, P50_BAR), (99, P99_BAR)):
        one, other = percentile(bare, percent), percentile(told, percent)
        print(f"p{percent}: look-up {one * 1e6:,.0f} µs, trace {other * 1e6:,.0f} µs")
        report(f"trace by key / look-up, p{percent}", other / one, "ratio", bar, "lower")
    assert percentile(told, 50) / percentile(bare, 50) <= P50_BAR
    assert percentile(told, 99) / percentile(bare, 99) <= P99_BAR
