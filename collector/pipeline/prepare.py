"""A batch's events, arranged by document and packed: all that can be done without the database."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache

import msgspec
from typing_extensions import override

from collector.model.event import Event
from collector.model.reference import IDENTITY, OWN, Name, content_id
from collector.pipeline.recent import Recent
from collector.store import rows

_HASH_MODULUS = 2**64
HASH_TOTAL_MODULUS = 2**128

Revisions = dict[bytes, list[tuple[bytes, date]]]
"""The revisions of events that are known, each with its month, by event id."""

Held = tuple[tuple[int, Name], ...]
"""The references of a document, as (role, name); some perhaps more than once."""

Step = tuple[int, str]
"""A document's number within the batch, and an event type."""


class Prepared(msgspec.Struct, array_like=True):
    """A batch without its duplicates, as packed rows.

    By event, in the order of their ids: `tails`, packed, and `document_of`, the document's number
    within the batch. By that number: `names`, the content id of its own name; `references`, packed,
    its own name first, or none where an earlier chunk of the pass has told them all; `hashes`, of the
    others; `spans`, its months. `steps` holds (number,
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


def references_hash(references: Iterable[tuple[int, bytes]]) -> int:
    """Hash a set of references, (role, content id), to a signed 64-bit number, whatever their order."""
    total = 0
    for role, name in references:
        total += int.from_bytes(name[8:], "big") * (2 * role + 1)
    return (total + _HASH_MODULUS // 2) % _HASH_MODULUS - _HASH_MODULUS // 2


Told = Recent[Name, tuple[Held, bytes]]
"""Documents that earlier chunks of a pass have told whole: their references, and the name's content id."""

TOLD = 25_000
"""Documents whose telling is remembered, and up to twice as many."""


def prepare(events: Iterable[Event], known: Revisions | None = None) -> Prepared:
    """Arrange and pack a batch's events at once; see Preparation."""
    preparation = Preparation(known)
    preparation.add(events)
    return preparation.done()


class Preparation:
    """Arranges and packs a batch's events; one met before (in the batch or in `known`) is left out.

    They are best added a few hundred at a time, and forgotten, while they are in the processor's cache.
    The same event with other content is kept as a further revision; they are numbered within a month,
    where the database tells by their numbers that the same is there already. A document in `told` is not told
    again; what is told is added.
    """

    def __init__(self, known: Revisions | None = None, told: Told | None = None) -> None:
        self._p = Prepared()
        self._documents = _Documents(self._p, Told(TOLD) if told is None else told)
        self._revisions = {event: tuple(met) for event, met in (known or {}).items()}
        self._ids: list[bytes] = []
        self._folds: dict[Step, _Fold] = {}
        self._amounts: defaultdict[str, int] = defaultdict(int)
        self._delivered: set[int] = set()
        self._accepted: set[int] = set()

    def add(self, events: Iterable[Event]) -> None:
        """Add events in the order in which they were read."""
        p, revisions, documents = self._p, self._revisions, self._documents
        for event in events:
            event_id = event.event_id
            self._delivered.add(event.position)
            met = revisions.get(event_id, ())
            revision_no = 0
            if met:
                if any(revision == event.revision for revision, _ in met):
                    continue
                revision_no = sum(month == event.month for _, month in met)
            revisions[event_id] = (*met, (event.revision, event.month))
            self._accepted.add(event.position)
            self._ids.append(event_id)
            p.months.add(event.month)
            number = documents.number(event)
            occurred_us = rows.microseconds(event.occurred_at)
            p.document_of.append(number)
            p.tails.append(rows.event_tail(event, revision_no, occurred_us))
            step = number, event.type
            self._folds[step] = _folded(self._folds.get(step), occurred_us, event)
            if met:
                p.revised.add(step)
                p.told_again.append((event_id, event.month))
            if event.amount_minor is not None and event.currency is not None:
                self._amounts[event.currency] += event.amount_minor
            if event.personal is not None:
                fields = msgspec.json.encode(event.personal).decode()
                p.personal.append((event_id, revision_no, event.month, fields))

    def done(self, raw: Mapping[int, rows.Raw] | None = None) -> Prepared:
        """Return what the events come to. `raw` holds bytes of records by position, to be kept."""
        p, ids = self._p, self._ids
        # in another order two COPY of the same keys deadlock
        order = sorted(range(len(ids)), key=ids.__getitem__)
        p.tails = [p.tails[i] for i in order]
        p.document_of = [p.document_of[i] for i in order]
        for (number, event_type), fold in self._folds.items():
            first_us, (last_us, *_), seen, n, amount_minor, currency = fold
            tail = rows.step_tail(first_us, last_us, seen, n, event_type, amount_minor, currency)
            p.steps.append((number, event_type, tail))
        p.delivered, p.accepted = len(self._delivered), len(self._accepted)
        p.amounts = dict(self._amounts)
        p.hash_total = sum(map(int.from_bytes, ids)) % HASH_TOTAL_MODULUS
        if raw:
            p.raw = [(position, raw[position]) for position in sorted(self._accepted & raw.keys())]
        return p


