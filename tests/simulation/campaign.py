"""One campaign: the world of a seed, read by two to four collectors that crash, and what is in the store then."""

import asyncio
from collections import Counter, deque
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random  # noqa: TID251 -- seeded below
from typing import Any, NamedTuple

import asyncpg

from collector.pipeline.ahead import Source
from collector.pipeline.collect import Collector
from collector.store.connection import DATABASE_ERRORS
from tests.simulation.oracle import HOLDERS_MAX, Expected, expected
from tests.simulation.turns import Turns, Watched, Worker
from tests.simulation.world import NOW, ROUNDS, VANISHED, Log, sources, world
from tests.support.paths import assert_paths
from tests.support.postgres import Database

CAMPAIGN_S_MAX = 60.0
SETTINGS = {"TimeZone": "UTC", "synchronous_commit": "off"}  # the server does not crash here


class Report(NamedTuple):
    """What a campaign injected, how often each crash hit, and everything in the order it happened."""

    injected: Counter[str]
    reached: Counter[str]
    hit: Counter[tuple[str, str]]
    trace: list[str]

    def add(self, other: "Report") -> None:
        """Count what another campaign injected as well."""
        self.injected.update(other.injected)
        self.reached.update(other.reached)
        self.hit.update(other.hit)


def limit(_kind: str) -> int:
    return HOLDERS_MAX


class Campaign:
    """Runs one seed against an empty store."""

    def __init__(self, seed: str, database: Database, admin: asyncpg.Connection) -> None:
        self.seed = seed
        self._database = database
        self.logs, self.injected = world(seed)
        self._sources, self._readers = sources(seed, self.logs)
        self.turns = Turns(seed, admin)
        several = Random(f"collectors {seed}").choice((2, 2, 2, 3, 4))  # noqa: S311 -- no secret
        self._names = "wxyz"[:several]
        self.injected[f"campaigns of {several} collectors"] += 1

    async def run(self) -> Report:
        """Read everything, crashes and all, then once more undisturbed."""
        async with asyncio.timeout(CAMPAIGN_S_MAX):
            for number in range(ROUNDS + 1):
                for reader in self._readers:
                    reader.round = number
                workers = [Worker(n) for n in (self._names if number < ROUNDS else self._names[0])]
                self._count_gone(number)
                async with asyncio.TaskGroup() as group:
                    for worker in workers:
                        self.turns.enter(worker)
                        group.create_task(self._work(worker, number))
                    group.create_task(self.turns.conduct())
        self.injected["waited for another collector"] += self.turns.waited
        return Report(self.injected, self.turns.reached, self.turns.hit, self.turns.trace)

    def _count_gone(self, number: int) -> None:
        self.injected["part not listed"] += sum(number in log.gone for log in self.logs)

    async def _work(self, worker: Worker, number: int) -> None:
        """Read all streams, in the order of the seed; after a crash go on over a new connection."""
        random = Random(f"work {self.seed} {number} {worker.name}")  # noqa: S311 -- no secret
        order = list(self._sources)
        random.shuffle(order)
        todo = deque(order)
        try:
            while todo:
                await self._live(worker, todo, random, number)
        finally:
            self.turns.leave(worker)

    async def _live(self, worker: Worker, todo: deque[Source], random: Random, number: int) -> None:
        """Live until the work is done or a crash ends it."""
        conn = await asyncpg.connect(
            self._database.dsn("tieout_app"), connection_class=Watched, server_settings=SETTINGS
        )
        conn.worker, conn.turns = worker, self.turns
        worker.backend = conn.get_server_pid()
        worker.struck = "" if number < ROUNDS else "never"
        worker.task = asyncio.create_task(self._sync(conn, todo, random))
        try:
            await asyncio.wait({worker.task})
            if worker.task.cancelled() or worker.task.exception() is not None:
                self._judge(worker)
        finally:
            if not worker.task.done():  # the campaign has failed: nobody gives turns any more
                self.turns.over = True
                worker.task.cancel()
                await asyncio.gather(worker.task, return_exceptions=True)
            worker.turn = None
            conn.terminate()
            await self.turns.terminate(worker)

    def _judge(self, worker: Worker) -> None:
        """See that a collector ended by what befell it, and by nothing else."""
        assert worker.task is not None
        error = None if worker.task.cancelled() else worker.task.exception()
        if worker.struck in {"", "never"} or not isinstance(error, (type(None), *DATABASE_ERRORS)):
            raise error or AssertionError("cancelled by nobody")

    async def _sync(self, conn: Watched, todo: deque[Source], random: Random) -> None:
        with Collector(conn, limit, self._clock(random)) as collector:
            while todo:
                tally = await collector.sync(todo[0])
                self.injected["vanished while read"] += sum(VANISHED in r for r in tally.remarks)
                self.injected["leased to another"] += sum(
                    "another process" in r for r in tally.remarks
                )
                todo.popleft()

    def _clock(self, random: Random) -> Any:  # noqa: ANN401 -- a Clock that counts
        def clock() -> datetime:
            jump = random.choice((0, 0, 0, -1, 1))
            self.injected["our clock jumped an hour"] += jump != 0
            return NOW + timedelta(hours=jump)

        return clock


