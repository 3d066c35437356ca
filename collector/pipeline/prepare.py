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
_UNNUMBERED = -(2**63)
"""The sequence of an event that has none: before any other of the same instant."""

HASH_TOTAL_MODULUS = 2**128

Revisions = dict[bytes, list[tuple[bytes, date]]]
"""The revisions of events that are known, each with its month, by event id."""

Held = tuple[tuple[int, Name], ...]
"""The references of a document, as (role, name); some perhaps more than once."""

Step = tuple[int, str]
"""A document's number within the batch, and an event type."""


_Fold = tuple[int, tuple[int, int, bytes], int, int, int | None, str | None]
"""A step so far: its first instant, which event was the last, the bits of all, how many, the last one's amount."""


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
        p = self._p
        new, revision_nos, told_again = self._new(events)
        ids = [event.event_id for event in new]
        numbers = self._documents.numbers(new)
        instants = [rows.microseconds(event.occurred_at) for event in new]
        self._ids += ids
        self._accepted.update([event.position for event in new])
        p.months.update([event.month for event in new])
        p.document_of += numbers
        p.tails += map(rows.event_tail, new, revision_nos, instants)
        self._fold(new, numbers, instants)
        for i in told_again:
            p.revised.add((numbers[i], new[i].type))
            p.told_again.append((ids[i], new[i].month))
        for event, revision_no in zip(new, revision_nos, strict=True):
            if event.amount_minor is not None and event.currency is not None:
                self._amounts[event.currency] += event.amount_minor
            if event.personal is not None:
                fields = msgspec.json.encode(event.personal).decode()
                p.personal.append((event.event_id, revision_no, event.month, fields))

    def _new(self, events: Iterable[Event]) -> tuple[list[Event], list[int], list[int]]:
        """Leave out what was met before: the others, their revision numbers, and which are further revisions."""
        revisions, delivered = self._revisions, self._delivered
        new: list[Event] = []
        revision_nos: list[int] = []
        told_again: list[int] = []
        for event in events:
            delivered.add(event.position)
            met = revisions.get(event.event_id, ())
            revision_no = 0
            if met:
                if any(revision == event.revision for revision, _ in met):
                    continue
                revision_no = sum(month == event.month for _, month in met)
                told_again.append(len(new))
            revisions[event.event_id] = (*met, (event.revision, event.month))
            new.append(event)
            revision_nos.append(revision_no)
        return new, revision_nos, told_again

    def _fold(self, events: list[Event], numbers: list[int], instants: list[int]) -> None:
        """Add events to the steps of their documents, whose numbers are given."""
        folds = self._folds
        for event, number, at_us in zip(events, numbers, instants, strict=True):
            step = number, event.type
            event_id, sequence = event.event_id, event.sequence
            order = at_us, _UNNUMBERED if sequence is None else sequence, event_id
            bit = rows.EVENT_BITS[event_id[-1]]
            fold = folds.get(step)
            if fold is None:
                folds[step] = at_us, order, bit, 1, event.amount_minor, event.currency
                continue
            first_us, last, seen, n, amount_minor, currency = fold
            if order > last:
                last, amount_minor, currency = order, event.amount_minor, event.currency
            folds[step] = min(first_us, at_us), last, seen | bit, n + 1, amount_minor, currency

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

    def numbers(self, events: Iterable[Event]) -> list[int]:
        """Return the number of each event's document, and note its month and references."""
        number_of, held, spans = self._number_of, self._held, self._p.spans
        numbers: list[int] = []
        gained: dict[int, Name] = {}
        for event in events:
            name, references, span = event.document, event.references, rows.span(event.month)
            number = number_of.get(name)
            if number is None:
                number_of[name] = number = len(held)
                held.append(references)
                spans.append(span)
                gained[number] = name
            else:
                if spans[number] != span:
                    spans[number] = spans[number].joined(span)
                if references != held[number] and not set(references) <= set(held[number]):
                    held[number] += references
                    gained[number] = name
            numbers.append(number)
        for number, name in gained.items():
            self._note(number, name, held[number])
        return numbers

    def _note(self, number: int, name: Name, held: Held) -> None:
        """Note a document's content id, its packed references, and the hash of all but the first."""
        p, told = self._p, self._told.get(name)
        if told is not None and told[0] == held:
            content, references, hashed = told[1], list[bytes](), 0
        else:
            content, references, hashed = _whole(name, held)
            self._told.put(name, (held, content))
        if number == len(p.names):
            p.names.append(content)
            p.references.append(references)
            p.hashes.append(hashed)
        else:
            p.references[number], p.hashes[number] = references, hashed


def _whole(name: Name, held: Held) -> tuple[bytes, list[bytes], int]:
    """Return a document's content id, its packed references, and the hash of all but the first."""
    content, own = _packed(OWN, name)
    others: dict[tuple[int, bytes], bytes] = {}
    for role, other in held:
        named, tail = _packed(role, other) if role == IDENTITY else _shared(role, other)
        others[role, named] = tail
    others.pop((IDENTITY, content), None)  # its own name, which joins anyway
    return content, [own, *others.values()], references_hash(others)


def _packed(role: int, name: Name) -> tuple[bytes, bytes]:
    content = content_id(name)
    return content, rows.reference_tail(role, name, content)


_shared = lru_cache(8_192)(
    _packed
)  # a cost centre is in every second record, a payment run in hundreds


def without(p: Prepared, known: Revisions) -> Prepared:
    """Prepare a batch's events again, out of their rows, without those that are known by now."""
    personal = {(event_id, n, month): fields for event_id, n, month, fields in p.personal}
    events = []
    for event, revision_no in map(rows.event_of, p.tails):
        fields = personal.get((event.event_id, revision_no, event.month))
        if fields is not None:
            event = msgspec.structs.replace(event, personal=msgspec.json.decode(fields))  # noqa: PLW2901
        events.append(event)
    preparation = Preparation(known)
    preparation.add(events)
    return preparation.done(dict(p.raw))
