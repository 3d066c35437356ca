"""One pass over one file: from a cursor to the present end, in chunks with a cursor behind each.

Cursor of every format: `at`, `size`, `mtime_ns` (the file when it was opened), `head`,
`head_bytes`, `records` (delivered so far), `layout`, and `end` once the pass is over and nothing
more can come. Line formats add `offset`, `crc`, `tail`, `tail_bytes` and `unterminated` (the last
record had no line end). Documents and binary files are parsed again and `records` are passed over.
"""

import os
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import msgspec
from typing_extensions import override

from collector.clock import Clock
from collector.connector import CHUNK_RECORDS_MAX, Chunk, Cursor, End, Ending, Fault, Record
from connectors.files.delimited import Delimited
from connectors.files.json_document import JsonDocument
from connectors.files.json_lines import JsonLines
from connectors.files.options import FilesOptions, Layout
from connectors.files.parse import DamagedError, DocumentParser, LineParser
from connectors.files.text import Text
from connectors.files.xes import Xes
from connectors.files.xml_blocks import EntitiesError
from connectors.files.xml_document import XmlDocument
from connectors.kit.identity import Found, marks, place
from connectors.kit.lines import TAIL_BYTES_MAX, Batch, Lines, Prefix, skipped
from connectors.kit.records import OverlongBuilder
from connectors.kit.streams import BLOCK_BYTES, CutOffError, Stream

CHUNK_BYTES_MAX: Final = 2 << 20
"""Of the file in one chunk, unless a single record is longer."""

FIRST_RECORDS_MAX: Final = 1_000
"""Records in the first chunk of a pass, doubled with each: the store need not wait for a whole one."""

_NS = 1_000_000_000


class Source(msgspec.Struct, frozen=True):
    """An opened file: what it is, its stream, and the file below it."""

    file: Found
    head: bytes
    layout: Layout
    stream: Stream
    raw: BinaryIO

    @property
    def seekable(self) -> bool:
        """Whether offsets of records are offsets in the file."""
        return not self.file.gzip and self.layout.encoding != "utf-16"

    def changed(self) -> bool:
        """Tell whether the file was written to since it was opened."""
        facts = os.fstat(self.raw.fileno())
        opened = (self.file.at, self.file.size, self.file.mtime_ns)
        return (place(facts), facts.st_size, facts.st_mtime_ns) != opened

    def facts(self, tail: bytes) -> dict[str, Any]:
        """Return the part of the cursor that is the same for all formats."""
        return {
            "at": self.file.at,
            "size": self.file.size,
            "mtime_ns": self.file.mtime_ns,
            "layout": msgspec.to_builtins(self.layout),
            **marks(self.head, tail),
        }


def ended(end: End) -> dict[str, Any]:
    """Return an end as it is kept in a cursor."""
    built: dict[str, Any] = msgspec.to_builtins(end)
    return built


