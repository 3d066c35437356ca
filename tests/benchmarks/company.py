"""A company that writes JSON Lines, and the physical limit of ingest: COPY of the very rows that came of them."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below
from typing import Any, NamedTuple

import asyncpg

from collector.clock import now, stopwatch
from collector.connector import Redelivers
from collector.pipeline.ahead import Source
from collector.pipeline.collect import Collector
from collector.pipeline.mapping import CompiledMapping
from collector.settings.mapping import Mapping
from collector.store import rows
from collector.store.cluster import database_sql
from collector.store.embedded import Server
from connectors.registry import CONNECTORS
from tests.support.postgres import Database

BATCH = 10_000
ROUND_BATCHES = 10
OLD_SHARE = 0.3
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

    def __init__(
        self,
        folder: Path,
        start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        every: timedelta = timedelta(seconds=1),
    ) -> None:
        self.folder = folder
        self.start = start
        self.every = every
        self.random = Random(7)  # noqa: S311 -- a benchmark's data
        self.events = 0
        self.reports = 0
        self.old: Sequence[int] = []

    @property
    def at(self) -> datetime:
        """When the next event happens."""
        return self.start + self.every * (self.events + 1)

    def _line(self, report_number: int, verb: int) -> str:
        at = self.at
        self.events += 1
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

    def write(self, name: str, batches: list[list[tuple[int, int]]]) -> Path:
        path = self.folder / name
        lines = [self._line(*event) for batch in batches for event in batch]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def round(self, n: int | str) -> Path:
        """Write one round: new reports with a step in each of three batches, and old ones, if there are any."""
        young = int(BATCH * (1 - OLD_SHARE)) if self.old else BATCH
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
        return self.write(f"round-{n}.jsonl", batches)


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


class Mark(NamedTuple):
    """Where the tables of a store end: the last batch and document."""

    batch: int
    document: int

    @classmethod
    async def of(cls, conn: asyncpg.Connection) -> "Mark":
        return cls(
            await conn.fetchval("SELECT coalesce(max(id), 0) FROM tieout.batch"),
            await conn.fetchval("SELECT coalesce(max(id), 0) FROM tieout.document"),
        )

    async def added(
        self, conn: asyncpg.Connection, month: date
    ) -> dict[str, list[tuple[Any, ...]]]:
        """Return the rows added since, by table, in the columns' order; no event is of a month before `month`."""
        since = "tieout.event e WHERE e.batch > $1 AND e.month >= $2"
        made = (
            "tieout.step s JOIN (SELECT e.document, e.type, count(*) AS n"
            f" FROM {since} GROUP BY e.document, e.type) e USING (document, type)"
        )
        queries = {
            "event": (f"e.* FROM {since} ORDER BY e.batch, e.event_id", self.batch, month),
            "document": ("d.* FROM tieout.document d WHERE d.id > $1", self.document),
            "reference": ("r.* FROM tieout.reference r WHERE r.document > $1", self.document),
            "step": (
                f"s.* FROM {made} WHERE s.n = e.n",
                self.batch,
                month,
            ),  # new: nothing else made it
        }
        out = {}
        for table, (query, *arguments) in queries.items():
            columns = ", ".join(TABLES[table])
            found = await conn.fetch(f"SELECT {columns} FROM (SELECT {query}) x", *arguments)
            out[table] = [tuple(row) for row in found]
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
