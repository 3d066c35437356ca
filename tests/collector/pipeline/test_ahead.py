"""Reading ahead in a process of its own: the same store as in a thread, whatever becomes of the process."""

import asyncio
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from collector.clock import now, stopwatch
from collector.connector import CHUNK_RECORDS_MAX, Cursor, Part, Redelivers
from collector.errors import Transient
from collector.pipeline.ahead import Process, Source
from collector.pipeline.collect import PROCESS_AFTER_RECORDS, Collector, Tally
from collector.pipeline.dump import dump
from collector.pipeline.mapping import CompiledMapping
from collector.settings.mapping import Mapping
from collector.store.embedded import Server
from connectors.registry import CONNECTORS
from tests.support.postgres import Database, fresh_database

MAPPING = Mapping.model_validate(
    {
        "key": "id",
        "document": {"type": "invoice", "number": "invoice"},
        "occurred_at": {"value": "at", "timezone": "in value"},
        "references": [{"kind": "order", "role": "identity", "value": "order"}],
        "events": [{"rule": "booked", "type": "invoice.booked"}],
    }
)
START_S_MAX = 20


def source(path: Path, redelivers: Redelivers = Redelivers.NEVER) -> Source:
    spec = CONNECTORS["files"]
    options = spec.options.model_validate({"path": f"{path}*", "format": "jsonl"})
    mapping = CompiledMapping(MAPPING, "books", datetime(2000, 1, 1, tzinfo=UTC).date())
    reader = spec.open(options, path.parent)
    return Source("erp", "books", "books", reader, mapping, redelivers, keep_raw=True)


def record(n: int) -> dict[str, object]:
    at = f"2026-01-{n % 28 + 1:02d}T10:00:00Z"
    return {"id": f"b{n}", "invoice": f"I{n // 3}", "order": f"O{n // 7}", "at": at}


def write(path: Path, numbers: range) -> Path:
    path.write_text("".join(f"{json.dumps(record(n))}\n" for n in numbers), encoding="utf-8")
    return path


async def content(conn: asyncpg.Connection) -> list[bytes]:
    return [line async for line in dump(conn, [], None, now())]


async def started(collector: Collector) -> Process:
    """Have the collector's process started before anything is read."""
    collector._process = process = Process()
    elapsed = stopwatch()
    while not process.ready:
        assert elapsed() < START_S_MAX, "the process did not start"
        await asyncio.sleep(0.01)
    return process


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.dsn("tieout_app"))
    yield connection
    await connection.close()


@pytest.fixture
async def other(server: Server) -> AsyncIterator[asyncpg.Connection]:
    async with fresh_database(server) as database:
        connection = await asyncpg.connect(database.dsn("tieout_app"))
        yield connection
        await connection.close()


@pytest.fixture
def collector(conn: asyncpg.Connection) -> Iterator[Collector]:
    with Collector(conn, lambda _kind: 20, now) as found:
        yield found


async def in_a_thread(conn: asyncpg.Connection, opened: Source) -> Tally:
    with Collector(conn, lambda _kind: 20, now) as collector:
        return await collector.sync(opened)


