"""Rows in PostgreSQL's binary COPY format, packed by hand.

About three times faster than handing Python objects to the driver's encoder, and the packing of an
event can be done in another thread, before its surrogates are known: `event_tail` is the row but
for its first two columns. The format: "COPY", "Binary Format" in PostgreSQL's manual.
"""

import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

from collector.model.event import Event, kept_of
from collector.model.reference import CUT, IDENTITY, Name

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)
"""What a COPY stream begins and ends with."""
_NULL = struct.pack(">i", -1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH_DAY = date(2000, 1, 1).toordinal()
_JSONB_VERSION = 1
_int8 = struct.Struct(">iq").pack
_event_head = struct.Struct(">hiqiq").pack
_event_mid = struct.Struct(">iqi16si16siiihiq").pack
_event_plain = struct.Struct(">iqi16si16siiihiqiiq").pack  # no sequence, an amount
_event_start = struct.Struct(">iqi16si16sii").unpack_from
_document = struct.Struct(">hiqiqiqi16siqiiiiiq").pack
_reference_head = struct.Struct(">hiqiq").pack
_reference_mid = struct.Struct(">i8si8sih").pack  # a content id is its two hashes
_reference_start, _reference_start_bytes = struct.Struct(">i8si8sihi").unpack_from, 34
_role, _ROLE_AT = struct.Struct(">h").pack, 28
_step_head = struct.Struct(">hiq").pack
_step_mid = struct.Struct(">iqiq").pack
_count = struct.Struct(">iqii").pack
_step_plain = struct.Struct(">iqiqiqiqii").pack  # an amount
_length = struct.Struct(">i").pack
_jsonb = struct.Struct(">iB").pack

Raw = tuple[bytes, bytes | None]
"""A record's bytes as the source gave them, and its body as JSON; None where the bytes are that."""

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
    "months",
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
STEP_COLUMNS = ["document", "first_at", "last_at", "amount_minor", "seen", "n", "type", "currency"]


class Span(NamedTuple):
    """The first and the last month with events, as days since 2000-01-01, and in which of them there are any.

    `months` has a bit for each month of five years (`tieout.month_number` of the schema, modulo 60).
    """

    first: int
    last: int
    months: int

    def joined(self, other: "Span") -> "Span":
        """Return the span of the events of both."""
        return Span(
            min(self.first, other.first), max(self.last, other.last), self.months | other.months
        )


EVENT_BITS = tuple(1 << last_byte % 63 for last_byte in range(256))
"""An event's place among 63, by the last byte of its id (`tieout.event_bit` of the schema)."""


def microseconds(instant: datetime) -> int:
    """Return PostgreSQL's timestamptz: microseconds since 2000-01-01 UTC."""
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


@lru_cache(4096)
def days(day: date) -> int:
    """Return PostgreSQL's date: days since 2000-01-01."""
    return day.toordinal() - _EPOCH_DAY


@lru_cache(4096)
def span(month: date) -> Span:
    """Return the span of one month."""
    day = days(month)
    return Span(day, day, 1 << (month.year % 5 * 12 + month.month - 1))


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    raw = value.encode()
    return _length(len(raw)) + raw


@lru_cache(65_536)
def _labels(*values: str | None) -> bytes:
    """Pack texts that come again and again: types, currencies, entities, kinds, scopes."""
    return b"".join(map(_text, values))


def _number(value: int | None) -> bytes:
    return _NULL if value is None else _int8(8, value)


def event_tail(event: Event, revision_no: int, occurred_us: int) -> bytes:
    """Pack an event but for `batch` and `document`."""
    body, sequence, amount_minor = event.body, event.sequence, event.amount_minor
    start = (
        8, occurred_us, 16, event.event_id, 16, event.revision, 4, days(event.month),
        2, revision_no, 8, event.position,
    )  # fmt: skip
    if sequence is None and amount_minor is not None:
        fixed = _event_plain(*start, -1, 8, amount_minor)
    else:
        fixed = _event_mid(*start) + _number(sequence) + _number(amount_minor)
    labels = _labels(event.type, event.currency, event.entity)
    return b"".join((fixed, labels, _jsonb(len(body) + 1, _JSONB_VERSION), body))


def event_heads(batch: int, documents: Iterable[int]) -> Iterator[bytes]:
    """Pack the beginnings of events' rows: field count, batch and document."""
    always = len(EVENT_COLUMNS), 8, batch, 8
    return map(_event_head, *map(repeat, always), documents)


def event_key(tail: bytes) -> tuple[bytes, date]:
    """Unpack what identifies the event that `event_tail` has packed: its id and month."""
    *_, event_id, _, _, _, month = _event_start(tail)
    return event_id, date.fromordinal(month + _EPOCH_DAY)


def event_of(tail: bytes) -> tuple[Event, int]:
    """Unpack what `event_tail` has packed: the event without what is personal, and its revision number."""
    occurred, event_id, revision, month, revision_no, position, sequence, amount, *texts = _fields(
        tail
    )
    event_type, currency, entity, body = texts
    kept = kept_of(body[1:])
    return Event(
        event_id,
        revision,
        date.fromordinal(_int(month) + _EPOCH_DAY),
        _int(position),
        _EPOCH + _int(occurred) * _MICROSECOND,
        event_type.decode(),
        kept.document,
        kept.references,
        None if sequence is None else _int(sequence),
        None if amount is None else _int(amount),
        None if currency is None else currency.decode(),
        None if entity is None else entity.decode(),
        body[1:],
        None,
    ), _int(revision_no)


def document_row(  # noqa: PLR0913, PLR0917 -- a row's columns
    document: int,
    component: int,
    seq: int,
    content: bytes,
    references: int,
    span: Span,
    kind: str,
) -> bytes:
    """Pack a row of `document`: `content` is its content id."""
    numbers = 8, document, 8, component, 8, seq
    months = 4, span.first, 4, span.last, 8, span.months
    return _document(9, *numbers, 16, content, 8, references, *months) + _labels(kind)


def reference_head(document: int, batch: int) -> bytes:
    """Pack the beginning of a reference's row: its field count, document and batch."""
    return _reference_head(8, 8, document, 8, batch)


def reference_tail(role: int, name: Name, content: bytes) -> bytes:
    """Pack a reference but for its document and batch: `content` is the content id of its name."""
    kind, scope, value = name
    return b"".join(
        (
            _reference_mid(8, content[:8], 8, content[8:], 2, role),
            _labels(kind, scope),
            _text(value),
        )
    )


def reference_of(tail: bytes) -> tuple[int, bytes, str]:
    """Unpack what `reference_tail` has packed: role, content id of the name, and its kind."""
    _, by_value, _, by_name, _, role, length = _reference_start(tail)
    kind = tail[_reference_start_bytes : _reference_start_bytes + length]
    return role, by_value + by_name, kind.decode()


def without_cut(tail: bytes, cut: frozenset[bytes]) -> bytes:
    """Pack a reference again with the role CUT, if its name is among those that are cut."""
    if not cut:
        return tail
    role, name, _ = reference_of(tail)
    if role != IDENTITY or name not in cut:
        return tail
    return tail[:_ROLE_AT] + _role(CUT) + tail[_ROLE_AT + 2 :]


def step_head(document: int) -> bytes:
    """Pack the beginning of a step's row: its field count and document."""
    return _step_head(len(STEP_COLUMNS), 8, document)


def step_tail(  # noqa: PLR0913, PLR0917 -- a row's columns
    first_us: int,
    last_us: int,
    seen: int,
    n: int,
    event_type: str,
    amount_minor: int | None,
    currency: str | None,
) -> bytes:
    """Pack a step but for its document: the amount is its last event's, `seen` the bits of all."""
    labels = _labels(event_type, currency)
    if amount_minor is not None:
        return _step_plain(8, first_us, 8, last_us, 8, amount_minor, 8, seen, 4, n) + labels
    return _step_mid(8, first_us, 8, last_us) + _NULL + _count(8, seen, 4, n) + labels


class Fold(NamedTuple):
    """What a packed step says: first and last instant in `microseconds`, the last one's amount, which events, how many."""

    first_us: int
    last_us: int
    amount_minor: int | None
    seen: int
    n: int
    currency: str | None


def fold_of(tail: bytes) -> Fold:
    """Unpack what `step_tail` has packed."""
    first, last, amount, seen, n, _, currency = _fields(tail)
    return Fold(
        _int(first),
        _int(last),
        None if amount is None else _int(amount),
        _int(seen),
        _int(n),
        None if currency is None else currency.decode(),
    )


def _fields(tail: bytes) -> list[Any]:
    """Take a row apart into its fields' bytes, None where they are null."""
    fields: list[bytes | None] = []
    at = 0
    while at < len(tail):
        length = _int(tail[at : at + 4])
        at += 4
        fields.append(None if length < 0 else tail[at : at + length])
        at += max(length, 0)
    return fields


def _int(raw: bytes) -> int:
    return int.from_bytes(raw, "big", signed=True)
