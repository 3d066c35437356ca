"""Ten million events of 84 months in one store: what ingest, a trace and a search cost at the end of it.

The company's clock runs on while it is read, as in production: a batch is mostly of one month, and 30 % of its events
touch documents at least 100 batches old. The first and the last million are read in rounds, each with COPY of the
very same rows into a twin that is as full. Nothing is told to the database in between: vacuum and statistics are its own.
"""

import statistics
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below

import asyncpg
import pytest

from collector.clock import now, stopwatch
from collector.pipeline.collect import Collector
from collector.pipeline.story import Stories
from collector.settings.definitions import Settings
from collector.store import fragments, ingest
from collector.store.embedded import Server
from tests.benchmarks.company import (
    BATCH,
    MAPPING,
    ROUND_BATCHES,
    TABLES,
    VERBS,
    Company,
    Mark,
    collect,
    connected,
    copy,
    limit,
    twin,
)
from tests.benchmarks.report import report
from tests.support.postgres import Database, fresh_database

pytestmark = [pytest.mark.bench, pytest.mark.long]

ROUND = BATCH * ROUND_BATCHES
EVENTS = 10_000_000
ROUNDS = 11
MONTHS, START = 84, datetime(2019, 1, 1, tzinfo=UTC)
MONTH = TABLES["event"].index("month")
OLD_BATCHES = 100
LOOKUPS, FRAGMENTS = 3_000, 300
KEPT_BAR, P50_BAR, P99_BAR, FRAGMENT_S_BAR = 0.85, 3.0, 5.0, 0.3
SETTINGS = Settings.model_validate(
    {
        "tieout": 1,
        "entities": {f"DE{n}0": {"name": "DE", "calendar": "office"} for n in range(3)},
        "calendars": {"office": {"timezone": "Europe/Berlin"}},
        "sources": {
            "bench": {
                "connector": "files",
                "system": "bench",
                "streams": {
                    "bench": {
                        "mapping": MAPPING.model_dump(mode="json", exclude_none=True, by_alias=True)
                    }
                },
            }
        },
        "flows": [
            {
                "flow": "reports",
                "title": "Reports",
                "anchor": "expense_report",
                "steps": [
                    {"name": verb, "system": "bench", "done_by": [f"expense_report.{verb}"]}
                    for verb in VERBS[:3]
                ],
            }
        ],
    }
)