async def test_a_process_leaves_the_store_that_a_thread_leaves(
    collector: Collector, conn: asyncpg.Connection, other: asyncpg.Connection, tmp_path: Path
) -> None:
    path = write(tmp_path / "books.jsonl", range(3_000))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"id": "no document", "at": "2026-01-01T00:00:00Z"}\n{broken\n')
    await started(collector)

    tally = await collector.sync(source(path))
    expected = await in_a_thread(other, source(path))

    assert tally == expected
    assert (tally.accepted, tally.quarantined) == (3_000, 2)
    assert await content(conn) == await content(other)
    raw = "SELECT position, raw FROM tieout.raw_record ORDER BY position"
    assert await conn.fetch(raw) == await other.fetch(raw)
    why = "SELECT position, reason, sentence, sha256 FROM tieout.quarantine ORDER BY position"
    assert await conn.fetch(why) == await other.fetch(why)


async def test_a_long_pass_is_handed_over_once_the_process_is_there(
    collector: Collector,
    conn: asyncpg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = 4 * PROCESS_AFTER_RECORDS
    path = write(tmp_path / "books.jsonl", range(records))
    begun: list[Cursor | None] = []
    begin = Process.open

    def noted(process: Process, opened: Source, part: Part, cursor: Cursor | None) -> None:
        begun.append(cursor)
        begin(process, opened, part, cursor)

    monkeypatch.setattr(Process, "open", noted)

    def progress(_part: str, _read: int, _size: int | None) -> None:
        process, elapsed = collector._process, stopwatch()
        while process is not None and not process.ready:
            assert elapsed() < START_S_MAX, "the process did not start"

    tally = await collector.sync(source(path), progress)

    (cursor,) = begun
    assert cursor is not None, "what was read before is not read again"
    assert tally.accepted == tally.read == records
    assert await conn.fetchval("SELECT count(*) FROM tieout.event") == records
    assert await conn.fetchval("SELECT count(*) FROM tieout.document") == -(-records // 3)
    cursors = await conn.fetch("SELECT cursor_from, cursor_to FROM tieout.batch ORDER BY id")
    assert all(a["cursor_to"] == b["cursor_from"] for a, b in itertools.pairwise(cursors))


@pytest.mark.parametrize("redelivers", [Redelivers.NEVER, Redelivers.OVERLAP])
async def test_what_is_known_is_left_out_by_the_process_too(
    collector: Collector, conn: asyncpg.Connection, tmp_path: Path, redelivers: Redelivers
) -> None:
    write(tmp_path / "books.jsonl.1", range(1_000))
    path = tmp_path / "books.jsonl"
    await in_a_thread(conn, source(path, redelivers))
    records = 3 * CHUNK_RECORDS_MAX  # the process has read on when it is asked to prepare again
    write(tmp_path / "books.jsonl.2", range(500, records))
    await started(collector)

    tally = await collector.sync(source(path, redelivers))

    assert (tally.accepted, tally.duplicate) == (records - 1_000, 500)
    assert await conn.fetchval("SELECT count(*) FROM tieout.event") == records
    assert await conn.fetchval("SELECT sum(n) FROM tieout.step") == records


async def test_a_process_that_is_killed_costs_nothing_but_a_remark(
    collector: Collector, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    path = write(tmp_path / "books.jsonl", range(2 * PROCESS_AFTER_RECORDS))
    process = await started(collector)

    def progress(_part: str, _read: int, _size: int | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    cut_off = await collector.sync(source(path), progress)
    assert cut_off.unread is None
    assert "ended unexpectedly" in cut_off.failed
    resumed = await collector.sync(source(path))

    assert resumed.complete
    assert cut_off.accepted + resumed.accepted == 2 * PROCESS_AFTER_RECORDS
    assert resumed.duplicate == 0
    assert await conn.fetchval("SELECT count(*) FROM tieout.event") == 2 * PROCESS_AFTER_RECORDS


def test_the_process_ends_with_whoever_started_it() -> None:
    code = (
        "import sys, time; from collector.pipeline.ahead import Process; p = Process()\n"
        "while not p.ready: time.sleep(0.01)\n"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)  # noqa: S603 -- our own
    with parent:
        assert parent.stdout is not None
        child = Path("/proc") / parent.stdout.readline().strip()
        assert running(child)
        parent.kill()
    elapsed = stopwatch()
    while running(child):
        assert elapsed() < START_S_MAX, "it outlives its parent"


def running(process: Path) -> bool:
    """Tell whether a process runs; one that has ended and that nobody has asked for does not."""
    try:
        state = (process / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_what_the_source_refuses_is_said_by_the_process_too(
    collector: Collector, tmp_path: Path
) -> None:
    path = write(tmp_path / "books.jsonl", range(10))
    opened = source(path)
    (part,) = opened.reader.parts({})
    process = await started(collector)
    process.open(opened, part, None)
    path.unlink()

    with pytest.raises(Transient, match=r"books\.jsonl"):
        process.next(now())


def test_a_compiled_mapping_is_compiled_again_where_it_is_unpickled() -> None:
    mapping = CompiledMapping(MAPPING, "books", datetime(2000, 1, 1, tzinfo=UTC).date())
    again = pickle.loads(pickle.dumps(mapping))  # noqa: S301 -- our own
    assert again.version == mapping.version
    assert again.event_types == mapping.event_types
