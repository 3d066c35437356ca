"""Records that could not be read: what is kept of them is bounded."""

import hashlib

import msgspec

from collector.connector import RAW_KEPT_BYTES_MAX, Fault, Record


class Overlong(msgspec.Struct, frozen=True):
    """An item too long to hold: its range, its SHA-256 and its beginning."""

    start: int
    length: int
    sha256: str
    head: bytes


class OverlongBuilder:
    """Takes an item piece by piece and keeps only its digest and its first 64 KiB."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._length = 0
        self._head = bytearray()
        self._digest = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """Take the next bytes of the item."""
        if len(self._head) < RAW_KEPT_BYTES_MAX:
            self._head += piece[: RAW_KEPT_BYTES_MAX - len(self._head)]
        self._length += len(piece)
        self._digest.update(piece)

    def done(self) -> Overlong:
        """Return what is known of the whole item."""
        return Overlong(self._start, self._length, self._digest.hexdigest(), bytes(self._head))


def unreadable(position: int, raw: bytes, start: int, fault: Fault) -> Record:
    """Return a record without a body; of a `raw` over 64 KiB the beginning and the SHA-256."""
    if len(raw) <= RAW_KEPT_BYTES_MAX:
        return Record(position, None, raw, fault, start, len(raw))
    digest = hashlib.sha256(raw).hexdigest()
    return Record(position, None, raw[:RAW_KEPT_BYTES_MAX], fault, start, len(raw), digest)


def overlong(position: int, item: Overlong, limit: int) -> Record:
    """Return the record of an item that is longer than `limit` bytes."""
    fault = Fault(
        "TOO_LONG",
        f"The record at byte {item.start} has {item.length:,} bytes, more than the {limit:,} that"
        " are held in memory; have the source write shorter records (lines: `record_bytes_max`).",
    )
    return Record(position, None, item.head, fault, item.start, item.length, item.sha256)
