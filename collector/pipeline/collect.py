"""Read streams to their present end: read, validate, map, commit, a chunk at a time.

Reading and mapping run ahead of the database (`collector.pipeline.ahead`).
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Self

import msgspec

from collector.clock import Clock
from collector.connector import Cursor, Ending, Part, Redelivers
from collector.errors import TieoutError, Transient
from collector.pipeline.ahead import GC_OBJECTS, Mapped, Pass, Process, Source, latest
from collector.pipeline.commit import Batch, commit
from collector.pipeline.correlate import Limit
from collector.pipeline.documents import Memory
from collector.pipeline.lists import Reading
from collector.store import ingest, snapshots, streams
from collector.store.snapshots import Whole


class Tally(msgspec.Struct):
    """What became of a stream's records in one run.

    `unread` is None where the number is unknown; `failed` is what the source refused, in a sentence,
    and `wait_s` for how long it asked to be left alone.
    """

    source: str
    stream: str
    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    ignored: int = 0
    unread: int | None = 0
    remarks: list[str] = []
    failed: str = ""
    wait_s: float = 0.0

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

    def fail(self, error: TieoutError, place: str = "") -> None:
        """Note what the source refused: an unknown number of records stayed unread."""
        self.unread = None
        self.failed = f"{place}{error}"
        self.remarks.append(self.failed)
        if isinstance(error, Transient):
            self.wait_s = error.wait_s or 0.0

    @property
    def complete(self) -> bool:
        """Whether nothing stayed unread."""
        return self.unread == 0


SWITCH_S = 0.0003
"""How long one thread may keep the interpreter while another waits for it."""

PROCESS_AFTER_RECORDS = 10_000
"""After so many records of one pass the rest is read in a process of its own."""

STATISTICS_RECORDS_MIN = 1_000
"""After fewer records the planner's statistics are still good enough."""

Progress = Callable[[str, int, int | None], None]
"""Told after each batch: the part's name, records read so far, bytes of the part (or None)."""


class Collector:
    """Collects streams into the store over one connection. Leaving it ends the process that it may have."""

    def __init__(self, conn: ingest.Connection, limit: Limit, clock: Clock) -> None:
        self.conn = conn
        self.limit = limit
        self.clock = clock
        self.memory = Memory()
        self._process: Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()

    async def sync(self, source: Source, progress: Progress | None = None) -> Tally:
        """Read a stream to its present end (see `_sync`), with the interpreter tuned for it.

        The thread that reads ahead must hand over quickly when the database has answered.
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
            tally.fail(error)
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
                tally.fail(error, f"{part.name}: ")
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
        reading = Reading() if source.mapping.snapshot else None
        if reading is not None and await snapshots.begins_anew(self.conn, stream, stored.id):
            cursor = None
        redelivered = source.redelivers is not Redelivers.NEVER
        moved = False
        async for mapped in self._ahead(source, part, cursor):
            moved = moved or bool(mapped.read) or mapped.cursor != cursor
            whole = _whole(reading, mapped)
            if mapped.read or (mapped.end is not None and moved):
                row = self._row(source, stream, (stored.id, part.name), cursor, mapped)
                row = await commit(
                    self.conn,
                    Batch(
                        row,
                        mapped.prepared,
                        mapped.quarantined,
                        redelivered=redelivered,
                        whole=whole,
                    ),
                    self.limit,
                    self.clock,
                    careful=redelivered,
                    memory=self.memory,
                )
                tally.add(row)
                cursor = mapped.cursor
                if reading is not None and reading.lack:
                    tally.remarks.append(
                        f"{part.name} is no whole list, and nothing is told as deleted by it: {reading.lack}."
                    )
            elif mapped.end is not None:  # nothing new since last time
                tally.unread = _sum(tally.unread, mapped.end.unread)
                if mapped.end.ending is Ending.BROKEN:
                    tally.remarks.append(mapped.end.sentence)
            if progress is not None:
                progress(part.name, tally.read, part.size_bytes)

    async def _ahead(
        self, source: Source, part: Part, cursor: Cursor | None
    ) -> AsyncIterator[Mapped]:
        """Read and map chunks ahead of whoever consumes.

        A pass is read by one and the same thread from its first chunk to its last: libxml2 keeps the
        names of a document that is being parsed with the thread that parses it.
        """
        loop = asyncio.get_running_loop()
        read = 0
        with ThreadPoolExecutor(1, "tieout-reader") as thread:
            run = partial(loop.run_in_executor, thread)
            ahead: Pass | Process = Pass(source, part, cursor)
            pending: asyncio.Future[Mapped | None] | None = None
            try:
                if process := self._process_after(read):
                    await run(process.open, source, part, cursor)
                    ahead = process
                pending = run(ahead.next, latest(self.clock))
                while (mapped := await pending) is not None:
                    read += mapped.read
                    process = self._process_after(read)
                    if process is not None and ahead is not process and mapped.end is None:
                        await run(ahead.close)
                        await run(process.open, source, part, mapped.cursor)
                        ahead = process
                    pending = run(ahead.next, latest(self.clock))
                    yield mapped
            finally:
                if pending is not None:
                    pending.cancel()
                thread.submit(ahead.close)

    def _process_after(self, read: int) -> Process | None:
        """Return the process that reads ahead, if it is ready; have it started if it pays by now."""
        if self._process is None and read >= PROCESS_AFTER_RECORDS:
            with suppress(OSError):  # no memory or no numbers left: the thread goes on
                self._process = Process()
        return self._process if self._process is not None and self._process.ready else None

    def _row(
        self,
        source: Source,
        stream: int,
        part: tuple[int, str],
        cursor: Cursor | None,
        mapped: Mapped,
    ) -> ingest.BatchRow:
        row = ingest.BatchRow(
            0,
            stream,
            *part,
            source.mapping.version,
            cursor,
            mapped.cursor,
            read=mapped.read,
            ignored=mapped.ignored,
        )
        if mapped.end is not None:
            row.ending, row.unread = mapped.end.ending.value, mapped.end.unread
            row.remark = mapped.end.sentence
        if mapped.stated is not None:
            row.stated = msgspec.to_builtins(mapped.stated)
        return row


def _whole(reading: Reading | None, mapped: Mapped) -> Whole | None:
    """Return the fact that a list was read whole, where this ends one that was."""
    if reading is None or mapped.listed is None:
        return None
    reading.add(mapped.listed)
    if mapped.end is None:
        return None
    return reading.end(mapped.end, mapped.stated.count if mapped.stated is not None else None)


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b
