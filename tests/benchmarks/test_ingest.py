"""Ingest against the physical limit: COPY of the very same rows, in the same run.

JSON Lines → committed, correlated, steps computed, by one collector; the limit is one connection's
`copy_records_to_table` of the rows that came of it, tuples built beforehand, into the same tables with
the same indexes in a twin database. A document's events are spread over three batches, and 30 % of the
events touch documents that are at least 100 batches old: so many that the collector has forgotten most
of them, and with any of the five steps, two of which they have passed before. Rounds are interleaved,
one to warm up is left out; the median of the per-round ratios counts.
"""

import json
import statistics
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below
from typing import Any

import asyncpg
import pytest

from collector.clock import now, stopwatch
from collector.connector import Redelivers
from collector.pipeline.ahead import Source
from collector.pipeline.collect import Collector
from collector.pipeline.commit import commit
from collector.pipeline.mapping import CompiledMapping
from collector.settings.mapping import Mapping
from collector.store import ingest, rows
from collector.store.cluster import database_sql
from collector.store.embedded import Server
from connectors.registry import CONNECTORS
from tests.benchmarks.report import report
from tests.support.postgres import Database, fresh_database

pytestmark = pytest.mark.bench

BATCH = 10_000
OLD_BATCHES = 12
BATCHES_BETWEEN, BATCH_BETWEEN = 100, 4_000
ROUNDS = 5
ROUND_BATCHES = 10
OLD_SHARE = 0.3
RATIO_BAR, REFERENCE_BAR = 0.5, 0.3
TABLES = {
    "event": rows.EVENT_COLUMNS,
    "document": rows.DOCUMENT_COLUMNS,
    "reference": rows.REFERENCE_COLUMNS,
    "step": rows.STEP_COLUMNS,
}
VERBS = ("submitted", "approved", "posted", "paid", "archived")
MAPPING = Mapping.model_validate(
    {
        "key": "id",
        "nulls": ["UNKNOWN"],
        "document": {"type": "expense_report", "number": "report"},
        "occurred_at": {"value": "at", "timezone": "in value"},
        "amount": {"value": "amount", "currency": "currency"},
        "entity": "entity",
        "actor": "actor",
        "references": [
            {"kind": "claim_number", "role": "identity", "value": "claim"},
            {"kind": "cost_center", "role": "context", "value": "cost_center"},
        ],
        "events": [
            {
                "rule": "workflow",
                "type": {
                    "value": "what",
                    "unknown": "quarantine",
                    "values": {verb: f"expense_report.{verb}" for verb in VERBS},
                },
            }
        ],
    }
)


class Company:
    """Writes JSON Lines of a company whose reports pass five steps over several batches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.random = Random(7)  # noqa: S311 -- a benchmark's data
        self.events = 0
        self.reports = 0
        self.old: list[int] = []
        self.start = datetime(2026, 1, 1, tzinfo=UTC)

    def _line(self, report_number: int, verb: int) -> str:
        self.events += 1
        at = self.start + timedelta(seconds=self.events)
        return json.dumps(
            {
                "id": f"evt-{self.events:09d}",
                "at": at.isoformat(),
                "what": VERBS[verb],
                "report": f"R{report_number:09d}",
                "claim": f"CL-{report_number * 7:010d}",
                "amount": f"{report_number % 90_000 / 100:.2f}",
                "currency": "EUR",
                "entity": f"DE{report_number % 3}0",
                "actor": f"user{report_number % 500}",
                "cost_center": f"CC{report_number % 200:04d}",
            }
        )

    def _write(self, name: str, batches: list[list[tuple[int, int]]]) -> Path:
        path = self.folder / name
        lines = [self._line(*event) for batch in batches for event in batch]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def history(self) -> list[Path]:
        """Write the old batches and those between, one file each: the first two steps of reports."""
        sizes = [BATCH] * OLD_BATCHES + [BATCH_BETWEEN] * BATCHES_BETWEEN
        paths = []
        for n, size in enumerate(sizes):
            first = self.reports
            self.reports += size // 2
            events = [(r, verb) for verb in (0, 1) for r in range(first, self.reports)]
            paths.append(self._write(f"old-{n:03d}.jsonl", [events]))
            if n < OLD_BATCHES:
                self.old += range(first, self.reports)
        return paths

    def round(self, n: int) -> Path:
        """Write one round: new reports with a step in each of three batches, and old ones."""
        young = int(BATCH * (1 - OLD_SHARE))
        batches: list[list[tuple[int, int]]] = [[] for _ in range(ROUND_BATCHES)]
        for b in range(ROUND_BATCHES):
            while len(batches[b]) < young:
                report_number, self.reports = self.reports, self.reports + 1
                for verb in range(3):
                    batches[(b + verb) % ROUND_BATCHES].append((report_number, verb))
        for batch in batches:
            del batch[young:]
            old = self.random.sample(self.old, BATCH - young)
            batch += [(r, self.random.randrange(len(VERBS))) for r in old]
            self.random.shuffle(batch)
        return self._write(f"round-{n}.jsonl", batches)


def limit(_kind: str) -> int:
    return 20


def source(path: Path) -> Source:
    spec = CONNECTORS["files"]
    options = spec.options.model_validate({"path": str(path), "format": "jsonl"})
    mapping = CompiledMapping(MAPPING, "bench", datetime(2000, 1, 1, tzinfo=UTC).date())
    reader = spec.open(options, path.parent)
    return Source("bench", "bench", "bench", reader, mapping, Redelivers.NEVER, keep_raw=False)


async def collect(collector: Collector, path: Path) -> float:
    """Ingest a file; return the seconds."""
    opened = source(path)
    elapsed = stopwatch()
    tally = await collector.sync(opened)
    took = elapsed()
    assert tally.complete
    assert tally.accepted == tally.read
    return took


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


class Mark:
    """Where the tables of a store ended before a round."""

    batch: int
    document: int

    @classmethod
    async def of(cls, conn: asyncpg.Connection) -> "Mark":
        mark = cls()
        mark.batch = await conn.fetchval("SELECT coalesce(max(id), 0) FROM tieout.batch")
        mark.document = await conn.fetchval("SELECT coalesce(max(id), 0) FROM tieout.document")
        await conn.execute("CREATE TEMP TABLE IF NOT EXISTS before (document bigint, type text)")
        await conn.execute("TRUNCATE before")
        await conn.execute("INSERT INTO before SELECT document, type FROM tieout.step")
        await conn.execute("ANALYZE before")
        return mark

    async def added(self, conn: asyncpg.Connection) -> dict[str, list[tuple[Any, ...]]]:
        """Return the rows that a round has added, by table, in the columns' order."""
        queries = {
            "event": ("e.batch > $1 ORDER BY e.batch, e.event_id", "tieout.event e", self.batch),
            "document": ("d.id > $1", "tieout.document d", self.document),
            "reference": ("r.batch > $1", "tieout.reference r", self.batch),
        }
        out = {}
        for table, (where, relation, argument) in queries.items():
            columns = ", ".join(TABLES[table])
            query = f"SELECT {columns} FROM {relation} WHERE {where}"
            out[table] = [tuple(r) for r in await conn.fetch(query, argument)]
        columns = ", ".join(f"s.{c}" for c in TABLES["step"])
        query = (
            f"SELECT {columns} FROM tieout.step s LEFT JOIN before b USING (document, type)"
            " WHERE b.document IS NULL"
        )
        out["step"] = [tuple(r) for r in await conn.fetch(query)]
        return out