class Filling:
    """A company, and how many of its reports were there after each round."""

    def __init__(self, folder: Path) -> None:
        self.company = Company(folder, START, timedelta(days=MONTHS * 30.4) / EVENTS)
        self.reports = [0]

    def round(self) -> Path:
        """Write the next round. Old are reports of 100 batches ago, before that of the first half."""
        n = len(self.reports) - 1
        self.company.old = range(self.reports[max(n // 2, n - OLD_BATCHES // ROUND_BATCHES)])
        path = self.company.round("next")
        self.reports.append(self.company.reports)
        return path


async def million(server: Server, database: Database, filling: Filling) -> tuple[float, float]:
    """Read a million events in rounds, after one to warm up; return events/s, and those of COPY into a twin."""
    took, bare = [], []
    async with AsyncExitStack() as stack:
        name = await stack.enter_async_context(twin(server, database))
        ours = await stack.enter_async_context(connected(database.dsn()))
        theirs = await stack.enter_async_context(connected(server.dsn("tieout_app", name)))
        collector = stack.enter_context(Collector(ours, limit, now))
        for _ in range(ROUNDS):
            mark, month = await Mark.of(ours), filling.company.at.date().replace(day=1)
            took.append(await collect(collector, filling.round()))
            added = await mark.added(ours, month)
            assert len(added["event"]) == ROUND
            await ingest.ensure_partitions(theirs, {row[MONTH] for row in added["event"]})
            bare.append(await copy(theirs, added))
            told = filling.company.events, ROUND / took[-1], ROUND / bare[-1]
            print("{:,}: {:,.0f}/s, COPY {:,.0f}/s".format(*told))
    return ROUND / statistics.median(took[1:]), ROUND / statistics.median(bare[1:])


async def fill(database: Database, filling: Filling) -> None:
    """Read all that is between the first and the last million."""
    async with connected(database.dsn()) as conn:
        with Collector(conn, limit, now) as collector:
            for n in range(EVENTS // ROUND - 2 * ROUNDS):
                took = await collect(collector, filling.round())
                if n % 10 == 0:
                    print(f"{filling.company.events:,}: {ROUND / took:,.0f}/s")


def percentile(times_s: list[float], percent: int) -> float:
    return statistics.quantiles(times_s, n=100)[percent - 1]


async def traces(conn: asyncpg.Connection, filling: Filling) -> dict[int, float]:
    """Tell stories by exact keys, and look up documents by number, in turn; return how many times as long, by percentile.

    All of them twice: the first time warms what the second time measures.
    """
    stories, random, as_of = Stories(SETTINGS), Random(3), filling.company.at  # noqa: S311 -- which keys
    last = await conn.fetchval("SELECT max(id) FROM tieout.document")
    asked = [
        (random.randrange(filling.company.reports), random.randrange(last) + 1)
        for _ in range(LOOKUPS)
    ]
    ratios: dict[int, float] = {}
    for temperature in ("cold", "warm"):
        bare, told = [], []
        for n, (number, document) in enumerate(asked):
            elapsed = stopwatch()
            await conn.fetchrow("SELECT * FROM tieout.document WHERE id = $1", document)
            bare.append(elapsed())
            key = f"R{number:09d}" if n % 2 else f"cl-{number * 7:010d}"
            elapsed = stopwatch()
            story = await stories.tell(conn, key, as_of)
            told.append(elapsed())
            (transaction,) = story.transactions
            assert transaction.documents[0].number == f"R{number:09d}"
        for percent in (50, 99):
            one, other = percentile(bare, percent), percentile(told, percent)
            print(
                f"{temperature}, p{percent}: look-up {one * 1e6:,.0f} µs, trace {other * 1e6:,.0f} µs"
            )
            ratios[percent] = other / one
    return ratios


async def searches(conn: asyncpg.Connection, filling: Filling) -> float:
    """Search fragments of five to nine characters; return the seconds that 95 of 100 take at most."""
    stories, random, as_of = Stories(SETTINGS), Random(4), filling.company.at  # noqa: S311 -- which fragments
    took, found = [], Counter[str]()
    for n in range(FRAGMENTS):
        number = random.randrange(filling.company.reports)
        key = f"R{number:09d}" if n % 2 else f"CL-{number * 7:010d}"
        length = random.randrange(5, 10)
        begin = random.randrange(len(key) - length + 1)
        elapsed = stopwatch()
        story = await stories.tell(conn, key[begin : begin + length], as_of)
        took.append(elapsed())
        assert story.transactions or story.candidates
        found["one" if story.transactions else "more" if story.has_more else "some"] += 1
    print(
        f"fragments: {dict(found)}, median {statistics.median(took) * 1e3:.0f} ms, most {max(took):.2f} s"
    )
    return percentile(took, 95)


async def test_ten_million_events(server: Server, tmp_path: Path) -> None:
    filling = Filling(tmp_path)
    async with fresh_database(server) as database:
        first, first_bare = await million(server, database, filling)
        await fill(database, filling)
        last, last_bare = await million(server, database, filling)
        assert filling.company.events == EVENTS
        async with connected(database.dsn()) as conn:
            months = await conn.fetchval(
                "SELECT count(*) FROM pg_inherits WHERE inhparent = 'tieout.event'::regclass"
            )
            assert months >= MONTHS
            elapsed = stopwatch()
            while await fragments.extend(conn) == fragments.BATCHES:
                pass
            names_s = elapsed()
            size, names = await conn.fetchrow(
                "SELECT (SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n"
                " ON n.oid = c.relnamespace WHERE n.nspname = 'tieout' AND c.relkind = 'r')::float8,"
                " (SELECT count(*) FROM tieout.searchable_name)"
            )
            ratios = await traces(conn, filling)
            fragment_s = await searches(conn, filling)
    report("the last million / the first", last / first, "ratio", KEPT_BAR, "higher")
    report("the same of COPY", last_bare / first_bare, "ratio", None, "higher")
    report("the last million / COPY of the same rows", last / last_bare, "ratio", None, "higher")
    report("ingest, the last of ten million", last, "events/s", None, "higher")
    report("bytes per event of ten million", size / EVENTS, "bytes", None, "lower")
    report("names made searchable", names / names_s, "names/s", None, "higher")
    report("trace among ten million / look-up, p50", ratios[50], "ratio", P50_BAR, "lower")
    report("trace among ten million / look-up, p99", ratios[99], "ratio", P99_BAR, "lower")
    report("search by fragment among ten million, p95", fragment_s, "s", FRAGMENT_S_BAR, "lower")
    assert last / first >= KEPT_BAR
    assert ratios[50] <= P50_BAR
    assert ratios[99] <= P99_BAR
    assert fragment_s <= FRAGMENT_S_BAR
