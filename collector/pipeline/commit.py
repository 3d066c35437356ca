"""One batch, one database transaction: dedupe, correlate, fold steps, commit.

The first attempt is optimistic: facts are copied without a lock, and only then the one lock is taken
to decide what joins. It gives way to the careful road (lock first, look for known events) when the
database refuses a duplicate, or when somebody else entered one of the batch's documents meanwhile.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from functools import partial

import msgspec

from collector.clock import Clock
from collector.model.event import Event
from collector.model.reference import IDENTITY, OWN, Name, content_id
from collector.pipeline import correlate
from collector.store import ingest, quarantine, rows

Limit = Callable[[str], int]


class Fold(msgspec.Struct, gc=False):
    """A step in the making: of one document and event type, over the events of a batch."""

    first: datetime
    last: datetime
    last_key: tuple[datetime, int, bytes]
    n: int
    amount_minor: int | None
    currency: str | None

    def add(self, event: Event) -> None:
        """Fold in one more event, in any order."""
        self.n += 1
        self.first = min(self.first, event.occurred_at)
        self.last = max(self.last, event.occurred_at)
        if (key := _order(event)) > self.last_key:
            self.last_key, self.amount_minor, self.currency = (
                key,
                event.amount_minor,
                event.currency,
            )


def _order(event: Event) -> tuple[datetime, int, bytes]:
    sequence = event.sequence if event.sequence is not None else -(2**63)
    return event.occurred_at, sequence, event.event_id


def _identity(event: Event) -> bytes:
    return event.event_id


class Prepared(msgspec.Struct):
    """A batch's events, arranged by document and packed: all that can be done without the database.

    Documents are numbered within the batch; `names`, `spans`, `references` go by that number.
    """

    events: list[Event]
    revision_no: list[int]
    duplicates: int
    names: list[Name]
    document_of: list[int]
    tails: list[bytes]
    spans: list[tuple[date, date]]
    references: list[set[tuple[int, Name]]]
    folds: dict[tuple[int, str], Fold]
    revised: set[tuple[int, str]]


def prepare(events: Iterable[Event], known: dict[bytes, list[bytes]] | None = None) -> Prepared:
    """Arrange and pack events; an event met before (in the batch or in `known`) is left out.

    `known` holds the stored revisions by event id. The same event with other content is kept as a
    further revision.
    """
    seen = known if known is not None else {}
    p = Prepared([], [], 0, [], [], [], [], [], {}, set())
    number_of: dict[Name, int] = {}
    for event in sorted(events, key=_identity):  # unsorted COPYs of the same keys deadlock
        revisions = seen.setdefault(event.event_id, [])
        if event.revision in revisions:
            p.duplicates += 1
            continue
        revisions.append(event.revision)
        number = number_of.get(event.document)
        if number is None:
            number = number_of[event.document] = len(p.names)
            p.names.append(event.document)
            p.spans.append((event.month, event.month))
            p.references.append(set())
        else:
            first, last = p.spans[number]
            if not first <= event.month <= last:
                p.spans[number] = min(first, event.month), max(last, event.month)
        p.events.append(event)
        p.revision_no.append(len(revisions) - 1)
        p.document_of.append(number)
        p.tails.append(rows.event_tail(event, len(revisions) - 1))
        p.references[number].update(event.references)
        _fold(p, number, event, again=len(revisions) > 1)
    for number, name in enumerate(p.names):
        p.references[number].discard((IDENTITY, name))
    return p


def _fold(p: Prepared, number: int, event: Event, *, again: bool) -> None:
    key = (number, event.type)
    if again:  # which revision counts is decided over all of them, by the database
        p.revised.add(key)
    fold = p.folds.get(key)
    if fold is None:
        p.folds[key] = Fold(
            event.occurred_at,
            event.occurred_at,
            _order(event),
            1,
            event.amount_minor,
            event.currency,
        )
    else:
        fold.add(event)


class Contended(Exception):
    """Another collector entered one of our documents since we looked."""


class Batch(msgspec.Struct):
    """All that one transaction is to commit."""

    row: ingest.BatchRow
    events: list[Event]
    prepared: Prepared
    quarantined: Sequence[quarantine.Quarantined] = ()
    raw: Sequence[tuple[int, bytes]] = ()
    resolutions: Sequence[quarantine.Resolution] = ()


async def commit(
    conn: ingest.Connection, batch: Batch, limit: Limit, clock: Clock, *, careful: bool = False
) -> ingest.BatchRow:
    """Commit a batch in one transaction; return its row with what became of its records."""
    await ingest.ensure_partitions(conn, {e.month for e in batch.events})
    attempt = partial(_attempt, conn, batch, limit, clock)
    if not careful:
        try:
            return await attempt(careful=False)
        except (*ingest.COLLISIONS, Contended):
            pass
    return await attempt(careful=True)


async def _attempt(
    conn: ingest.Connection, batch: Batch, limit: Limit, clock: Clock, *, careful: bool
) -> ingest.BatchRow:
    async with conn.transaction():
        p = batch.prepared
        if careful:
            before = await ingest.lock(conn)
            if batch.events:
                known = await ingest.known_events(
                    conn, [(e.event_id, e.month) for e in batch.events]
                )
                p = prepare(batch.events, known)
        else:
            before = await ingest.last_seq(conn)
        row = msgspec.structs.replace(batch.row, id=await ingest.next_batch(conn))
        work = _Correlation(conn, p, limit)
        await work.look_up()
        await _copy_facts(conn, batch, p, row, work.ids)
        last = before if careful else await ingest.lock(conn)
        if last != before and await work.look_up_again():
            raise Contended
        seq = last + 1
        await ingest.append_commit(conn, seq, "batch", clock())
        await work.write(row.id, seq)
        await _count(conn, batch, p, row)
        await ingest.insert_batch(conn, seq, row)
        await quarantine.resolve(conn, seq, batch.resolutions)
    return row


async def _copy_facts(
    conn: ingest.Connection, batch: Batch, p: Prepared, row: ingest.BatchRow, ids: list[int]
) -> None:
    heads = [rows.event_head(row.id, document) for document in ids]
    await ingest.copy(
        conn,
        "event",
        (
            part
            for number, tail in zip(p.document_of, p.tails, strict=True)
            for part in (heads[number], tail)
        ),
    )
    personal = [
        (e.event_id, no, e.month, msgspec.json.encode(e.personal).decode())
        for e, no in zip(p.events, p.revision_no, strict=True)
        if e.personal is not None
    ]
    if personal:
        await ingest.copy_personal(conn, personal)
    if batch.raw:
        kept = {e.position for e in p.events}
        await ingest.copy_raw(conn, row.id, [(n, raw) for n, raw in batch.raw if n in kept])


async def _count(conn: ingest.Connection, batch: Batch, p: Prepared, row: ingest.BatchRow) -> None:
    new = await quarantine.insert(conn, row.id, row.stream, row.part_name, batch.quarantined)
    row.accepted = len({e.position for e in p.events})
    row.duplicate = (
        len({e.position for e in batch.events}) - row.accepted + len(batch.quarantined) - new
    )
    row.quarantined = new
    row.events = len(p.events)
    amounts: defaultdict[str, int] = defaultdict(int)
    for e in p.events:
        if e.currency is not None and e.amount_minor is not None:
            amounts[e.currency] += e.amount_minor
    row.amounts = dict(amounts)
    row.hash_total = sum(int.from_bytes(e.event_id, "big") for e in p.events) % 2**128


class _Correlation:
    """From a batch's documents to their numbers, components, references and steps."""

    def __init__(self, conn: ingest.Connection, p: Prepared, limit: Limit) -> None:
        self.conn = conn
        self.p = p
        self.limit = limit
        self.held: dict[Name, set[int]] = {}
        for number, name in enumerate(p.names):
            self.held.setdefault(name, set()).add(number)
            for role, reference in p.references[number]:
                if role == IDENTITY:
                    self.held.setdefault(reference, set()).add(number)
        self.ids: list[int] = []
        self.component_of: dict[int, int] = {}
        self.stored: dict[Name, list[ingest.Held]] = {}
        self.grown: set[int] = set()

    async def _stored(self) -> dict[Name, list[ingest.Held]]:
        return await ingest.look_up(self.conn, [(n, self.limit(n.kind)) for n in self.held])

    def _own(self, name: Name) -> ingest.Held | None:
        return next((h for h in self.stored.get(name, ()) if h.own), None)

    async def look_up(self) -> None:
        """Find which documents are known, and number the new ones."""
        self.stored = await self._stored()
        found = [self._own(name) for name in self.p.names]
        fresh = iter(await ingest.next_documents(self.conn, found.count(None)))
        self.ids = [next(fresh) if held is None else held.document for held in found]
        self.component_of = {h.document: h.component for h in found if h is not None}

    async def look_up_again(self) -> bool:
        """Look once more, under the lock; True if a document that we took for new is there by now."""
        self.stored = await self._stored()
        found = [self._own(name) for name in self.p.names]
        if sum(h is not None for h in found) != len(self.component_of):
            return True
        self.component_of = {h.document: h.component for h in found if h is not None}
        return False

    async def write(self, batch: int, seq: int) -> None:
        """Place documents in components; write documents, references and steps."""
        label_of = await self._place(seq)
        p, ids, old = self.p, self.ids, self.component_of
        await ingest.copy(
            self.conn,
            "document",
            [
                rows.document_row(d, label_of[d], seq, content_id(name), *span, name.kind)
                for d, name, span in zip(ids, p.names, p.spans, strict=True)
                if d not in old
            ],
        )
        await ingest.widen_months(
            self.conn, [(d, *span) for d, span in zip(ids, p.spans, strict=True) if d in old]
        )
        known = await ingest.known_references(self.conn, list(old)) if old else set()
        await ingest.copy(
            self.conn,
            "reference",
            [
                rows.reference_row(d, batch, role, name)
                for d, own, references in zip(ids, p.names, p.references, strict=True)
                for role, name in (references if d in old else ((OWN, own), *references))
                if (d, role, name) not in known
            ],
        )
        await self._steps()
        await ingest.note_suspended(
            self.conn, self.grown, correlate.COMPONENT_DOCUMENTS_MAX
        )

    async def _steps(self) -> None:
        old = self.component_of
        known = await ingest.known_steps(self.conn, list(old)) if old else set()
        fresh, touched = [], []
        for (number, event_type), fold in self.p.folds.items():
            document = self.ids[number]
            if (document, event_type) in known or (number, event_type) in self.p.revised:
                touched.append((document, event_type))
                continue
            first, last = rows.microseconds(fold.first), rows.microseconds(fold.last)
            fresh.append(
                rows.step_row(
                    document, first, last, fold.amount_minor, fold.n, event_type, fold.currency
                )
            )
        await ingest.copy(self.conn, "step", fresh)
        await ingest.recompute_steps(self.conn, touched)

    async def _place(self, seq: int) -> dict[int, int]:
        """Decide and write components; return the component of every document of the batch."""
        new = {d for d in self.ids if d not in self.component_of}
        held = {name: {self.ids[n] for n in numbers} for name, numbers in self.held.items()}
        stored = {
            name: [correlate.Known(h.document, h.component) for h in holders]
            for name, holders in self.stored.items()
        }
        plan = correlate.plan(held, stored, new, self.component_of, self.limit)
        label_of = dict(self.component_of)
        moves: dict[int, int] = {}
        size = await ingest.sizes(
            self.conn, {c for stored_, _ in plan.joined if len(stored_) > 1 for c in stored_}
        )
        for stored_components, documents in plan.joined:
            if plan.rebuild & stored_components:
                label_of |= await self._rebuild(stored_components, documents, seq)
                continue
            label = (
                max(stored_components, key=lambda c: (size.get(c, 0), -c))
                if stored_components
                else min(documents)
            )
            moves |= {c: label for c in stored_components if c != label}
            label_of |= dict.fromkeys(documents, label)
            if len(documents) + len(stored_components) > 1:
                self.grown.add(label)
        await ingest.relabel(self.conn, moves, seq)
        return {d: moves.get(label, label) for d, label in label_of.items()}

    async def _rebuild(self, components: set[int], documents: set[int], seq: int) -> dict[int, int]:
        """Recompute components from their edges, because a value among them joins nothing any more."""
        before = await ingest.documents_of(self.conn, components)
        holders: dict[Name, set[int]] = defaultdict(set)
        for document, name in await ingest.identities(self.conn, before):
            holders[name].add(document)
        for name, numbers in self.held.items():
            members = {self.ids[n] for n in numbers} & (documents | before.keys())
            if members:
                holders[name] |= members
        stored = await ingest.look_up(self.conn, [(n, self.limit(n.kind)) for n in holders])
        blocked = {
            name
            for name, members in holders.items()
            if len({h.document for h in stored.get(name, ())} | self._batch_holders(name) | members)
            > self.limit(name.kind)
        }
        pieces = correlate.components(
            [*before, *documents], {n: list(m) for n, m in holders.items()}, blocked.__contains__
        )
        labels = await ingest.next_documents(self.conn, len(pieces))
        label_of = {d: label for piece, label in zip(pieces, labels, strict=True) for d in piece}
        await ingest.place(self.conn, {d: label_of[d] for d in before}, seq)
        self.grown |= components | set(labels)
        return label_of

    def _batch_holders(self, name: Name) -> set[int]:
        return {self.ids[n] for n in self.held.get(name, ())}
