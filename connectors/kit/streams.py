"""Byte streams over plain, gzip and UTF-16 files, read in blocks of bounded size.

A gzip file is recognised by its content. What can be decompressed before the damage of a cut or
corrupt one is delivered first; then `read` raises `CutOffError`.
"""

import codecs
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

BLOCK_BYTES = 1 << 20
"""Read at once: large enough that calls do not matter, small enough to hold a few."""

_COMPRESSED_BLOCK_BYTES = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW_BITS = 31  # 15, the largest window, plus 16: gzip header and CRC are checked


class CutOffError(Exception):
    """The container is damaged or ends early; the message is a clause: 'the gzip data ends …'."""


class Stream(Protocol):
    """What the readers need of a file."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        ...


class GzipStream:
    """Decompresses one or several gzip members, checks each CRC, never holds more than a block."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._inflate = zlib.decompressobj(_GZIP_WINDOW_BITS)
        self._salvaged: zlib.error | None = None

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end; raise CutOffError where the file is damaged."""
        while True:
            if self._salvaged is not None:
                raise CutOffError(f"the gzip data is corrupt ({self._salvaged})")
            if self._inflate.eof and not self._next_member():
                return b""
            data = self._inflate.unconsumed_tail or self._raw.read(_COMPRESSED_BLOCK_BYTES)
            out = self._decompress(data, size)
            if out:
                return out
            if not data and not self._inflate.eof and self._salvaged is None:
                raise CutOffError("the gzip data ends before its end-of-stream marker")

    def _next_member(self) -> bool:
        """Start on the member behind the last one; zero padding is passed over."""
        rest = self._inflate.unused_data.lstrip(b"\0")
        while not rest:
            block = self._raw.read(_COMPRESSED_BLOCK_BYTES)
            if not block:
                return False
            rest = block.lstrip(b"\0")
        if not rest.startswith(_GZIP_MAGIC[: len(rest)]):
            raise CutOffError("the gzip data is followed by something that is not gzip")
        self._inflate = zlib.decompressobj(_GZIP_WINDOW_BITS)
        self._raw.seek(-len(rest), 1)
        return True

    def _decompress(self, data: bytes, size: int) -> bytes:
        before = self._inflate.copy()
        try:
            return self._inflate.decompress(data, size)
        except zlib.error as error:
            self._salvaged = error
            return _up_to_the_damage(before, data)


def _up_to_the_damage(inflate: "zlib._Decompress", data: bytes) -> bytes:
    """Feed byte by byte, and return what came out before the error."""
    out = bytearray()
    try:
        for i in range(len(data)):
            out += inflate.decompress(data[i : i + 1])
    except zlib.error:
        pass
    return bytes(out)


class Utf8Stream:
    """Gives a UTF-16 file as UTF-8, without its byte order mark."""

    def __init__(self, inner: Stream) -> None:
        self._inner = inner
        self._decoder = codecs.getincrementaldecoder("utf-16")()

    def read(self, size: int, /) -> bytes:
        """Return the next block; raise CutOffError where the file is not UTF-16."""
        while True:
            data = self._inner.read(size)
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise CutOffError(f"the text is not UTF-16 ({error.reason})") from None
            if text or not data:
                return text.encode()


def is_gzip(path: Path) -> bool:
    """Tell whether the file is gzip by its first bytes; an empty one by its name."""
    with path.open("rb") as file:
        magic = file.read(len(_GZIP_MAGIC))
    return magic == _GZIP_MAGIC or (not magic and path.suffix == ".gz")


@contextmanager
def opened(path: Path, *, gzip: bool, utf16: bool = False) -> Iterator[tuple[Stream, BinaryIO]]:
    """Open `path` as a stream of its uncompressed bytes, with the file below it (for `fstat`)."""
    with path.open("rb", buffering=0) as unbuffered:
        raw: BinaryIO = unbuffered  # FileIO reads short only at the end of a regular file
        stream: Stream = GzipStream(raw) if gzip else raw
        yield (Utf8Stream(stream) if utf16 else stream), raw


def head_of(stream: Stream, size: int) -> bytes:
    """Read the first `size` bytes, fewer where the stream ends or is damaged before."""
    out = b""
    try:
        while len(out) < size and (block := stream.read(size - len(out))):
            out += block
    except CutOffError:
        pass
    return out
