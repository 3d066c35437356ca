"""Read streams to their present end: read, validate, map, commit, a chunk at a time.

Reading and mapping run in a worker thread, one chunk ahead of the database.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from collector.clock import Clock
from collector.connector import (
    RAW_KEPT_BYTES_MAX,
    Chunk,
    Cursor,
    Ending,
    Part,
    Reader,
    Record,
    Redelivers,
)
from collector.errors import TieoutError
from collector.model.event import Event
from collector.model.reference import digest
from collector.pipeline.commit import Batch, Limit, Memory, commit
from collector.pipeline.mapping import CompiledMapping, record_hash
from collector.pipeline.prepare import prepare
from collector.pipeline.values import FUTURE_DAYS_MAX, NotMapped
from collector.store import ingest, streams
from collector.store.quarantine import Quarantined

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Source(NamedTuple):
    """A stream, opened and compiled: all that collecting it needs."""

    source: str
    stream: str
    namespace: str
    reader: Reader
    mapping: CompiledMapping
    redelivers: Redelivers
    keep_raw: bool


class Tally(msgspec.Struct):
    """What became of a stream's records in one run. `unread` is None where the number is unknown."""

    source: str
    stream: str
    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    ignored: int = 0
    unread: int | None = 0
    remarks: list[str] = []

    def add(self, row: ingest.BatchRow) -> None:
        """Add a committed batch."""
        self.read += row.read
        self.accepted += row.accepted
        self.duplicate += row.duplicate
        self.quarantined += row.quarantined
        self.ignored += row.ignored
        if row.remark and row.ending != Ending.INTACT:
            self.remarks.append(row.remark)
        if row.unread is None or self.unread is None:
            self.unread = None
        else:
            self.unread += row.unread

    @property
    def complete(self) -> bool:
        """Whether nothing stayed unread."""
        return self.unread == 0


GC_OBJECTS = 500_000
"""New container objects between two garbage collections while streams are read."""

SWITCH_S = 0.0003
"""How long one thread may keep the interpreter while another waits for it."""

STATISTICS_RECORDS_MIN = 1_000
"""After fewer records the planner's statistics are still good enough."""

Progress = Callable[[str, int, int | None], None]
"""Told after each batch: the part's name, records read so far, bytes of the part (or None)."""


def map_chunk(
    records: Sequence[Record], mapping: CompiledMapping, clock: Clock
) -> tuple[list[Event], list[Quarantined], int]:
    """Map records: (events, what must be quarantined, how many the mapping ignores)."""
    latest = clock() + timedelta(days=FUTURE_DAYS_MAX)
    events: list[Event] = []
    quarantined: list[Quarantined] = []
    ignored = 0
    for record in records:
        try:
            made = mapping.apply(record, latest)
        except NotMapped as reason:
            quarantined.append(_quarantine(record, reason))
            continue
        if made:
            events += made
        else:
            ignored += 1
    return events, quarantined, ignored


def _json(body: object) -> bytes:
    """Encode a body to keep it; what JSON cannot say is kept as Python writes it."""
    try:
        return _encode(body)
    except (UnicodeEncodeError, ValueError, OverflowError, RecursionError):
        return ascii(body).encode()


def _quarantine(record: Record, reason: NotMapped) -> Quarantined:
    raw = record.raw or (b"" if record.body is None else _json(record.body))
    content = (
        record_hash(record.body) if record.body is not None else digest(raw.hex(), record.sha256)
    )
    return Quarantined(
        record.position,
        record.start,
        record.length if record.length >= 0 else len(raw),
        content,
        record.sha256 or sha256(raw).hexdigest(),
        reason.fault.reason,
        reason.fault.sentence,
        raw[:RAW_KEPT_BYTES_MAX],
        record.body,
    )


