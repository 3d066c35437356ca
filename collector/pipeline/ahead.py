"""Read, map and prepare a part's chunks ahead of the database: in a thread, or in a process.

Python runs one thread at a time, so a thread costs the database's side as much as it gains. A pass
of many records is therefore read in a process of its own; a short one is over before that starts.
"""

import gc
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import msgspec

from collector.clock import Clock
from collector.connector import (
    RAW_KEPT_BYTES_MAX,
    Chunk,
    Cursor,
    End,
    Part,
    Reader,
    Record,
    Redelivers,
    Stated,
)
from collector.errors import TieoutError, Transient
from collector.model.event import Event
from collector.model.reference import digest
from collector.pipeline.lists import Listed, listed
from collector.pipeline.mapping import CompiledMapping, record_hash
from collector.pipeline.prepare import TOLD, Preparation, Told
from collector.pipeline.prepared import Prepared
from collector.pipeline.values import FUTURE_DAYS_MAX, NotMapped
from collector.store.quarantine import Quarantined

GC_OBJECTS = 500_000
"""New container objects between two garbage collections while streams are read: a chunk is tens of
thousands of objects without cycles, and collecting over and over took half of the time of mapping."""

BLOCK_RECORDS = 250
"""Records that are mapped and packed together: what that touches stays in the processor's cache."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Source(NamedTuple):
    """A stream, opened and compiled: all that collecting it needs. It can be pickled."""

    source: str
    stream: str
    namespace: str
    reader: Reader
    mapping: CompiledMapping
    redelivers: Redelivers
    keep_raw: bool
    pause_s: float = 0.0


class Mapped(NamedTuple):
    """What a chunk comes to: all that committing it needs, without its records. `read` counts these.

    `listed` is what it tells of the list that its part is, where its stream has lists.
    """

    cursor: Cursor
    end: End | None
    stated: Stated | None
    read: int
    ignored: int
    quarantined: list[Quarantined]
    prepared: Prepared
    listed: Listed | None = None


def latest(clock: Clock) -> datetime:
    """Return the last instant that a record may name as when it happened."""
    return clock() + timedelta(days=FUTURE_DAYS_MAX)


def map_records(
    records: list[Record], mapping: CompiledMapping, until: datetime
) -> tuple[list[Event], list[Quarantined], int]:
    """Map records: (events, what must be quarantined, how many the mapping ignores).

    `until` is the last instant that is believed (see `latest`).
    """
    events: list[Event] = []
    quarantined: list[Quarantined] = []
    ignored = 0
    for record in records:
        try:
            made = mapping.apply(record, until)
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


def _kept(record: Record) -> tuple[bytes, bytes | None]:
    body = _json(record.body)
    return (record.raw, body) if record.raw else (body, None)


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
        reason.fault,
        raw[:RAW_KEPT_BYTES_MAX],
        record.body,
    )


class Pass:
    """One pass over a part: reads, maps and prepares chunk after chunk."""

    def __init__(self, source: Source, part: Part, cursor: Cursor | None) -> None:
        self._source = source
        self._chunks: Iterator[Chunk] = source.reader.read(part, cursor)
        self._told = Told(TOLD)

    def next(self, until: datetime) -> Mapped | None:
        """Read and map the next chunk; None where the pass is over."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return None
        quarantined: list[Quarantined] = []
        ignored, preparation = 0, Preparation(told=self._told)
        rows: list[Event] = []
        for n in range(0, len(chunk.records), BLOCK_RECORDS):
            some = chunk.records[n : n + BLOCK_RECORDS]
            made, kept_out, left_out = map_records(some, self._source.mapping, until)
            preparation.add(made)
            quarantined += kept_out
            ignored += left_out
            rows += made if self._source.mapping.snapshot else ()
        raw = {r.position: _kept(r) for r in chunk.records} if self._source.keep_raw else {}
        return Mapped(
            chunk.cursor,
            chunk.end,
            chunk.stated,
            len(chunk.records),
            ignored,
            quarantined,
            preparation.done(raw),
            listed(chunk.records, rows, [q.content for q in quarantined], self._source.mapping)
            if self._source.mapping.snapshot
            else None,
        )

    def close(self) -> None:
        """End the pass."""
        if isinstance(self._chunks, Generator):
            self._chunks.close()


class Process:
    """Runs passes in a process of its own, one after the other; used like a Pass.

    It works on while nobody waits: it is asked for the next chunk before the last has been taken.
    """

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        fd = theirs.fileno()
        self._process = subprocess.Popen(  # noqa: S603 -- this interpreter, with code of our own
            [sys.executable, "-c", _BEGIN, str(fd), *sys.path],
            pass_fds=[fd],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; it ends when the pipe does
        )
        theirs.close()
        self._ready = False
        self._asked = 0

    @property
    def pid(self) -> int:
        """Its number, and that of its process group."""
        return self._process.pid

    @property
    def ready(self) -> bool:
        """Whether it has started, and runs."""
        if not self._ready and self._pipe.poll():
            self._ready = self._answer()
        return self._ready and self._process.poll() is None

    def open(self, source: Source, part: Part, cursor: Cursor | None) -> None:
        """Begin a pass."""
        self._ask("open", source, part, cursor)
        self._answer()

    def next(self, until: datetime) -> Mapped | None:
        """See Pass.next."""
        for _ in range(self._asked, 2):  # this one, and the one after it
            self._ask("next", until)
            self._asked += 1
        self._asked -= 1
        mapped: Mapped | None = self._answer()
        return mapped

    def close(self) -> None:
        """End the pass."""
        self._ask("close")
        while self._asked:
            self._asked -= 1
            with suppress(TieoutError):  # of what nobody wants any more
                self._answer()
        self._answer()

    def stop(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.wait()

    def _ask(self, what: str, *arguments: object) -> None:
        with suppress(ConnectionError):  # it has ended, and there will be no answer
            self._pipe.send((what, arguments))

    def _answer(self) -> Any:  # noqa: ANN401 -- what the methods say
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise Transient(
                "The process that reads ahead ended unexpectedly, perhaps for want of memory; "
                "what is committed stays, and the next run goes on from there.",
                detail=f"exit code {self._process.wait()}",
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer


_BEGIN = (
    "import sys; fd = int(sys.argv[1]); sys.path[:] = sys.argv[2:]; "
    "from collector.pipeline.ahead import serve; serve(fd)"
)


def serve(fd: int) -> None:
    """Be the process: answer whoever holds the other end of the pipe, until it is closed."""
    gc.disable()  # of the told documents alone it looks at hundreds of thousands, and none is garbage
    with suppress(EOFError, ConnectionError):  # nobody holds the other end any more
        _answer_all(Connection(fd))


def _answer_all(pipe: Connection) -> None:
    pipe.send(True)
    current: Any = None
    while True:
        what, arguments = pipe.recv()
        try:
            if what == "open":
                current, answer = Pass(*arguments), None
            elif what == "close":
                current = answer = current.close()
                gc.collect()
            else:
                answer = getattr(current, what)(*arguments)
        except Exception as error:  # noqa: BLE001 -- raised where it is awaited
            answer = error
        pipe.send(answer)