class _Documents:
    """Numbers a batch's documents and gathers what its events say of each."""

    def __init__(self, p: Prepared, told: Told) -> None:
        self._p = p
        self._told = told
        self._number_of: dict[Name, int] = {}
        self._held: list[Held] = []

    def number(self, event: Event) -> int:
        """Return the number of an event's document, and note its month and references."""
        spans, span, name = self._p.spans, rows.span(event.month), event.document
        number = self._number_of.setdefault(name, len(spans))
        if number == len(spans):
            spans.append(span)
            self._held.append(event.references)
            content, references, hashed = self._tell(name, event.references)
            self._p.names.append(content)
            self._p.references.append(references)
            self._p.hashes.append(hashed)
            return number
        if spans[number] != span:
            spans[number] = spans[number].joined(span)
        held = self._held[number]
        if event.references != held and not set(event.references) <= set(held):
            self._held[number] = held = held + event.references
            _, self._p.references[number], self._p.hashes[number] = self._tell(name, held)
        return number

    def _tell(self, name: Name, held: Held) -> tuple[bytes, list[bytes], int]:
        """Return a document's content id, its packed references, and the hash of all but the first."""
        told = self._told.get(name)
        if told is not None and told[0] == held:
            return told[1], [], 0
        whole = _whole(name, held)
        self._told.put(name, (held, whole[0]))
        return whole


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

_Fold = tuple[int, tuple[int, int, bytes], int, int, int | None, str | None]
"""A step so far: its first instant, which event was the last, the bits of all, how many, the last one's amount."""


def _folded(fold: _Fold | None, occurred_us: int, event: Event) -> _Fold:
    """Add an event to a step."""
    event_id = event.event_id
    order = occurred_us, event.sequence if event.sequence is not None else -(2**63), event_id
    bit = rows.EVENT_BITS[event_id[-1]]
    if fold is None:
        return occurred_us, order, bit, 1, event.amount_minor, event.currency
    first_us, last, seen, n, amount_minor, currency = fold
    if order > last:
        last, amount_minor, currency = order, event.amount_minor, event.currency
    return min(first_us, occurred_us), last, seen | bit, n + 1, amount_minor, currency


def without(p: Prepared, known: Revisions) -> Prepared:
    """Prepare a batch's events again, out of their rows, without those that are known by now."""
    personal = {(event_id, n, month): fields for event_id, n, month, fields in p.personal}
    preparation = Preparation(known)
    for event, revision_no in map(rows.event_of, p.tails):
        fields = personal.get((event.event_id, revision_no, event.month))
        if fields is not None:
            event = msgspec.structs.replace(event, personal=msgspec.json.decode(fields))  # noqa: PLW2901
        preparation.add([event])
    return preparation.done(dict(p.raw))
