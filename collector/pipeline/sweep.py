"""The full-key sweep: all keys that a source has today, held against those in the store.

An incremental cursor never looks back: it misses what was entered behind it, what changed, and what was deleted.
A sweep reads each part from its beginning, moves no cursor, and reads in what the store lacks. What the store
has and the source no longer lists is kept, and marked by a fact of its own.

That something is deleted is concluded only of parts that are there and were read whole, each record with its key, and
only within what the source says to have given all of: a file that is gone says nothing about its records.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import msgspec

from collector.clock import Clock
from collector.connector import Chunk, Ending, Part, Stated
from collector.errors import TieoutError
from collector.model.event import Event
from collector.model.words import counted
from collector.pipeline.ahead import Source, latest, map_records
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.correlate import Limit
from collector.store import ingest, streams, sweeps
from collector.store.sweeps import Judged, Sweep

REMARKS_MAX = 10
DROPPING = timedelta(days=1)
"""How long before its time a source may drop a record: by when a message began, where an event tells its end."""


class Swept(msgspec.Struct):
    """A sweep of a stream; `documents` names the first of those whose events the source no longer has."""

    source: str
    stream: str
    sweep: Sweep
    documents: list[str] = []


class Span(NamedTuple):
    """From when until when deletions are judged."""

    since: datetime | None
    until: datetime


class Sweeper:
    """Sweeps streams over one connection."""

    def __init__(self, conn: ingest.Connection, limit: Limit, clock: Clock) -> None:
        self.conn = conn
        self.limit = limit
        self.clock = clock

    async def sweep(self, source: Source, window: Span) -> Swept:
        """Sweep a stream; what its source refuses is a remark, and nothing is concluded then."""
        stream = await streams.register(self.conn, source.source, source.stream, source.namespace)
        known = await streams.parts(self.conn, stream)
        cursors = {p.ident: p.cursor for p in known.values() if p.cursor is not None}
        before = await ingest.last_seq(self.conn)
        await sweeps.begin(self.conn)
        sweep = Sweep(*window)
        remarks: list[str] = []
        whole: list[str] = []
        try:
            for part in await asyncio.to_thread(source.reader.parts, cursors):
                remark = await self._part(source, stream, part, sweep)
                (remarks if remark else whole).append(remark or part.name)
        except TieoutError as error:
            remarks.append(str(error))
        sweep.whole, sweep.remark = not remarks, " ".join(remarks[:REMARKS_MAX])
        parts = (
            whole if sweep.whole else []
        )  # what is missing in one may stand in what was not read of another
        judged = Judged(before, parts, source.mapping.discriminates)
        done = await sweeps.end(self.conn, stream, judged, sweep, self.clock())
        return Swept(source.source, source.stream, *done)

    async def _part(self, source: Source, stream: int, part: Part, sweep: Sweep) -> str:
        """Read a part from its beginning; return why nothing can be concluded from it, if so."""
        without_key, remark = 0, f"{part.name} was not read to its end."
        async for chunk in _chunks(source, part):
            events, _, _ = await asyncio.to_thread(
                map_records, chunk.records, source.mapping, latest(self.clock)
            )
            keys = [source.mapping.identities(record) for record in chunk.records]
            without_key += keys.count(None)
            sweep.listed += len(keys)
            await sweeps.note(self.conn, [key for several in keys for key in several or ()])
            await self._read_in(source, stream, part, events, sweep)
            if chunk.end is not None:
                broken = chunk.end.ending is Ending.BROKEN or chunk.end.unread != 0
                said = chunk.end.sentence or "a part of it is unread"
                remark = f"{part.name} was not read whole: {said}" if broken else ""
                self._narrow(sweep, chunk.stated)
        if without_key and not remark:
            remark = (
                f"{counted(without_key, 'record')} of {part.name} cannot be read or have no key: "
                "they could be any."
            )
        return remark

    def _narrow(self, sweep: Sweep, stated: Stated | None) -> None:
        """Conclude nothing beyond what the source says to have given all of, and still keeps."""
        if stated is None or stated.covers is None:
            return
        since, until = stated.covers
        if stated.kept_until is not None:
            since = max(since, self.clock() - (stated.kept_until - until) + DROPPING)
        sweep.since = max(since, sweep.since or since)
        sweep.until = min(until, sweep.until)

    async def _read_in(
        self, source: Source, stream: int, part: Part, events: list[Event], sweep: Sweep
    ) -> None:
        """Commit what the store lacks; no cursor is moved."""
        known = await ingest.known_events(self.conn, [(e.event_id, e.month) for e in events])
        lacking = [e for e in events if (e.revision, e.month) not in known.get(e.event_id, ())]
        if not lacking:
            return
        lost = {e.position for e in lacking if e.event_id not in known}
        changed = {e.position for e in lacking} - lost
        row = ingest.BatchRow(
            0, stream, None, part.name, source.mapping.version, None, None, len(lost | changed)
        )
        await commit(self.conn, batch_of(row, lacking), self.limit, self.clock, careful=True)
        sweep.found += len(lost)
        sweep.changed += len(changed)


async def _chunks(source: Source, part: Part) -> AsyncIterator[Chunk]:
    """Read a part from its beginning, in one thread."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "tieout-sweep") as thread:
        chunks = source.reader.read(part, None)
        take = partial(loop.run_in_executor, thread, next, chunks, None)
        while (chunk := await take()) is not None:
            yield chunk
