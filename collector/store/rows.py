"""Rows in PostgreSQL's binary COPY format, packed by hand.

About three times faster than handing Python objects to the driver's encoder, and the packing of an
event can be done in another thread, before its surrogates are known: `event_tail` is the row but
for its first two columns. The format: "COPY", "Binary Format" in PostgreSQL's manual.
"""

import io
import struct
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import lru_cache

from collector.model.event import Event
from collector.model.reference import Name, name_hash, value_hash

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_NULL = struct.pack(">i", -1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(2000, 1, 1).toordinal()
_two_numbers = struct.Struct(">qq").pack  # as collector.model.reference.content_id
_int8 = struct.Struct(">iq").pack
_event_head = struct.Struct(">hiqiq").pack
_event_mid = struct.Struct(">iqi16si16siiihiq").pack
_document = struct.Struct(">hiqiqiqi16siqiiii").pack
_reference_head = struct.Struct(">hiqiq").pack
_reference_mid = struct.Struct(">iqiqih").pack
_step_head = struct.Struct(">hiq").pack
_step_mid = struct.Struct(">iqiq").pack
_count = struct.Struct(">ii").pack
_length = struct.Struct(">i").pack

EVENT_COLUMNS = [
    "batch",
    "document",
    "occurred_at",
    "event_id",
    "revision",
    "month",
    "revision_no",
    "position",
    "sequence",
    "amount_minor",
    "type",
    "currency",
    "entity",
    "body",
]
DOCUMENT_COLUMNS = [
    "id",
    "component",
    "known_from",
    "content_id",
    "references_hash",
    "first_month",
    "last_month",
    "kind",
]
REFERENCE_COLUMNS = [
    "document",
    "batch",
    "value_hash",
    "name_hash",
    "role",
    "kind",
    "scope",
    "value",
]
STEP_COLUMNS = ["document", "first_at", "last_at", "amount_minor", "n", "type", "currency"]


def microseconds(instant: datetime) -> int:
    """Return PostgreSQL's timestamptz: microseconds since 2000-01-01 UTC."""
    delta = instant - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


@lru_cache(4096)
def days(day: date) -> int:
    """Return PostgreSQL's date: days since 2000-01-01."""
    return day.toordinal() - _EPOCH_DAY


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    raw = value.encode()
    return _length(len(raw)) + raw


_repeated = lru_cache(65_536)(_text)  # types, currencies, entities, kinds, scopes


@lru_cache(131_072)  # a document's events follow each other closely
def numbers(name: Name) -> tuple[int, int]:
    """Return a name's two hashes: (value hash, name hash)."""
    return value_hash(name.value), name_hash(name)


def content(name: Name) -> bytes:
    """Return the content id of the document that is called so."""
    return _two_numbers(*numbers(name))


def _number(value: int | None) -> bytes:
    return _NULL if value is None else _int8(8, value)


def event_tail(event: Event, revision_no: int, occurred_us: int) -> bytes:
    """Pack an event but for `batch` and `document`."""
    return b"".join(
        (
            _event_mid(
                8,
                occurred_us,
                16,
                event.event_id,
                16,
                event.revision,
                4,
                days(event.month),
                2,
                revision_no,
                8,
                event.position,
            ),
            _number(event.sequence),
            _number(event.amount_minor),
            _repeated(event.type),
            _repeated(event.currency),
            _repeated(event.entity),
            _length(len(event.body) + 1),
            b"\x01",  # version of jsonb's binary form
            event.body,
        )
    )


def event_head(batch: int, document: int) -> bytes:
    """Pack the beginning of an event's row: its field count, batch and document."""
    return _event_head(len(EVENT_COLUMNS), 8, batch, 8, document)


def document_row(  # noqa: PLR0913, PLR0917 -- a row's columns
    document: int, component: int, seq: int, name: Name, references: int, first: date, last: date
) -> bytes:
    """Pack a row of `document`."""
    numbers = 8, document, 8, component, 8, seq
    months = 4, days(first), 4, days(last)
    return _document(8, *numbers, 16, content(name), 8, references, *months) + _repeated(name.kind)


def reference_row(document: int, batch: int, role: int, name: Name) -> bytes:
    """Pack a row of `reference`."""
    return _reference_head(8, 8, document, 8, batch) + _reference_tail(role, name)


@lru_cache(65_536)
def _reference_tail(role: int, name: Name) -> bytes:
    by_value, by_name = numbers(name)
    texts = _repeated(name.kind) + _repeated(name.scope) + _text(name.value)
    return _reference_mid(8, by_value, 8, by_name, 2, role) + texts


def step_head(document: int) -> bytes:
    """Pack the beginning of a step's row: its field count and document."""
    return _step_head(len(STEP_COLUMNS), 8, document)


def step_tail(first_us: int, last_us: int, n: int, last: Event) -> bytes:
    """Pack a step but for its document: `last` is the event that says its type and amount."""
    return b"".join(
        (
            _step_mid(8, first_us, 8, last_us),
            _number(last.amount_minor),
            _count(4, n),
            _repeated(last.type),
            _repeated(last.currency),
        )
    )


def stream(rows: Iterable[bytes]) -> io.BytesIO:
    """Make the whole COPY stream of packed rows."""
    return io.BytesIO(b"".join((_SIGNATURE, *rows, _TRAILER)))