class LinesPass:
    """Reads lines; only whole records advance the cursor."""

    def __init__(self, source: Source, options: FilesOptions, clock: Clock) -> None:
        self._source = source
        self._options = options
        self._clock = clock
        self._prefix = Prefix()
        self._pending: list[Record] = []
        self._read = 0
        self._most = min(FIRST_RECORDS_MAX, CHUNK_RECORDS_MAX)

    def chunks(self, cursor: Cursor | None) -> Iterator[Chunk]:
        """Yield the chunks from `cursor` on; the last one carries the end."""
        source, layout = self._source, self._source.layout
        self._prefix = self._start(int(cursor["offset"]) if cursor else layout.start, cursor)
        self._read = int(cursor["records"]) if cursor else 0
        limit = self._options.record_bytes_max
        parser = line_parser(layout, self._options, self._read)
        lines = Lines(source.stream, self._prefix, limit, layout.newline.encode())
        last: Batch | None = None
        mark: Prefix | None = None  # before a line over the limit, which is read away
        broken = ""
        try:
            for batch in lines.batches():
                if not batch.whole:
                    last = batch
                    continue
                self._pending += parser.feed(batch)
                at_once = batch.flush or batch.long is not None
                yield from self._full(_after(parser, lines.offset) if at_once else None)
                mark = self._prefix.copy() if batch.flush else None
        except CutOffError as error:
            broken = str(error)
        end = self._finish(parser, last, broken)
        offset = _after(parser, lines.offset)
        if end.ending is not Ending.INTACT and mark is not None:
            self._prefix, offset = mark, mark.offset
        elif end.ending is not Ending.INTACT and last is not None:
            offset = min(offset, last.start)
        yield from self._full(None)
        unterminated = last is not None and end.ending is Ending.INTACT
        yield self._chunk(self._pending, offset, end, unterminated=unterminated)

    def _start(self, offset: int, cursor: Cursor | None) -> Prefix:
        if cursor is None or not self._source.seekable:
            return skipped(self._source.stream, offset)
        size = min(offset, TAIL_BYTES_MAX)
        self._source.raw.seek(offset - size)
        tail = self._source.raw.read(size)
        return Prefix(offset, int(cursor["crc"]), tail)

    def _finish(self, parser: LineParser, last: Batch | None, broken: str) -> End:
        """Deliver what is whole at the end, and say how it ended."""
        source, notes = self._source, self._source.layout.notes
        if broken:
            return End(Ending.BROKEN, None, self._where(parser, broken), notes)
        if self._options.follow and not source.file.gzip:
            if last is None and parser.settles and parser.held >= 0 and self._settled():
                self._pending += parser.close()
            return End(Ending.OPEN, notes=notes)
        if source.changed():
            sentence = (
                f"{source.file.name} was written to while it was read; the rest is read with the"
                " next pass. Set `follow: true` if it keeps growing."
            )
            return End(Ending.OPEN, sentence=sentence, notes=notes)
        if last is not None:
            self._pending += parser.feed(last)
        self._pending += parser.close()
        return End(Ending.INTACT, notes=notes)

    def _settled(self) -> bool:
        """Tell whether the file has been quiet long enough for its last record to be whole."""
        quiet_s = self._clock().timestamp() - self._source.file.mtime_ns / _NS
        return quiet_s >= self._options.settle_s and not self._source.changed()

    def _where(self, parser: LineParser, reason: str) -> str:
        return (
            f"{self._source.file.name} is damaged after record {parser.position}: {reason}."
            " What precedes was read; have the file sent again."
        )

    def _full(self, offset: int | None) -> Iterator[Chunk]:
        """Yield chunks while there is more than one; all that is pending where `offset` is given."""
        pending = self._pending
        while len(pending) > self._most or _span(pending) > CHUNK_BYTES_MAX:
            cut = _cut(pending, self._most)
            yield self._chunk(pending[:cut], pending[cut].start)
            del pending[:cut]
            self._most = min(2 * self._most, CHUNK_RECORDS_MAX)
        if offset is not None:
            if pending:
                yield self._chunk(pending[:], offset)
                pending.clear()
            self._prefix.advance(offset)

    def _chunk(
        self,
        records: list[Record],
        offset: int,
        end: End | None = None,
        *,
        unterminated: bool = False,
    ) -> Chunk:
        self._prefix.advance(offset)
        if records:
            self._read = records[-1].position
        cursor = self._source.facts(self._prefix.tail) | {
            "offset": self._prefix.offset,
            "crc": self._prefix.crc,
            "records": self._read,
            "unterminated": unterminated,
        }
        if end is not None and end.ending is not Ending.OPEN:
            cursor["end"] = ended(end)
        return Chunk(records, cursor, end)


def _after(parser: LineParser, offset: int) -> int:
    """Return where reading goes on: at what the parser holds, or behind the last whole line."""
    return parser.held if parser.held >= 0 else offset


def _span(records: list[Record]) -> int:
    return records[-1].start - records[0].start if records else 0


def _cut(records: list[Record], most: int) -> int:
    """Return how many records make the next chunk, at most `most`; at least one stays behind."""
    most = min(most, len(records) - 1)
    if _span(records[: most + 1]) <= CHUNK_BYTES_MAX:
        return most
    first = records[0].start
    return next(
        i for i in range(1, most + 1) if records[i].start - first > CHUNK_BYTES_MAX or i == most
    )