def parts(records: list[tuple[Any, ...]], n: int) -> Iterator[list[tuple[Any, ...]]]:
    size = -(-len(records) // n)
    return (records[i : i + size] for i in range(0, max(len(records), 1), max(size, 1)))


async def copy(conn: asyncpg.Connection, added: dict[str, list[tuple[Any, ...]]]) -> float:
    """COPY rows in as many transactions as ingest made batches; return the seconds."""
    split = {table: list(parts(records, ROUND_BATCHES)) for table, records in added.items()}
    elapsed = stopwatch()
    for n in range(ROUND_BATCHES):
        async with conn.transaction():
            for table, pieces in split.items():
                if n < len(pieces):
                    await conn.copy_records_to_table(
                        table, records=pieces[n], columns=TABLES[table], schema_name="tieout"
                    )
    return elapsed()


async def copy_reference(conn: asyncpg.Connection, events: list[tuple[Any, ...]]) -> float:
    """COPY the same events into the fixed table; return the seconds."""
    at = now()
    records = [
        (
            e[3].bytes, at, e[2], "bench", "bench", e[10], "expense_report", "R000000000", e[12],
            e[9], e[11], "user", "status", e[7], e[4].bytes, e[13],
        )
        for e in events
    ]  # fmt: skip
    split = list(parts(records, ROUND_BATCHES))
    elapsed = stopwatch()
    for piece in split:
        async with conn.transaction():
            await conn.copy_records_to_table("reference_event", records=piece)
    return elapsed()


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(dsn)
    try:
        yield conn
    finally:
        await conn.close()


@asynccontextmanager
async def twin(server: Server, database: Database) -> AsyncIterator[str]:
    """Copy a database that nobody is connected to, and add the fixed table; give the copy's name."""
    name = f"{database.name}_twin"
    async with connected(server.dsn("postgres", "postgres")) as admin:
        for statement in database_sql(name, template=database.name):
            await admin.execute(statement)
        try:
            async with connected(server.dsn("tieout_owner", name)) as owner:
                table = (Path(__file__).parent / "reference.sql").read_text(encoding="utf-8")
                await owner.execute(f"{table} GRANT ALL ON reference_event TO tieout_app")
            yield name
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def rounds(
    company: Company, ours: asyncpg.Connection, theirs: asyncpg.Connection
) -> AsyncIterator[tuple[float, float, float]]:
    """Ingest and COPY in turn; yield (ratio, ratio to the fixed table, events/s) of each round."""
    with Collector(ours, limit, now) as collector:
        for n in range(ROUNDS + 1):
            mark = await Mark.of(ours)
            took = await collect(collector, company.round(n))
            added = await mark.added(ours)
            events = len(added["event"])
            assert events == BATCH * ROUND_BATCHES
            bare = await copy(theirs, added)
            fixed = await copy_reference(theirs, added["event"])
            found = bare / took, fixed / took, events / took
            print("round {}: ratio {:.2f}, fixed table {:.2f}, {:,.0f}/s".format(n, *found))
            yield found


async def test_ingest_keeps_up_with_bare_copy(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company, lock = Company(tmp_path), Lock(monkeypatch)
    async with fresh_database(server) as database, AsyncExitStack() as stack:
        async with connected(database.dsn("tieout_app")) as conn:
            with Collector(conn, limit, now) as collector:
                for path in company.history():
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
    ratio, fixed, speed = (statistics.median(column) for column in zip(*found[1:], strict=True))
    report("ingest / COPY of the same rows", ratio, "ratio", RATIO_BAR, "higher")
    report("ingest / COPY into the fixed table", fixed, "ratio", REFERENCE_BAR, "higher")
    report("ingest", speed, "events/s", None, "higher")
    report("share of a batch under the one lock", lock.held_s / lock.all_s, "ratio", 0, "lower")
    report("bytes per event with indexes", size / count, "bytes", None, "lower")
    assert ratio >= RATIO_BAR
    assert fixed >= REFERENCE_BAR
