"""A batch without its duplicates, as packed rows: what goes from whoever reads to whoever commits."""

from datetime import date

import msgspec
from typing_extensions import override

from collector.store import rows

Step = tuple[int, str]
"""A document's number within the batch, and an event type."""


class Prepared(msgspec.Struct, array_like=True):
    """A batch without its duplicates, as packed rows.

    By event, in the order of their ids: `tails`, packed, and `document_of`, the document's number
    within the batch. By that number: `names`, the content id of its own name; `references`, packed,
    its own name first, or none where an earlier chunk of the pass has told them all; `hashes`, of the
    others; `joins`, the (content id, kind) of the names by which it joins, its own first, or none where
    `references` holds none; `spans`, its months. `steps` holds (number,
    event type, packed) of the steps that these events make; those in `revised` hang on which revision
    of an event counts, which is decided over all of them, by the database; `told_again` holds these events,
    (event id, month). `delivered` and `accepted`
    count records; `raw` holds (position, bytes), `personal` (event id, revision number, month, JSON).
    """

    delivered: int = 0
    accepted: int = 0
    amounts: dict[str, int] = {}
    hash_total: int = 0
    months: set[date] = set()
    document_of: list[int] = []
    tails: list[bytes] = []
    names: list[bytes] = []
    references: list[list[bytes]] = []
    hashes: list[int] = []
    joins: list[list[tuple[bytes, str]]] = []
    spans: list[rows.Span] = []
    steps: list[tuple[int, str, bytes]] = []
    revised: set[Step] = set()
    told_again: list[tuple[bytes, date]] = []
    personal: list[tuple[bytes, int, date, str]] = []
    raw: list[tuple[int, rows.Raw]] = []

    @override
    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as MessagePack, in a third of the time; it has no whole numbers beyond 64 bits."""
        rest = msgspec.structs.replace(self, amounts={}, hash_total=0)
        return _unpickled, (_pack(rest), self.amounts, self.hash_total)


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Prepared).decode


def _unpickled(packed: bytes, amounts: dict[str, int], hash_total: int) -> Prepared:
    p = _unpack(packed)
    p.amounts, p.hash_total = amounts, hash_total
    return p
