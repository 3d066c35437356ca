"""A batch's events, arranged by document and packed: all that can be done without the database."""

from collections.abc import Iterable
from datetime import date

import msgspec

from collector.model.event import Event
from collector.model.reference import IDENTITY, Name
from collector.store import rows

_HASH_MODULUS = 2**64


class Prepared(msgspec.Struct):
    """A batch without its duplicates. Documents are numbered within the batch.

    By that number: `names`, `spans` (first and last month), `references`, (role, name) pairs without
    the document's own, and their hash. By event: `revision_no`, `document_of` and `tails`, packed rows. `steps` holds,
    by (document, event type), the packed row of the step that these events make; those in `revised`
    hang on which revision of an event counts, which is decided over all of them, by the database.
    """

    events: list[Event]
    revision_no: list[int]
    names: list[Name]
    spans: list[tuple[date, date]]
    references: list[set[tuple[int, Name]]]
    hashes: list[int]
    document_of: list[int]
    tails: list[bytes]
    steps: dict[tuple[int, str], bytes]
    revised: set[tuple[int, str]]


def references_hash(references: Iterable[tuple[int, Name]]) -> int:
    """Hash a set of references to a signed 64-bit number, whatever their order."""
    total = sum(rows.numbers(name)[1] * (2 * role + 1) for role, name in references)
    return (total + _HASH_MODULUS // 2) % _HASH_MODULUS - _HASH_MODULUS // 2


def prepare(events: Iterable[Event], known: dict[bytes, list[bytes]] | None = None) -> Prepared:
    """Arrange and pack events; one met before (in the batch or in `known`) is left out.

    `known` holds the stored revisions by event id. The same event with other content is kept as a
    further revision.
    """
    seen: dict[bytes, list[bytes]] = known if known is not None else {}
    p = Prepared([], [], [], [], [], [], [], [], {}, set())
    number_of: dict[Name, int] = {}
    folds: dict[tuple[int, str], list[tuple[int, Event]]] = {}
    for event in sorted(
        events, key=_identity
    ):  # a COPY of the same keys in another order would deadlock
        revisions = seen.get(event.event_id)
        if revisions is None:
            seen[event.event_id] = [event.revision]
            revision_no = 0
        elif event.revision in revisions:
            continue
        else:
            revision_no = len(revisions)
            revisions.append(event.revision)
        number = number_of.get(event.document)
        if number is None:
            number = number_of[event.document] = len(p.names)
            p.names.append(event.document)
            p.spans.append((event.month, event.month))
            p.references.append(set(event.references))
        else:
            first, last = p.spans[number]
            if not first <= event.month <= last:
                p.spans[number] = min(first, event.month), max(last, event.month)
            p.references[number].update(event.references)
        occurred_us = rows.microseconds(event.occurred_at)
        p.events.append(event)
        p.revision_no.append(revision_no)
        p.document_of.append(number)
        p.tails.append(rows.event_tail(event, revision_no, occurred_us))
        folds.setdefault((number, event.type), []).append((occurred_us, event))
        if revision_no:
            p.revised.add((number, event.type))
    for number, name in enumerate(p.names):
        rows.numbers(name)  # computed here, in the reader's thread, and remembered
        p.references[number].discard((IDENTITY, name))
        p.hashes.append(references_hash(p.references[number]))
    p.steps = {key: _fold(members) for key, members in folds.items()}
    return p


def _identity(event: Event) -> bytes:
    return event.event_id


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
