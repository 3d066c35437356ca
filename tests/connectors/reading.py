"""What the tests of the files connector share."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from collector.connector import Chunk, Cursor, End, Part, Record
from connectors.files.connector import FilesReader
from connectors.files.options import FilesOptions

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def data(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real data is absent: {name}")
    return path


def through_json(cursor: Cursor) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(cursor))
    return copied


class Store:
    """Keeps what a store would: records and, by part, the last cursor; a restart is a new reader."""

    def __init__(self, folder: Path, **options: Any) -> None:  # noqa: ANN401 -- as FilesOptions takes them
        self.folder = folder
        self.options = FilesOptions(**options)
        self.known: dict[str, Cursor] = {}
        self.records: list[Record] = []
        self.ends: dict[str, End] = {}

    def poll(self) -> list[Record]:
        """Read all parts to their present ends with a new reader; return the new records."""
        reader = FilesReader(self.options, self.folder)
        before = len(self.records)
        for part in reader.parts(self.known):
            self.read(reader, part)
        return self.records[before:]

    def read(self, reader: FilesReader, part: Part) -> None:
        for chunk in reader.read(part, self.known.get(part.id)):
            self.records += chunk.records
            self.known[part.id] = through_json(chunk.cursor)
            if chunk.end is not None:
                self.ends[part.name] = chunk.end


def chunks_of(path: Path, cursor: Cursor | None = None, **options: Any) -> list[Chunk]:  # noqa: ANN401 -- as FilesOptions takes them
    reader = FilesReader(FilesOptions(path=path.name, **options), path.parent)
    (part,) = reader.parts({})
    return list(reader.read(part, cursor))


def read(path: Path, **options: Any) -> tuple[list[Record], End]:  # noqa: ANN401 -- as FilesOptions takes them
    chunks = chunks_of(path, **options)
    assert [chunk.end is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    end = chunks[-1].end
    assert end is not None
    return [record for chunk in chunks for record in chunk.records], end


def bodies(records: list[Record]) -> list[Mapping[str, Any] | None]:
    return [record.body for record in records]


def reasons(records: list[Record]) -> list[str]:
    return [record.fault.reason if record.fault else "" for record in records]
