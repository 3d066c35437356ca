"""Ingest against the physical limit: COPY of the very same rows, in the same run.

JSON Lines → committed, correlated, steps computed, by one collector; the limit is one connection's
`copy_records_to_table` of the rows that came of it, tuples built beforehand, into the same tables with
the same indexes in a twin database. A document's events are spread over three batches, and 30 % of the
events touch documents that are at least 100 batches old: so many that the collector has forgotten most
of them, and with any of the five steps, two of which they have passed before. Rounds are interleaved,
one to warm up is left out; the median of the per-round ratios counts.
"""

import os
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from collector.clock import now, stopwatch
from collector.pipeline.collect import Collector
from collector.pipeline.commit import commit
from collector.store import ingest
from collector.store.embedded import Server
from tests.benchmarks.company import (
    BATCH,
    ROUND_BATCHES,
    Company,
    Mark,
    collect,
    connected,
    copy,
    copy_reference,
    limit,
    twin,
)
from tests.benchmarks.processes import cpu_s, family, parent
from tests.benchmarks.report import report
from tests.support.postgres import fresh_database

pytestmark = pytest.mark.bench

OLD_BATCHES = 12
BATCHES_BETWEEN, BATCH_BETWEEN = 100, 4_000
ROUNDS = 5
RATIO_BAR, REFERENCE_BAR = 0.5, 0.3


def history(company: Company) -> list[Path]:
    """Write the old batches and those between, one file each: the first two steps of reports."""
    sizes = [BATCH] * OLD_BATCHES + [BATCH_BETWEEN] * BATCHES_BETWEEN
    paths = []
    for n, size in enumerate(sizes):
        first = company.reports
        company.reports += size // 2
        events = [(r, verb) for verb in (0, 1) for r in range(first, company.reports)]
        paths.append(company.write(f"old-{n:03d}.jsonl", [events]))
        if n < OLD_BATCHES:
            company.old = range(company.reports)
    return paths


class Lock:
    """Measures what share of its batches' time a collector holds the one lock: others cannot commit meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._lock = ingest.lock
        self._held: Callable[[], float] = float
        self.held_s = self.all_s = 0.0
        monkeypatch.setattr(ingest, "lock", self._taken)
        monkeypatch.setattr("collector.pipeline.collect.commit", self._committed)

    async def _taken(self, conn: asyncpg.Connection) -> int:
        last = await self._lock(conn)
        self._held = stopwatch()
        return last

    async def _committed(self, *arguments: Any, **options: Any) -> ingest.BatchRow:  # noqa: ANN401 -- those of commit
        elapsed = stopwatch()
        row = await commit(*arguments, **options)
        self.all_s += elapsed()
        self.held_s += self._held()
        return row


class Round(NamedTuple):
    """What a round measured: two ratios, events a second, and processor time in µs an event."""

    ratio: float
    fixed: float
    speed: float
    collector_us: float
    database_us: float


def collector_s(backend: int) -> float:
    """Return the processor time of this process and of the one that reads ahead, without the server's."""
    return sum(map(cpu_s, family(os.getpid(), without=parent(backend))))


async def rounds(
    company: Company, ours: asyncpg.Connection, theirs: asyncpg.Connection
) -> AsyncIterator[Round]:
    """Ingest and COPY in turn."""
    backend = ours.get_server_pid()
    with Collector(ours, limit, now) as collector:
        for n in range(ROUNDS + 1):
            mark, month = await Mark.of(ours), company.at.date().replace(day=1)
            path = company.round(n)
            before = collector_s(backend), cpu_s(backend)
            took = await collect(collector, path)
            after = collector_s(backend), cpu_s(backend)
            added = await mark.added(ours, month)
            events = len(added["event"])
            assert events == BATCH * ROUND_BATCHES
            bare = await copy(theirs, added)
            fixed = await copy_reference(theirs, added["event"])
            worked = [(b - a) * 1e6 / events for a, b in zip(before, after, strict=True)]
            found = Round(bare / took, fixed / took, events / took, *worked)
            print(
                "round {}: ratio {:.2f}, fixed table {:.2f}, {:,.0f}/s, {:.1f} + {:.1f} µs".format(
                    n, *found
                )
            )
            yield found


async def test_ingest_keeps_up_with_bare_copy(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company, lock = Company(tmp_path), Lock(monkeypatch)
    async with fresh_database(server) as database, AsyncExitStack() as stack:
        async with connected(database.dsn("tieout_app")) as conn:
            with Collector(conn, limit, now) as collector:
                for path in history(company):
                    await collect(collector, path)
        name = await stack.enter_async_context(twin(server, database))
        ours = await stack.enter_async_context(connected(database.dsn("tieout_app")))
        theirs = await stack.enter_async_context(connected(server.dsn("tieout_app", name)))
        found = [figures async for figures in rounds(company, ours, theirs)]
        size, count = await ours.fetchrow(
            "SELECT (SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'tieout'"
            " AND c.relkind = 'r')::float8, (SELECT sum(events) FROM tieout.batch)::float8"
        )
    ratio, fixed, speed, *worked = map(statistics.median, zip(*found[1:], strict=True))
    report("ingest / COPY of the same rows", ratio, "ratio", RATIO_BAR, "higher")
    report("ingest / COPY into the fixed table", fixed, "ratio", REFERENCE_BAR, "higher")
    report("ingest", speed, "events/s", None, "higher")
    report("processor time of the collector", worked[0], "µs/event", None, "lower")
    report("processor time of the database", worked[1], "µs/event", None, "lower")
    report("share of a batch under the one lock", lock.held_s / lock.all_s, "ratio", None, "lower")
    report("bytes per event with indexes", size / count, "bytes", None, "lower")
    assert ratio >= RATIO_BAR
    assert fixed >= REFERENCE_BAR
