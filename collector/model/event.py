"""The canonical event: one finance fact, made from a record."""

from datetime import date, datetime
from typing import Any

import msgspec

from collector.model.reference import Name


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something happened to a document.

    `event_id` holds no mapped value (namespace, native key, rule, raw discriminators), so that a
    mended mapping makes the same event. `revision` is the hash of the record's parsed content.
    `month` is the first of the month as the source wrote it. `references` are (role, name) pairs
    without the document's own. `body` is everything else, as JSON; `personal` what is kept apart.
    """

    event_id: bytes
    revision: bytes
    month: date
    position: int
    occurred_at: datetime
    type: str
    document: Name
    references: tuple[tuple[int, Name], ...]
    sequence: int | None
    amount_minor: int | None
    currency: str | None
    entity: str | None
    body: bytes
    personal: dict[str, Any] | None


class Kept(msgspec.Struct):
    """What the body of an event says, as far as it is read again."""

    document: Name
    references: tuple[tuple[int, Name], ...] = ()
    status: str | None = None
    message: str | None = None


kept_of = msgspec.json.Decoder(Kept).decode
"""Read the body of an event, JSON in UTF-8 or as text."""
