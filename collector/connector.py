"""What a connector promises.

A connector knows one kind of system. Handed a stream's options it opens a `Reader`, which lists the
`Part`s that exist now and reads one part from a cursor on. Reading is synchronous and runs in a
worker thread; the pipeline commits each `Chunk` together with its cursor, in one database
transaction, so a reader never has to remember anything itself: after `kill -9` it is called again
with the last committed cursor.

A record that cannot be read is not an exception: it is a `Record` with a `Fault`, its raw bytes and
its position, and the stream goes on. A reader raises `collector.errors` only where the whole part
cannot be read now (no permission, the file vanished).
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import msgspec

Cursor = Mapping[str, Any]
"""How far a part has been read: JSON-able, opaque to everyone but the connector that made it."""

Body = dict[str, Any]
"""A record as parsed: str, int, bool, None, Decimal (never float), list and dict."""

CHUNK_RECORDS_MAX = 10_000
"""Records in one chunk: the unit of commit. Of 5,000 a commit, and the keys that the database sorts into its indexes,
cost a fifteenth more for each; more would wait in memory, read, mapped and being committed."""

RAW_KEPT_BYTES_MAX = 65_536
"""What is kept of one unreadable record: the first 64 KiB, with its length and SHA-256."""


class Fault(msgspec.Struct, frozen=True):
    """Why a record could not be read, validated or mapped.

    `reason` is a stable code such as `INVALID_JSON` (collector/settings/reasons.yaml has them all);
    `sentence` says to a controller what is wrong with which value and what would mend it. Where it is
    one value, `field` is the expression that gave it and `shape` what the value looks like.
    """

    reason: str
    sentence: str
    field: str = ""
    shape: str = ""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One item as the source gave it.

    `position` counts records within the part from 1. `raw` is the item's own bytes; empty where the
    body loses nothing (the store then keeps the body as JSON). `start` and `length` give the byte
    range in the (uncompressed) part where there is one. Of an item longer than RAW_KEPT_BYTES_MAX
    that could not be read, `raw` is the beginning, `length` the whole and `sha256` of the whole.
    """

    position: int
    body: Body | None
    raw: bytes = b""
    fault: Fault | None = None
    start: int = -1
    length: int = -1
    sha256: str = ""


class Ending(StrEnum):
    """How a pass over a part ended."""

    OPEN = "open"  # a tail: there may be more later, nothing says that there is not
    INTACT = "intact"  # the container is closed: gzip CRC right, XML root closed, file unchanged
    BROKEN = (
        "broken"  # the container is damaged or cut off: something after the last record is unread
    )


class End(msgspec.Struct, frozen=True):
    """What is known when a pass over a part is over.

    `unread` is the number of records that are known to be there and could not be read; None where
    it is at least one and the number is unknown. `sentence` says why, for people.
    `notes` states what was sniffed (dialect, encoding), for people.
    """

    ending: Ending
    unread: int | None = 0
    sentence: str = ""
    notes: Mapping[str, str] = {}


class Stated(msgspec.Struct, frozen=True):
    """Control totals that the source itself states about the part (trailer, header count, sums).

    `grade` is A (independent of the extract) or B (the source's own interface); `count` in records,
    `amounts` in the text that the source uses, by ISO 4217 currency. Stated of a chunk without `end`
    they are about its records, with it about the part.

    `covers` is [from, until): of what happened in it the source, asked, had nothing more; `until` is
    the part's watermark. `kept_until`: what follows `until` and is not read by then, the source no
    longer has.
    """

    grade: str
    what: str
    count: int | None = None
    amounts: Mapping[str, str] = {}
    covers: tuple[datetime, datetime] | None = None
    kept_until: datetime | None = None


class Chunk(msgspec.Struct, frozen=True):
    """Records that are committed together with the cursor behind them.

    The last chunk of a pass carries `end` (and may hold no records).
    """

    records: list[Record]
    cursor: Cursor
    end: End | None = None
    stated: Stated | None = None


class Part(msgspec.Struct, frozen=True):
    """One part of a stream (a file, a partition): what a single reader is leased.

    `id` is stable over renames (for a file: device, inode and fingerprint of its head); `name` is
    what people call it now (the path as configured, relative to the configuration).
    `size_bytes` serves progress bars; None where unknown.
    """

    id: str
    name: str
    size_bytes: int | None = None


class Reader(Protocol):
    """One opened stream."""

    def parts(self, known: Mapping[str, Cursor]) -> list[Part]:
        """List what can be read now, oldest first; `known` holds the committed cursor by part id.

        A part that was read to its intact end and has not changed is listed as well: reading it
        then yields at once a last chunk without records.
        """
        ...

    def read(self, part: Part, cursor: Cursor | None) -> Iterator[Chunk]:
        """Read `part` from `cursor` (None: the beginning) to its present end."""
        ...


class Redelivers(StrEnum):
    """How often a source gives a record that was committed before."""

    NEVER = "never"  # duplicates are rare: the batch is written optimistically
    OVERLAP = "overlap"  # some, by design: look first
    ALWAYS = "always"


class Spec(msgspec.Struct, frozen=True):
    """What the registry says of a connector.

    `options` is the pydantic model of a stream's `read:` section; `open` makes a reader from an
    instance of it, secrets in clear, and the folder that relative paths start from. Opening asks
    nobody anything. `pause_s` is the least time between two passes over a tailed stream.
    """

    name: str
    title: str
    options: type[Any]
    open: Callable[[Any, Path], Reader]
    redelivers: Redelivers = Redelivers.NEVER
    pause_s: float = 0.0
