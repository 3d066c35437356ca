"""A batch's events, arranged by document and packed: all that can be done without the database."""

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date
from functools import lru_cache
from operator import attrgetter

import msgspec
from typing_extensions import override

from collector.model.event import Event
from collector.model.reference import IDENTITY, OWN, Name, content_id
from collector.store import rows

_HASH_MODULUS = 2**64
_HASH_TOTAL_MODULUS = 2**128
_identity = attrgetter("event_id")

Revisions = dict[bytes, list[bytes]]
"""The revisions of events that are known, by event id, in the order of their number."""

Held = tuple[tuple[int, Name], ...]
"""The references of a document, as (role, name); some perhaps more than once."""

Step = tuple[int, str]
"""A document's number within the batch, and an event type."""


class Prepared(msgspec.Struct, array_like=True):
    """A batch without its duplicates, as packed rows.

    By event, in the order of their ids: `tails`, packed, and `document_of`, the document's number
    within the batch. By that number: `names`, the content id of its own name; `references`, packed,
    its own name first, or none where an earlier chunk of the pass has told them all; `hashes`, of the
    others; `spans`, first and last month. `steps` holds (number,
    event type, packed) of the steps that these events make; those in `revised` hang on which revision
    of an event counts, which is decided over all of them, by the database. `delivered` and `accepted`
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
    spans: list[tuple[date, date]] = []
    steps: list[tuple[int, str, bytes]] = []
    revised: set[Step] = set()
    personal: list[tuple[bytes, int, date, str]] = []
    raw: list[tuple[int, bytes]] = []

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


def references_hash(references: Iterable[tuple[int, bytes]]) -> int:
    """Hash a set of references, (role, content id), to a signed 64-bit number, whatever their order."""
    total = 0
    for role, name in references:
        total += int.from_bytes(name[8:], "big") * (2 * role + 1)
    return (total + _HASH_MODULUS // 2) % _HASH_MODULUS - _HASH_MODULUS // 2


Told = OrderedDict[Name, tuple[Held, bytes]]
"""Documents that earlier chunks of a pass have told whole: their references, and the name's content id."""

TOLD_MAX = 50_000


def prepare(
    events: Collection[Event],
    known: Revisions | None = None,
    raw: Mapping[int, bytes] | None = None,
    told: Told | None = None,
) -> Prepared:
    """Arrange and pack events; one met before (in the batch or in `known`) is left out.

    The same event with other content is kept as a further revision. `raw` holds the bytes of records
    by position, where they are kept. A document in `told` is not told again; what is told is added.
    """
    p = Prepared(delivered=len({event.position for event in events}))
    documents = _Documents(OrderedDict() if told is None else told)
    folds: dict[Step, list[tuple[int, Event]]] = {}
    amounts: defaultdict[str, int] = defaultdict(int)
    accepted = set()
    for revision_no, event in _unknown(events, known or {}):
        accepted.add(event.position)
        p.months.add(event.month)
        p.hash_total += int.from_bytes(event.event_id, "big")
        number = documents.number(event)
        occurred_us = rows.microseconds(event.occurred_at)
        p.document_of.append(number)
        p.tails.append(rows.event_tail(event, revision_no, occurred_us))
        folds.setdefault((number, event.type), []).append((occurred_us, event))
        if revision_no:
            p.revised.add((number, event.type))
        if event.amount_minor is not None and event.currency is not None:
            amounts[event.currency] += event.amount_minor
        if event.personal is not None:
            fields = msgspec.json.encode(event.personal).decode()
            p.personal.append((event.event_id, revision_no, event.month, fields))
    documents.pack(p)
    p.steps = [(*step, _fold(members)) for step, members in folds.items()]
    p.accepted, p.amounts = len(accepted), dict(amounts)
    p.hash_total %= _HASH_TOTAL_MODULUS
    if raw:
        p.raw = [(position, raw[position]) for position in sorted(accepted & raw.keys())]
    return p


def _unknown(events: Iterable[Event], known: Revisions) -> Iterator[tuple[int, Event]]:
    """Yield revision number and event by event id, without those that are known or come again."""
    event_id: bytes | None = None
    revisions: list[bytes] = []
    # in another order two COPY of the same keys deadlock
    for event in sorted(events, key=_identity):
        if event.event_id != event_id:
            event_id = event.event_id
            revisions = list(known.get(event_id, ()))
        if event.revision not in revisions:
            revisions.append(event.revision)
            yield len(revisions) - 1, event


class _Documents:
    """Numbers a batch's documents and gathers what its events say of each."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._number_of: dict[Name, int] = {}
        self._spans: list[tuple[date, date]] = []
        self._held: list[Held] = []

    def number(self, event: Event) -> int:
        """Return the number of an event's document, and note its month and references."""
        spans, month = self._spans, event.month
        number = self._number_of.setdefault(event.document, len(spans))
        if number == len(spans):
            spans.append(_month_only(month))
            self._held.append(event.references)
            return number
        first, last = spans[number]
        if not first <= month <= last:
            spans[number] = min(first, month), max(last, month)
        if event.references != self._held[number]:
            self._held[number] += event.references
        return number

    def pack(self, p: Prepared) -> None:
        """Pack the names and references of all documents."""
        p.spans = self._spans
        for name, held in zip(self._number_of, self._held, strict=True):
            told = self._told.get(name)
            if told is not None and told[0] == held:
                p.names.append(told[1])
                p.references.append([])
                p.hashes.append(0)
                continue
            content, references, hashed = _whole(name, held)
            p.names.append(content)
            p.references.append(references)
            p.hashes.append(hashed)
            self._told[name] = held, content
            if len(self._told) > TOLD_MAX:
                self._told.popitem(last=False)


def _whole(name: Name, held: Held) -> tuple[bytes, list[bytes], int]:
    """Return a document's content id, its packed references, and the hash of all but the first."""
    content, own = _packed(OWN, name)
    packed, others = [own], {(IDENTITY, content)}
    for role, other in held:
        named, tail = _packed(role, other) if role == IDENTITY else _shared(role, other)
        if (role, named) not in others:
            others.add((role, named))
            packed.append(tail)
    others.remove((IDENTITY, content))
    return content, packed, references_hash(others)


def _packed(role: int, name: Name) -> tuple[bytes, bytes]:
    content = content_id(name)
    return content, rows.reference_tail(role, name, content)


_shared = lru_cache(8_192)(
    _packed
)  # a cost centre is in every second record, a payment run in hundreds

_month_only = lru_cache(4_096)(lambda month: (month, month))


def _fold(members: list[tuple[int, Event]]) -> bytes:
    if len(members) == 1:
        occurred_us, event = members[0]
        return rows.step_tail(occurred_us, occurred_us, 1, event)
    last_us, last = max(members, key=_order)
    return rows.step_tail(min(us for us, _ in members), last_us, len(members), last)


def _order(member: tuple[int, Event]) -> tuple[int, int, bytes]:
    occurred_us, event = member
    sequence = event.sequence if event.sequence is not None else -(2**63)
    return occurred_us, sequence, event.event_id