class Collector:
    """Collects streams into the store over one connection."""

    def __init__(self, conn: ingest.Connection, limit: Limit, clock: Clock) -> None:
        self.conn = conn
        self.limit = limit
        self.clock = clock
        self.memory = Memory()

    async def sync(self, source: Source, progress: Progress | None = None) -> Tally:
        """Read a stream to its present end (see `_sync`), with the interpreter tuned for it.

        A chunk is tens of thousands of objects without cycles: garbage collection over and over took
        half of the time of mapping them. And the thread that maps must hand over quickly when the
        database has answered.
        """
        thresholds, interval_s = gc.get_threshold(), sys.getswitchinterval()
        gc.set_threshold(GC_OBJECTS, *thresholds[1:])
        sys.setswitchinterval(SWITCH_S)
        try:
            return await self._sync(source, progress)
        finally:
            sys.setswitchinterval(interval_s)
            gc.set_threshold(*thresholds)

    async def _sync(self, source: Source, progress: Progress | None) -> Tally:
        """Read a stream to its present end.

        A part that another process is reading is left to it and named in the remarks. What a source
        refuses (no permission, a vanished file) is a remark too, and the part counts as unread.
        """
        tally = Tally(source.source, source.stream, remarks=[])
        stream = await streams.register(self.conn, source.source, source.stream, source.namespace)
        known = await streams.parts(self.conn, stream)
        cursors = {p.ident: p.cursor for p in known.values() if p.cursor is not None}
        try:
            listed = await asyncio.to_thread(source.reader.parts, cursors)
        except TieoutError as error:
            tally.unread = None
            tally.remarks.append(str(error))
            return tally
        for part in listed:
            if not await streams.lease(self.conn, stream, part.id):
                tally.unread = None
                tally.remarks.append(
                    f"{part.name} is being read by another process; it was left to that one."
                )
                continue
            try:
                await self._part(source, stream, part, tally, progress)
            except TieoutError as error:
                tally.unread = None
                tally.remarks.append(f"{part.name}: {error}")
            finally:
                await streams.release(self.conn, stream, part.id)
        if tally.read >= STATISTICS_RECORDS_MIN:
            await streams.refresh_statistics(self.conn)
        return tally

    async def _part(
        self, source: Source, stream: int, part: Part, tally: Tally, progress: Progress | None
    ) -> None:
        stored = await streams.part(self.conn, stream, part.id, part.name)
        cursor: Cursor | None = stored.cursor
        async for chunk, made in self._ahead(source, part, cursor):
            if chunk.records or (chunk.end is not None and chunk.cursor != cursor):
                row = await self._commit(
                    source, stream, (stored.id, part.name), (cursor, chunk), made
                )
                tally.add(row)
                cursor = chunk.cursor
            elif chunk.end is not None:  # nothing new since last time
                tally.unread = _sum(tally.unread, chunk.end.unread)
                if chunk.end.ending is Ending.BROKEN:
                    tally.remarks.append(chunk.end.sentence)
            if progress is not None:
                progress(part.name, tally.read, part.size_bytes)

    async def _ahead(
        self, source: Source, part: Part, cursor: Cursor | None
    ) -> AsyncIterator[tuple[Chunk, Any]]:
        """Read and map in a thread, one chunk ahead of whoever consumes.

        It is one and the same thread from the first chunk to the last: libxml2 keeps the names of a
        document that is being parsed with the thread that parses it.
        """
        chunks: Iterator[Chunk] = source.reader.read(part, cursor)
        loop = asyncio.get_running_loop()

        def step() -> tuple[Chunk, Any] | None:
            chunk = next(chunks, None)
            if chunk is None:
                return None
            events, quarantined, ignored = map_chunk(chunk.records, source.mapping, self.clock)
            return chunk, (events, prepare(events), quarantined, ignored)

        with ThreadPoolExecutor(1, "tieout-reader") as thread:
            pending = loop.run_in_executor(thread, step)
            try:
                while (made := await pending) is not None:
                    pending = loop.run_in_executor(thread, step)
                    yield made
            finally:
                pending.cancel()
                if isinstance(chunks, Generator):
                    thread.submit(chunks.close)

    async def _commit(
        self,
        source: Source,
        stream: int,
        part: tuple[int, str],
        span: tuple[Cursor | None, Chunk],
        made: Any,  # noqa: ANN401 -- what _ahead made
    ) -> ingest.BatchRow:
        cursor, chunk = span
        events, prepared, quarantined, ignored = made
        row = ingest.BatchRow(
            0,
            stream,
            part[0],
            part[1],
            source.mapping.version,
            cursor,
            chunk.cursor,
            read=len(chunk.records),
            ignored=ignored,
        )
        if chunk.end is not None:
            row.ending, row.unread = chunk.end.ending.value, chunk.end.unread
            row.remark = chunk.end.sentence
        if chunk.stated is not None:
            row.stated = msgspec.to_builtins(chunk.stated)
        raw = (
            [(r.position, r.raw or _json(r.body)) for r in chunk.records] if source.keep_raw else []
        )
        return await commit(
            self.conn,
            Batch(row, events, prepared, quarantined, raw),
            self.limit,
            self.clock,
            careful=source.redelivers is not Redelivers.NEVER,
            memory=self.memory,
        )


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b
