"""Which file is which: identity is device, inode and a fingerprint of the (uncompressed) head.

A part keeps its id while its file grows, is renamed, copied or compressed: the committed cursor
holds the place of the file (`at`), a hash of its head (`head`, `head_bytes`) and, for formats that
are read line by line, what precedes the offset (`offset`, `tail`, `tail_bytes`, `crc`). The head of
a file that grows past its first KiB is compared at the length that was recorded.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from collector.connector import Cursor, Part
from connectors.kit.lines import TAIL_BYTES_MAX, skipped
from connectors.kit.streams import CutOffError, head_of, is_gzip, opened

HEAD_BYTES_MAX: Final = 1024
"""Of the head that is fingerprinted: enough for files that begin with the same header to differ."""


class Found(msgspec.Struct, frozen=True):
    """A file as it lies there now; `at` is device and inode in hexadecimal.

    `wanted` is false for a neighbour that is read only if it turns out to be a known part.
    """

    path: Path
    name: str
    at: str
    size: int
    mtime_ns: int
    gzip: bool
    utf16: bool = False
    wanted: bool = True

    def same_as_in(self, cursor: Cursor) -> bool:
        """Tell whether nothing was written since the cursor was made."""
        seen = (cursor.get("at"), cursor.get("size"), cursor.get("mtime_ns"))
        return seen == (self.at, self.size, self.mtime_ns)


def digest(data: bytes) -> str:
    """Return the fingerprint of a head or tail."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def found(path: Path, name: str, *, wanted: bool = True) -> Found | None:
    """Look at a file; None where it is not a regular one or has just gone."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    try:
        gzip = is_gzip(path)
    except FileNotFoundError:
        return None
    except PermissionError:
        gzip = False  # reading it will say so
    at = place(facts)
    return Found(path, name, at, facts.st_size, facts.st_mtime_ns, gzip=gzip, wanted=wanted)


def place(facts: os.stat_result) -> str:
    """Return device and inode."""
    return f"{facts.st_dev:x}-{facts.st_ino:x}"


def head(file: Found) -> bytes:
    """Read the uncompressed head; empty where the file has gone or may not be read."""
    try:
        with opened(file.path, gzip=file.gzip) as (stream, _):
            return head_of(stream, HEAD_BYTES_MAX)
    except (FileNotFoundError, PermissionError):
        return b""


def begins_as(cursor: Cursor, file_head: bytes) -> bool:
    """Tell whether the head is the recorded one, at the length that was recorded."""
    size: int = cursor["head_bytes"]
    return len(file_head) >= size and digest(file_head[:size]) == str(cursor["head"])


def tail_matches(cursor: Cursor, file: Found) -> bool:
    """Tell whether the bytes just before the offset are the recorded ones (plain files)."""
    offset, size = int(cursor["offset"]), int(cursor["tail_bytes"])
    if file.size < offset:
        return False
    try:
        with file.path.open("rb") as raw:
            raw.seek(offset - size)
            return digest(raw.read(size)) == str(cursor["tail"])
    except (FileNotFoundError, PermissionError):
        return False


def prefix_matches(cursor: Cursor, file: Found) -> bool:
    """Tell whether all bytes before the offset are the recorded ones, by reading them."""
    offset = int(cursor["offset"])
    try:
        with opened(file.path, gzip=file.gzip, utf16=utf16(cursor)) as (stream, _):
            prefix = skipped(stream, offset)
    except (CutOffError, FileNotFoundError, PermissionError):
        return False
    return (prefix.offset, prefix.crc) == (offset, cursor["crc"])


def utf16(cursor: Cursor) -> bool:
    """Tell whether offsets count bytes of the UTF-8 that a UTF-16 file is read as."""
    return str(cursor.get("layout", {}).get("encoding", "")) == "utf-16"


class Identifier:
    """Gives each file its part id; remembers the heads of files that did not change."""

    def __init__(self, *, follow: bool) -> None:
        self._follow = follow
        self._heads: dict[tuple[str, int, int], bytes] = {}

    def parts(self, files: list[Found], known: Mapping[str, Cursor]) -> list[tuple[Part, Found]]:
        """Return a part for each file that is wanted or known, oldest first."""
        self._forget({(f.at, f.size, f.mtime_ns) for f in files})
        named: dict[str, Found] = {}
        left = self._in_place(files, known, named)
        left = self._moved(left, known, named)
        plain = {file.path for file in files if not file.gzip}
        taken = set(known) | set(named)
        for file in left:
            if file.wanted and not self._copy_in_progress(file, plain):
                named[self._new_id(file, taken)] = file
        pairs = sorted(named.items(), key=lambda pair: (pair[1].mtime_ns, pair[1].name))
        return [(Part(id_, file.name, file.size), file) for id_, file in pairs]

    def _in_place(
        self, files: Iterable[Found], known: Mapping[str, Cursor], named: dict[str, Found]
    ) -> list[Found]:
        """Name the files that lie where a cursor saw them; return the others."""
        by_place: dict[str, list[str]] = {}
        for id_, cursor in known.items():
            by_place.setdefault(cursor.get("at", ""), []).append(id_)
        left = []
        for file in files:
            ids = sorted(by_place.get(file.at, ()), key=_generation, reverse=True)
            same = next((i for i in ids if self._still(known[i], file)), None)
            if same is None or same in named:
                left.append(file)
            else:
                named[same] = file
        return left

    def _still(self, cursor: Cursor, file: Found) -> bool:
        if file.same_as_in(cursor):
            return True
        if not begins_as(cursor, self._head(file)):
            return False
        if not self._follow or "offset" not in cursor or file.gzip or utf16(cursor):
            return True
        return tail_matches(cursor, file)

    def _moved(
        self, files: list[Found], known: Mapping[str, Cursor], named: dict[str, Found]
    ) -> list[Found]:
        """Name the copies, plain or compressed, of known files that are no longer there."""
        lost = [(i, c) for i, c in known.items() if i not in named and c.get("offset")]
        left = []
        for file in files:
            original = next(self._originals(file, lost), None)
            if original is None or original in named:
                left.append(file)
            else:
                named[original] = file
        return left

    def _originals(self, file: Found, lost: list[tuple[str, Cursor]]) -> Iterator[str]:
        if not lost:
            return
        file_head = self._head(file)
        for id_, cursor in lost:
            if begins_as(cursor, file_head) and prefix_matches(cursor, file):
                yield id_

    def _copy_in_progress(self, file: Found, plain: set[Path]) -> bool:
        """Tell whether this is `x.gz` beside `x`: gzip has not finished, or was told to keep it."""
        original = file.path.with_suffix("")
        if not file.gzip or file.path.suffix != ".gz" or original not in plain:
            return False
        beside = found(original, file.name)
        return beside is not None and self._head(beside).startswith(self._head(file))

    def _new_id(self, file: Found, taken: set[str]) -> str:
        id_ = f"{file.at}-{digest(self._head(file))}"
        before = [_generation(known) for known in taken if known.startswith(f"{file.at}-")]
        if before:
            id_ = f"{id_}-{max(before) + 1}"
        taken.add(id_)
        return id_

    def _head(self, file: Found) -> bytes:
        key = (file.at, file.size, file.mtime_ns)
        if key not in self._heads:
            self._heads[key] = head(file)
        return self._heads[key]

    def _forget(self, present: set[tuple[str, int, int]]) -> None:
        self._heads = {key: value for key, value in self._heads.items() if key in present}


def _generation(id_: str) -> int:
    """Return which file at its place this was: the number behind `<dev>-<ino>-<head>`."""
    fields = id_.split("-")
    return int(fields[3]) if len(fields) > 3 else 1  # noqa: PLR2004 -- the optional fourth field


def marks(file_head: bytes, tail: bytes) -> dict[str, str | int]:
    """Return what a cursor records of the head and of what precedes its offset."""
    tail = tail[-TAIL_BYTES_MAX:]
    return {
        "head": digest(file_head),
        "head_bytes": len(file_head),
        "tail": digest(tail),
        "tail_bytes": len(tail),
    }
