"""A small source of each connector, for the tests that every connector has to pass.

An example holds `RECORDS` records. `damage` makes the source unavailable; what reading raises then must
be an instruction.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from collector.connector import Reader
from connectors.files import passes
from connectors.files.connector import FilesReader
from connectors.files.options import FilesOptions
from connectors.sap_cloud_integration.sandbox import Trouble
from tests.connectors.cpi import DAY, NOON, ended, house

RECORDS = 25


class Example(NamedTuple):
    """A source with RECORDS records: the options as they are written, and a reader from scratch."""

    read: dict[str, Any]
    reader: Callable[[], Reader]
    damage: Callable[[], None]


@contextmanager
def files(folder: Path) -> Iterator[Example]:
    path = folder / "orders.jsonl"
    path.write_text("".join(f'{{"id": {i}, "amount": {i}.10}}\n' for i in range(RECORDS)))
    read = {"path": path.name}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "CHUNK_RECORDS_MAX", 4)  # several chunks of few records
        yield Example(read, lambda: FilesReader(FilesOptions(**read), folder), path.unlink)


@contextmanager
def sap_cloud_integration(_folder: Path) -> Iterator[Example]:
    messages = [
        ended(f"M{i}", NOON - DAY * (i % 5) - timedelta(hours=1 + i)) for i in range(RECORDS)
    ]
    with house(*messages, page_rows=4) as h:

        def damage() -> None:
            h.tenant.trouble = lambda: Trouble.UNAVAILABLE

        yield Example(h.read_section(), h.reader, damage)


EXAMPLES: dict[str, Callable[[Path], Any]] = {
    "files": files,
    "sap_cloud_integration": sap_cloud_integration,
}
