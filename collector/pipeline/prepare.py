"""A batch's events, arranged by document and packed: all that can be done without the database."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from operator import attrgetter

import msgspec

from collector.model.event import Event
from collector.model.reference import IDENTITY, OWN, Name, content_id
from collector.store import rows

_HASH_MODULUS = 2**64
_HASH_TOTAL_MODULUS = 2**128
_identity = attrgetter("event_id")

Revisions = dict[bytes, list[bytes]]
"""The revisions of events that are known, by event id, in the order of their number."""

Reference = tuple[int, bytes, str, bytes]
"""A name that a document has: role, the name's content id, its kind, and its packed row's tail."""

Held = tuple[tuple[int, Name], ...]
"""The references of a document, as (role, name); some perhaps more than once."""

Step = tuple[int, str]
"""A document's number within the batch, and an event type."""


class Prepared(msgspec.Struct):
    """A batch without its duplicates, packed; it crosses to another process, so it is plain data.

    By event, in the order of their ids: `event_ids`, `months`, `document_of`, the document's number
    within the batch, and `tails`, packed rows. By that number: `spans`, first and last month;
    `references`, its own name first; and the hash of the others. `steps` holds the packed row of the
    step that these events make; those in `revised` hang on which revision of an event counts, which
    is decided over all of them, by the database. `delivered` and `accepted` count records; `raw`
    holds (position, bytes), `personal` (event id, revision number, month, JSON).
    """

    delivered: int = 0
    accepted: int = 0
    amounts: dict[str, int] = {}
    hash_total: int = 0
    event_ids: list[bytes] = []
    months: list[date] = []
    document_of: list[int] = []
    tails: list[bytes] = []
    spans: list[tuple[date, date]] = []
    references: list[list[Reference]] = []
    hashes: list[int] = []
    steps: dict[Step, bytes] = {}
    revised: set[Step] = set()
    personal: list[tuple[bytes, int, date, str]] = []
    raw: list[tuple[int, bytes]] = []


def references_hash(references: Iterable[tuple[int, bytes]]) -> int:
    """Hash a set of references, (role, content id), to a signed 64-bit number, whatever their order."""
    total = 0
    for role, name in references:
        total += int.from_bytes(name[8:], "big") * (2 * role + 1)
    return (total + _HASH_MODULUS // 2) % _HASH_MODULUS - _HASH_MODULUS // 2


def prepare(
    events: Iterable[Event], known: Revisions | None = None, raw: Mapping[int, bytes] | None = None
) -> Prepared:
    """Arrange and pack events; one met before (in the batch or in `known`) is left out.

    The same event with other content is kept as a further revision. `raw` holds the bytes of records
    by position, where they are kept.
    """
    p = Prepared()
    documents = _Documents(p)
    seen = {event_id: list(revisions) for event_id, revisions in (known or {}).items()}
    folds: dict[Step, list[tuple[int, Event]]] = {}
    amounts: defaultdict[str, int] = defaultdict(int)
    delivered, accepted = set(), set()
    for event in sorted(
        events, key=_identity
    ):  # in another order two COPY of the same keys deadlock
        delivered.add(event.position)
        revisions = seen.setdefault(event.event_id, [])
        if event.revision in revisions:
            continue
        revision_no = len(revisions)
        revisions.append(event.revision)
        accepted.add(event.position)
        number = documents.number(event)
        occurred_us = rows.microseconds(event.occurred_at)
        p.event_ids.append(event.event_id)
        p.months.append(event.month)
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
    documents.pack()
    p.steps = {key: _fold(members) for key, members in folds.items()}
    p.delivered, p.accepted, p.amounts = len(delivered), len(accepted), dict(amounts)
    p.hash_total = sum(int.from_bytes(i, "big") for i in p.event_ids) % _HASH_TOTAL_MODULUS
    if raw:
        p.raw = [(position, raw[position]) for position in sorted(accepted & raw.keys())]
    return p


class _Documents:
    """Numbers a batch's documents and gathers what its events say of each."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._number_of: dict[Name, int] = {}
        self._held: list[Held] = []

    def number(self, event: Event) -> int:
        """Return the number of an event's document, and note its month and references."""
        spans, month = self._prepared.spans, event.month
        number = self._number_of.setdefault(event.document, len(spans))
        if number == len(spans):
            spans.append((month, month))
            self._held.append(event.references)
            return number
        first, last = spans[number]
        if not first <= month <= last:
            spans[number] = min(first, month), max(last, month)
        if event.references != self._held[number]:
            self._held[number] += event.references
        return number

    def pack(self) -> None:
        """Pack the references of all documents."""
        for name, held in zip(self._number_of, self._held, strict=True):
            references, hashed = _references(name, held)
            self._prepared.references.append(references)
            self._prepared.hashes.append(hashed)


@lru_cache(32_768)  # a document's events follow each other closely
def _references(name: Name, held: Held) -> tuple[list[Reference], int]:
    own = _packed(OWN, name)
    others = {}
    for role, other in held:
        reference = _reference(role, other)
        others[role, reference[1]] = reference
    others.pop((IDENTITY, own[1]), None)
    return [own, *others.values()], references_hash(others)


def _packed(role: int, name: Name) -> Reference:
    content = content_id(name)
    return role, content, name.kind, rows.reference_tail(role, name, content)


_reference = lru_cache(8_192)(_packed)  # some are in every second record, such as cost centres


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
