"""What a batch comes to before the database is asked: against a plain account of its events."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from collector.model.event import Event
from collector.model.reference import CONTEXT, IDENTITY, Name, digest
from collector.pipeline.prepare import Revisions, prepare, without
from collector.pipeline.prepared import Prepared
from collector.store import rows

NAMES = [Name("claim", "", value) for value in "AB"]
OTHERS = [(IDENTITY, Name("order", "", "O-1")), (CONTEXT, Name("centre", "", "C-1"))]


@st.composite
def made(draw: st.DrawFn) -> Event:
    at = datetime(2026, draw(st.integers(1, 4)), draw(st.integers(1, 3)), tzinfo=UTC)
    document = draw(st.sampled_from(NAMES))
    references = tuple(draw(st.lists(st.sampled_from(OTHERS), max_size=2, unique=True)))
    key = draw(st.integers(0, 5))
    content = draw(st.integers(0, 2))
    return Event(
        event_id=digest("event", str(key)),
        revision=digest("revision", str(content)),
        month=at.date().replace(day=1),
        position=draw(st.integers(1, 20)),
        occurred_at=at,
        type=draw(st.sampled_from(["claim.posted", "claim.paid"])),
        document=document,
        references=references,
        sequence=draw(st.none() | st.integers(-2, 2)),
        amount_minor=draw(st.none() | st.integers(-5, 5)),
        currency="EUR",
        entity=draw(st.none() | st.just("DE10")),
        body=msgspec.json.encode({"document": document, "references": references}),
        personal=draw(st.none() | st.just({"name": "Ann"})),
    )


def distinct(events: list[Event], known: Revisions) -> list[tuple[int, Event]]:
    """Say which events remain, and which revision each is: by comparing each with all before it."""
    met = [(event, *revision) for event, revisions in known.items() for revision in revisions]
    remaining = []
    for event in events:
        if (event.event_id, event.revision) not in [(e, revision) for e, revision, _ in met]:
            number = sum((e, month) == (event.event_id, event.month) for e, _, month in met)
            met.append((event.event_id, event.revision, event.month))
            remaining.append((number, event))
    return remaining


def revisions(events: list[Event]) -> Revisions:
    """Say what the database would say of events that it holds."""
    known: Revisions = {}
    for event in events:
        if event.revision not in [revision for revision, _ in known.get(event.event_id, [])]:
            known.setdefault(event.event_id, []).append((event.revision, event.month))
    return known


def content(p: Prepared) -> tuple[object, ...]:
    """Say what a batch comes to, whatever the numbers of its documents."""
    name = p.names.__getitem__
    events = [(tail, name(number)) for tail, number in zip(p.tails, p.document_of, strict=True)]
    documents = sorted(zip(p.names, map(sorted, p.references), p.hashes, p.spans, strict=True))
    steps = sorted((name(n), event_type, packed) for n, event_type, packed in p.steps)
    revised = {(name(n), event_type) for n, event_type in p.revised}
    totals = p.accepted, p.amounts, p.hash_total, p.months, sorted(p.personal), p.raw
    return events, documents, steps, revised, totals


@given(st.lists(made(), max_size=12), st.integers(0, 3))
def test_events_are_kept_once_in_the_order_of_their_ids(events: list[Event], n: int) -> None:
    known = revisions(events[:n])
    remaining = distinct(events, known)

    p = prepare(events, known)

    unpacked = [rows.event_of(tail) for tail in p.tails]
    wanted = sorted(remaining, key=lambda pair: pair[1].event_id)
    assert unpacked == [(msgspec.structs.replace(e, personal=None), number) for number, e in wanted]
    assert p.months == {event.month for _, event in remaining}
    assert p.delivered == len({event.position for event in events})
    assert p.accepted == len({event.position for _, event in remaining})
    amounts: Counter[str] = Counter()
    for _, event in remaining:
        amounts["EUR"] += event.amount_minor or 0
    assert amounts.get("EUR", 0) == p.amounts.get("EUR", 0)
    for number, span in enumerate(p.spans):
        months = [e.month for (_, e), d in zip(wanted, p.document_of, strict=True) if d == number]
        begin, end = ((month - date(2000, 1, 1)).days for month in (min(months), max(months)))
        bits = {(month.year - 2000) % 5 * 12 + month.month - 1 for month in months}
        assert span == (begin, end, sum(2**bit for bit in bits))
    for number, event_type, packed in p.steps:
        of_step = [
            e
            for (_, e), d in zip(wanted, p.document_of, strict=True)
            if (d, e.type) == (number, event_type)
        ]
        last = max(of_step, key=_order)
        first_us, last_us = (
            (at - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
            for at in (min(e.occurred_at for e in of_step), last.occurred_at)
        )
        seen = sum(2**bit for bit in {e.event_id[15] % 63 for e in of_step})
        folded = rows.Fold(first_us, last_us, last.amount_minor, seen, len(of_step), "EUR")
        assert rows.fold_of(packed) == folded


def _order(event: Event) -> tuple[datetime, int, bytes]:
    return event.occurred_at, event.sequence if event.sequence is not None else -9, event.event_id


@given(st.lists(made(), max_size=12), st.data())
def test_a_batch_without_what_is_known_is_as_if_prepared_so(
    events: list[Event], data: st.DataObject
) -> None:
    some = data.draw(st.lists(st.sampled_from(events), max_size=5)) if events else []
    known = revisions(some)
    whole = prepare(events)
    whole.raw = [(position, (b"raw", None)) for position in sorted({e.position for e in events})]

    p = without(whole, known)

    wanted = prepare(events, known)
    wanted.raw = [(position, (b"raw", None)) for position in sorted({e.position for _, e in distinct(events, known)})]  # fmt: skip
    assert content(p) == content(wanted)


def test_a_document_of_several_months_has_a_partition_for_each() -> None:
    months = [date(2026, month, 1) for month in (1, 2, 3)]
    assert prepare([_in(month) for month in months]).months == set(months)


def _in(month: date) -> Event:
    return Event(
        digest("event", str(month)), b"r" * 16, month, 1, datetime(2026, 1, 1, tzinfo=UTC), "claim.posted",
        NAMES[0], (), None, None, None, None, b"{}", None,
    )  # fmt: skip
