"""Whole lines out of a byte stream, with bounded memory.

`Lines.batches` yields blocks of whole lines. A line over the limit is never held: it is preceded
by a batch with `flush` set, upon which the reader commits what it has, and comes as `Overlong`.
`Prefix` keeps the CRC-32 and the last KiB of what has been committed, so that the cursor can prove
later that a file begins with the same bytes.
"""

import zlib
from collections.abc import Iterator

import msgspec

from connectors.kit.records import Overlong, OverlongBuilder
from connectors.kit.streams import BLOCK_BYTES, Stream

BATCH_LINES_MAX = 5_000
"""Lines in one batch; the same as records in a chunk."""

TAIL_BYTES_MAX = 1024
"""Of what precedes an offset, compared to find out whether a file is still the same."""


class Batch(msgspec.Struct, frozen=True):
    """Consecutive lines without their line feeds; `start` is the offset of the first.

    `whole` is false for a last line without a line feed, which stands alone. `long` stands for one
    line over the limit. `flush` announces such a line and holds nothing.
    """

    start: int
    lines: list[bytes] = []
    whole: bool = True
    long: Overlong | None = None
    flush: bool = False


class Prefix:
    """CRC-32 and last KiB of the bytes before `offset`."""

    def __init__(self, offset: int = 0, crc: int = 0, tail: bytes = b"") -> None:
        self.offset = offset
        self.crc = crc
        self.tail = tail
        self._ahead: list[bytes] = []

    def copy(self) -> "Prefix":
        """Return the present state, without the bytes that follow."""
        return Prefix(self.offset, self.crc, self.tail)

    def feed(self, block: bytes) -> None:
        """Take bytes that follow, without moving."""
        self._ahead.append(block)

    def advance(self, offset: int) -> None:
        """Move to `offset` over bytes that were fed."""
        while self._ahead and self.offset < offset:
            block = self._ahead.pop(0)
            room = offset - self.offset
            if len(block) > room:
                self._ahead.insert(0, block[room:])
                block = block[:room]
            self.crc = zlib.crc32(block, self.crc)
            self.tail = (self.tail + block[-TAIL_BYTES_MAX:])[-TAIL_BYTES_MAX:]
            self.offset += len(block)


def skipped(stream: Stream, size: int) -> Prefix:
    """Read `size` bytes from the beginning; the result is shorter where the stream is."""
    prefix = Prefix()
    while prefix.offset < size and (block := stream.read(min(BLOCK_BYTES, size - prefix.offset))):
        prefix.feed(block)
        prefix.advance(prefix.offset + len(block))
    return prefix


class Lines:
    """The lines of `stream` from `prefix.offset` on.

    `limit` is the longest line in bytes; `newline` the byte that ends one. `offset` is where the
    first line starts that was not yet given out.
    """

    def __init__(self, stream: Stream, prefix: Prefix, limit: int, newline: bytes = b"\n") -> None:
        self._stream = stream
        self._prefix = prefix
        self._limit = limit
        self._newline = newline
        self.offset = prefix.offset
        self._rest: list[bytes] = []

    def batches(self) -> Iterator[Batch]:
        """Yield the lines up to the end of the stream; raise what the stream raises."""
        while block := self._stream.read(BLOCK_BYTES):
            self._prefix.feed(block)
            yield from self._block(block)
            while sum(map(len, self._rest)) > self._limit:
                yield Batch(self.offset, flush=True)
                yield from self._long()
        if self._rest:
            yield from self._given([b"".join(self._rest)], whole=False)

    def _block(self, block: bytes) -> Iterator[Batch]:
        """Give out the lines that end in `block`, hold what begins in it."""
        cut = block.rfind(self._newline)
        if cut < 0:
            self._rest += [block] if block else []
            return
        data = b"".join([*self._rest, block[:cut]])
        self._rest = [block[cut + 1 :]] if cut + 1 < len(block) else []
        yield from self._given(data.split(self._newline))

    def _given(self, lines: list[bytes], *, whole: bool = True) -> Iterator[Batch]:
        """Cut a block of lines into batches; lines over the limit come alone."""
        first = 0
        limit = self._limit
        for i, line in enumerate(lines) if max(map(len, lines)) > limit else ():
            if len(line) > limit:
                yield from self._batches(lines[first:i], whole=True)
                first = i + 1
                yield Batch(self.offset, flush=True)
                item = OverlongBuilder(self.offset)
                item.add(line)
                self.offset += len(line) + whole
                yield Batch(self.offset, long=item.done(), whole=whole)
        yield from self._batches(lines[first:] if first else lines, whole=whole)

    def _batches(self, lines: list[bytes], *, whole: bool) -> Iterator[Batch]:
        for i in range(0, len(lines), BATCH_LINES_MAX):
            some = lines[i : i + BATCH_LINES_MAX]
            start = self.offset
            self.offset += sum(map(len, some)) + len(some) * whole
            yield Batch(start, some, whole)

    def _long(self) -> Iterator[Batch]:
        """Read on to the end of a line that is over the limit, and keep only what is kept of it."""
        item = OverlongBuilder(self.offset)
        for piece in self._rest:
            item.add(piece)
        self._rest = []
        whole, behind = False, b""
        while not whole and (block := self._stream.read(BLOCK_BYTES)):
            self._prefix.advance(self._prefix.offset + BLOCK_BYTES)
            self._prefix.feed(block)
            line, newline, behind = block.partition(self._newline)
            item.add(line)
            whole = bool(newline)
        done = item.done()
        self.offset += done.length + whole
        yield Batch(self.offset, long=done, whole=whole)
        yield from self._block(behind)