async def check(conn: asyncpg.Connection, logs: list[Log]) -> None:
    """Compare a store in which all of some logs has been read with the oracle."""
    truth = expected(logs)
    await _check_facts(conn, truth)
    await _check_derived(conn, truth)
    await _check_totals(conn, truth, logs)
    await _check_commits(conn)


async def _check_facts(conn: asyncpg.Connection, truth: Expected) -> None:
    events = await conn.fetch(
        "SELECT r.value, e.type, e.occurred_at, e.amount_minor, e.currency FROM tieout.event e"
        " JOIN tieout.reference r ON r.document = e.document AND r.role = 0"
    )
    assert Counter(map(tuple, events)) == truth.events
    quarantined = await conn.fetch(
        "SELECT s.stream, q.reason, b.raw FROM tieout.quarantine q"
        " JOIN tieout.stream s ON s.id = q.stream"
        " JOIN tieout.quarantine_body b ON b.quarantine = q.id"
    )
    assert Counter(map(tuple, quarantined)) == truth.quarantined
    raw = [row[0] for row in await conn.fetch("SELECT raw FROM tieout.raw_record")]
    assert not Counter(raw) - Counter(set(raw))
    assert truth.raw <= set(raw) <= truth.raw_most


async def _check_derived(conn: asyncpg.Connection, truth: Expected) -> None:
    found = await conn.fetch(
        "SELECT array_agg(r.value) FROM tieout.membership(1000000) m"
        " JOIN tieout.reference r ON r.document = m.document AND r.role = 0 GROUP BY m.component"
    )
    assert {frozenset(row[0]) for row in found} == truth.transactions
    steps = await conn.fetch(
        "SELECT r.value, s.type, s.first_at, s.last_at, s.n, s.amount_minor, s.currency"
        " FROM tieout.step s JOIN tieout.reference r ON r.document = s.document AND r.role = 0"
    )
    assert {(row[0], row[1]): tuple(row)[2:] for row in steps} == truth.steps
    assert len(steps) == len(truth.steps)
    await assert_paths(conn)
    references = await conn.fetch(
        "SELECT o.value, r.role, r.kind, r.value FROM tieout.reference r"
        " JOIN tieout.reference o ON o.document = r.document AND o.role = 0"
    )
    assert Counter(map(tuple, references)) == Counter(truth.references)


async def _check_totals(conn: asyncpg.Connection, truth: Expected, logs: list[Log]) -> None:
    """Control totals are those of the facts, and the cursors of a part follow on one another."""
    found = await conn.fetch(
        "SELECT b.*, b.amounts::text AS by_currency FROM tieout.batch b ORDER BY seq"
    )
    for b in found:
        assert b["read"] == b["accepted"] + b["duplicate"] + b["quarantined"] + b["ignored"]
    assert sum(b["accepted"] for b in found) == sum(truth.events.values())
    assert sum(b["events"] for b in found) == sum(truth.events.values())
    assert sum(b["quarantined"] for b in found) == sum(truth.quarantined.values())
    assert sum(int(b["hash_total"]) for b in found) % 2**128 == truth.hash_total
    amounts = await conn.fetch(
        "SELECT key, sum(value::bigint) FROM tieout.batch, jsonb_each_text(amounts) GROUP BY key"
    )
    assert {key: int(total) for key, total in amounts if total} == truth.amounts
    for log in logs:
        own = [b for b in found if b["part_name"] == log.name]
        cursors = [None, *(b["cursor_to"] for b in own)]
        assert [b["cursor_from"] for b in own] == cursors[:-1]
        if not log.overlap:
            assert sum(b["read"] for b in own) == truth.read[log.name]


async def _check_commits(conn: asyncpg.Connection) -> None:
    """Commits are numbered without gaps, and their times grow whatever the clock did."""
    found = await conn.fetch("SELECT seq, recorded_at FROM tieout.commit_log ORDER BY seq")
    assert [row["seq"] for row in found] == list(range(1, len(found) + 1))
    assert all(a["recorded_at"] < b["recorded_at"] for a, b in pairwise(found))