def line_parser(layout: Layout, options: FilesOptions, position: int) -> LineParser:
    """Return the parser of a line format that goes on behind record `position`."""
    limit = options.record_bytes_max
    encoding = "utf-8" if layout.encoding == "utf-16" else layout.encoding
    if layout.format == "csv":
        return Delimited(position, limit, msgspec.structs.replace(layout, encoding=encoding))
    if layout.format == "jsonl":
        return JsonLines(position, limit, encoding)
    return Text(position, limit, encoding, pattern=options.pattern, starts=options.starts)


class DocumentPass:
    """Parses a whole document and delivers what lies behind the cursor."""

    def __init__(self, source: Source, options: FilesOptions) -> None:
        self._source = source
        self._options = options

    def chunks(self, cursor: Cursor | None) -> Iterator[Chunk]:
        """Yield the chunks behind `cursor`; the last one carries the end."""
        skip = int(cursor["records"]) if cursor else 0
        parser = document_parser(self._source, self._options)
        pending: list[Record] = []
        read = held_bytes = 0
        damage = ""
        try:
            for record in parser.records():
                read = record.position
                if read > skip:
                    if len(pending) == CHUNK_RECORDS_MAX or held_bytes > CHUNK_BYTES_MAX:
                        yield Chunk(pending, self._cursor(pending[-1].position))
                        pending, held_bytes = [], 0
                    pending.append(record)
                    held_bytes += len(record.raw)
        except (DamagedError, CutOffError) as error:
            damage = str(error)
        except EntitiesError as error:
            read += 1
            damage = _ENTITIES
            pending += [self._refused(read, error)] if read > skip else []
        if len(pending) > CHUNK_RECORDS_MAX:
            yield Chunk(pending[:-1], self._cursor(read - 1))
            pending = pending[-1:]
        end = self._end(parser, damage, read)
        yield Chunk(pending, self._cursor(read, end), end, parser.stated)

    def _end(self, parser: DocumentParser, damage: str, read: int) -> End:
        name, notes = self._source.file.name, self._source.layout.notes | parser.notes
        if damage:
            sentence = f"{name} is damaged after record {read}: {damage}. What precedes was read."
            return End(Ending.BROKEN, None, sentence, notes)
        if self._source.changed():
            sentence = f"{name} was written to while it was read; it is read again."
            return End(Ending.OPEN, sentence=sentence, notes=notes)
        return End(Ending.INTACT, sentence=parser.sentence, notes=notes)

    def _refused(self, position: int, error: EntitiesError) -> Record:
        sentence = f"{self._source.file.name}: {_ENTITIES}."
        return Record(position, None, error.head, Fault("ENTITIES_REFUSED", sentence))

    def _cursor(self, records: int, end: End | None = None) -> dict[str, Any]:
        cursor = self._source.facts(b"") | {"records": records}
        if end is not None and end.ending is not Ending.OPEN:
            cursor["end"] = ended(end)
        return cursor


_ENTITIES = (
    "it declares or uses XML entities, which are never expanded because they can fill the memory"
    " or fetch other files; have the source write the document without a DTD"
)


def document_parser(source: Source, options: FilesOptions) -> DocumentParser:
    """Return the parser of a document or of a binary file."""
    layout = source.layout
    if layout.format == "json":
        encoding = "utf-8" if layout.encoding == "utf-16" else layout.encoding
        return JsonDocument(source.stream, encoding, layout.records, options.context)
    if layout.format == "xes":
        return Xes(source.stream, options.encoding)
    if layout.format == "xml":
        return XmlDocument(source.stream, layout.records, options)
    return Binary(source.stream, layout.notes["format"])


class Binary(DocumentParser):
    """One record that says what the file is; its beginning, length and SHA-256 are kept."""

    def __init__(self, stream: Stream, kind: str) -> None:
        super().__init__()
        self._stream = stream
        self._kind = kind

    @override
    def records(self) -> Iterator[Record]:
        """Yield the one record."""
        item = OverlongBuilder(0)
        while block := self._stream.read(BLOCK_BYTES):
            item.add(block)
        whole = item.done()
        fault = Fault("BINARY", f"The file is {self._kind}.")
        yield Record(1, None, whole.head, fault, 0, whole.length, whole.sha256)
