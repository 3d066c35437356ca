"""A batch's events, arranged by document and packed: all that can be done without the database."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import NamedTuple

import msgspec

from collector.model.event import Event
from collector.model.reference import IDENTITY, OWN, Name, content_id
from collector.pipeline.prepared import Prepared, Step
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

_Fold = tuple[int, tuple[int, int, bytes], int, int, int | None, str | None]
"""A step so far: its first instant, which event was the last, the bits of all, how many, the last one's amount."""


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
        """Note what is told of a document; of one that is told already, its content id alone."""
        p, told = self._p, self._told.get(name)
        if told is not None and told[0] == held:
            whole = _Whole(told[1], [], [], 0)
        else:
            whole = _whole(name, held)
            self._told.put(name, (held, whole.content))
        if number == len(p.names):
            p.names.append(whole.content)
            p.references.append(whole.references)
            p.joins.append(whole.joins)
            p.hashes.append(whole.hashed)
        else:
            p.references[number], p.joins[number] = whole.references, whole.joins
            p.hashes[number] = whole.hashed


class _Whole(NamedTuple):
    """A document's content id, its packed references, names that join, and the hash of all references but the first."""

    content: bytes
    references: list[bytes]
    joins: list[tuple[bytes, str]]
    hashed: int


def _whole(name: Name, held: Held) -> _Whole:
    content, own = _packed(OWN, name)
    others: dict[tuple[int, bytes], bytes] = {}
    joins = {content: name.kind}
    for role, other in held:
        if role == IDENTITY:
            named, tail = _packed(role, other)
            joins[named] = other.kind
        else:
            named, tail = _shared(role, other)
        others[role, named] = tail
    others.pop((IDENTITY, content), None)  # its own name, which joins anyway
    return _Whole(content, [own, *others.values()], list(joins.items()), references_hash(others))


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
