"""The `files` connector: reads files once or tails them, whatever happens to them meanwhile.

Tailing survives rotation by rename and by copy-truncate, compression of rotated files, truncation,
a partial last line and restarts: see `connectors.kit.identity`. A file that is read once and has
changed is read on if it only grew, and else from its beginning; the store knows what it has.
"""

import glob
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from collector.clock import Clock, now
from collector.connector import Chunk, Cursor, End, Ending, Part, Spec
from collector.errors import Misconfigured, NotConnected, Transient
from connectors.files.options import LINE_FORMATS, FilesOptions, Layout
from connectors.files.sniff import SAMPLE_BYTES, encoding_of, is_utf16, layout_of
from connectors.kit.identity import (
    HEAD_BYTES_MAX,
    Found,
    Identifier,
    begins_as,
    found,
    head,
    marks,
    prefix_matches,
    tail_matches,
    utf16,
)
from connectors.kit.streams import head_of, opened

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class FilesReader:
    """The files that one stream's `path` names."""

    def __init__(self, options: FilesOptions, folder: Path, clock: Clock = now) -> None:
        self._options = options
        self._folder = folder
        self._clock = clock
        self._identifier = Identifier(follow=options.follow)
        self._listed: dict[str, Found] = {}

    def parts(self, known: Mapping[str, Cursor]) -> list[Part]:
        """List the files, oldest first; raise NotConnected where a named one is missing."""
        try:
            pairs = self._identifier.parts(self._files(), known)
        except PermissionError as error:
            raise _not_permitted(error) from None
        self._listed = {part.id: file for part, file in pairs}
        return [part for part, _ in pairs]

    def read(self, part: Part, cursor: Cursor | None) -> Iterator[Chunk]:
        """Read a file from `cursor` to its present end.

        Raise Transient where it was renamed since it was listed, NotConnected where it may not be
        read.
        """
        try:
            file = self._present(part)
            if cursor is not None and "end" in cursor and file.same_as_in(cursor):
                yield Chunk([], cursor, msgspec.convert(cursor["end"], End))
                return
            yield from self._chunks(file, cursor)
        except FileNotFoundError:
            raise _moved(part) from None
        except PermissionError as error:
            raise _not_permitted(error) from None

    def _files(self) -> list[Found]:
        """Return the files that the paths name, and their neighbours where one may be rotated."""
        files: dict[Path, Found] = {}
        for pattern in self._options.paths:
            names = glob.glob(pattern, root_dir=self._folder, recursive=True)  # noqa: PTH207 -- patterns may be absolute
            if not names and not self._options.follow and not glob.has_magic(pattern):
                raise NotConnected(
                    f"{pattern} does not exist in the folder of the configuration:"
                    " correct `path`, or provide the file."
                )
            for name in names:
                if (file := found(self._folder / name, name)) is not None:
                    files[file.path] = file
        if self._options.follow:
            for neighbour in self._rotated(list(files.values())):
                files.setdefault(neighbour.path, neighbour)
        return list(files.values())

    def _rotated(self, files: list[Found]) -> Iterator[Found]:
        """Yield the neighbours whose names begin alike; they are read only if they are known."""
        stems: dict[Path, set[str]] = {}
        for file in files:
            stems.setdefault(file.path.parent, set()).add(file.path.name.split(".")[0])
        for pattern in self._options.paths:
            path = self._folder / pattern
            if not glob.has_magic(pattern) and path.parent.is_dir():
                stems.setdefault(path.parent, set()).add(path.name.split(".")[0])
        for folder, beginnings in stems.items():
            for path in sorted(folder.iterdir()):
                if path.name.startswith(tuple(beginnings)):
                    neighbour = found(path, self._name_of(path), wanted=False)
                    if neighbour is not None:
                        yield neighbour

    def _name_of(self, path: Path) -> str:
        return str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path)

    def _present(self, part: Part) -> Found:
        """Look at the file of a part again; raise Transient where another lies there now."""
        file = found(self._folder / part.name, part.name)
        listed = self._listed.get(part.id)
        if file is None or (listed is not None and listed.at != file.at):
            raise _moved(part)
        return file

    def _chunks(self, file: Found, cursor: Cursor | None) -> Iterator[Chunk]:
        from connectors.files.passes import DocumentPass, LinesPass, Source  # noqa: PLC0415 -- only who reads needs all formats

        if cursor is not None and not self._continues(cursor, file):
            cursor = None
        layout = self._layout(file, cursor)
        if layout is None:
            yield self._nothing_yet(file)
            return
        recoded = layout.encoding == "utf-16" and layout.format not in {"xml", "xes"}
        file_head = head(file)
        with opened(file.path, gzip=file.gzip, utf16=recoded) as (stream, raw):
            source = Source(file, file_head, layout, stream, raw)
            reading: LinesPass | DocumentPass = (
                LinesPass(source, self._options, self._clock)
                if layout.format in LINE_FORMATS
                else DocumentPass(source, self._options)
            )
            told = self._told(file)
            for chunk in reading.chunks(cursor):
                yield _with(chunk, told) if told else chunk

    def _told(self, file: Found) -> dict[str, str]:
        """Return the fields that a file's name and time give each of its records.

        Raises:
            Misconfigured: its name does not look as `file_name` says.
        """
        told: dict[str, str] = {}
        if self._options.file_name is not None:
            named = re.fullmatch(self._options.file_name, file.path.name)
            if named is None:
                raise Misconfigured(
                    f"its name does not look as `file_name` says ({self._options.file_name}): correct that, or "
                    "narrow `path` to the files that are meant."
                )
            told |= named.groupdict(default="")
        if self._options.file_time is not None:
            changed_at = EPOCH + timedelta(microseconds=file.mtime_ns // 1_000)
            told[self._options.file_time] = changed_at.isoformat()
        return told

    def _continues(self, cursor: Cursor, file: Found) -> bool:
        """Tell whether the cursor holds for what the file is now."""
        if "layout" not in cursor or not begins_as(cursor, head(file)):
            return False
        if file.same_as_in(cursor):
            return True
        if "offset" not in cursor or cursor["unterminated"]:
            return False
        in_place = cursor["at"] == file.at and not file.gzip and not utf16(cursor)
        if self._options.follow and in_place:
            return tail_matches(cursor, file)
        return prefix_matches(cursor, file)

    def _layout(self, file: Found, cursor: Cursor | None) -> Layout | None:
        """Return what the file is: by the cursor, or by looking; None where it is too early."""
        if cursor is not None:
            return msgspec.convert(cursor["layout"], Layout)
        return sniffed(file, self._options)

    def _nothing_yet(self, file: Found) -> Chunk:
        """Return the chunk of a tailed file that has no whole line."""
        source_head = head(file)[:HEAD_BYTES_MAX]
        cursor = {"at": file.at, "size": file.size, "mtime_ns": file.mtime_ns, "records": 0}
        return Chunk([], cursor | marks(source_head, b""), End(Ending.OPEN))


def _with(chunk: Chunk, told: dict[str, str]) -> Chunk:
    """Add fields to a chunk's records."""
    records = [
        r if r.body is None else msgspec.structs.replace(r, body=r.body | told)
        for r in chunk.records
    ]
    return msgspec.structs.replace(chunk, records=records)


def sniffed(file: Found, options: FilesOptions) -> Layout | None:
    """Look at the beginning of a file, and for its encoding at more of it."""
    with opened(file.path, gzip=file.gzip) as (stream, _):
        sample = head_of(stream, SAMPLE_BYTES)
    encoding = options.encoding
    if encoding is None and sample.lstrip().startswith(b"<"):
        encoding = "utf-8"  # XML says itself what it is
    if encoding is None:
        with opened(file.path, gzip=file.gzip) as (stream, _):
            encoding = encoding_of(stream)
    if encoding == "utf-16" and is_utf16(sample):
        with opened(file.path, gzip=file.gzip, utf16=True) as (stream, _):
            sample = head_of(stream, SAMPLE_BYTES)
    return layout_of(sample, encoding, file.name, options)


def _moved(part: Part) -> Transient:
    return Transient(
        f"{part.name} was moved or removed since it was listed: it is looked for again."
    )


def _not_permitted(error: PermissionError) -> NotConnected:
    return NotConnected(
        f"{error.filename} may not be read: give the user that runs Tieout the right to read it.",
        detail=str(error),
    )


def open_files(options: FilesOptions, folder: Path) -> FilesReader:
    """Open a stream of files; `options` is a FilesOptions."""
    return FilesReader(options, folder)


SPEC: Final = Spec(
    name="files",
    title="Files: CSV, JSON, JSON Lines, XML, XES and text logs, read once or tailed",
    options=FilesOptions,
    open=open_files,
)
