"""One batch, one database transaction: dedupe, correlate, fold steps, commit.

The first attempt is optimistic: facts are copied without a lock, and only then the one lock is taken
to decide what joins. It gives way to the careful road (lock first, look for known events) when the
database refuses a duplicate, or when somebody else entered one of the batch's documents meanwhile.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from collector.clock import Clock
from collector.model.event import Event
from collector.model.reference import IDENTITY, OWN, Name
from collector.pipeline import correlate
from collector.pipeline.prepare import Prepared, prepare, references_hash
from collector.store import ingest, quarantine, rows

Limit = Callable[[str], int]

REMEMBERED_MAX = 200_000
"""Documents that a collector remembers, so as not to look them up for each of their events."""


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


class Memory:
    """What a collector remembers of documents: their numbers, references and months.

    It is never wrong, for a document keeps its number and only gains references and months; at worst
    it knows too little, and then the database is asked.
    """

    def __init__(self) -> None:
        self._known: dict[Name, ingest.Known] = {}

    def get(self, name: Name) -> ingest.Known | None:
        """Return what is remembered of a document."""
        return self._known.get(name)

    def keep(self, documents: Iterable[tuple[Name, ingest.Known]]) -> None:
        """Remember documents of a committed batch; the longest-known are forgotten first."""
        for name, known in documents:
            self._known.pop(name, None)
            self._known[name] = known
        while len(self._known) > REMEMBERED_MAX:
            del self._known[next(iter(self._known))]


async def commit(
    conn: ingest.Connection,
    batch: Batch,
    limit: Limit,
    clock: Clock,
    *,
    careful: bool = False,
    memory: Memory | None = None,
) -> ingest.BatchRow:
    """Commit a batch in one transaction; return its row with what became of its records."""
    await ingest.ensure_partitions(conn, {e.month for e in batch.events})
    writer = _Writer(conn, batch, limit, clock, memory or Memory())
    if not careful:
        try:
            return await writer.attempt(careful=False)
        except (*ingest.COLLISIONS, Contended):
            pass
    return await writer.attempt(careful=True)


class _Writer:
    """Writes one batch."""

    def __init__(
        self,
        conn: ingest.Connection,
        batch: Batch,
        limit: Limit,
        clock: Clock,
        memory: Memory,
    ) -> None:
        self.conn = conn
        self.batch = batch
        self.limit = limit
        self.clock = clock
        self.memory = memory

    async def attempt(self, *, careful: bool) -> ingest.BatchRow:
        conn, batch = self.conn, self.batch
        async with conn.transaction():
            p = batch.prepared
            if careful:
                before = await ingest.lock(conn)
                if batch.events:
                    keys = [(e.event_id, e.month) for e in batch.events]
                    p = prepare(batch.events, await ingest.known_events(conn, keys))
            else:
                before = await ingest.last_seq(conn)
            row = msgspec.structs.replace(batch.row, id=await ingest.next_batch(conn))
            work = Correlation(conn, p, self.limit, self.memory)
            await work.look_up()
            await self._copy_facts(p, row, work.ids)
            last = before if careful else await ingest.lock(conn)
            if last != before:
                await work.look_up_again()
            seq = last + 1
            await ingest.append_commit(conn, seq, "batch", self.clock())
            await work.write(row.id, seq)
            await self._count(p, row)
            await ingest.insert_batch(conn, seq, row)
            await quarantine.resolve(conn, seq, batch.resolutions)
        self.memory.keep(work.learnt())
        return row

    async def _copy_facts(self, p: Prepared, row: ingest.BatchRow, ids: list[int]) -> None:
        heads = [rows.event_head(row.id, document) for document in ids]
        packed = [
            part
            for number, tail in zip(p.document_of, p.tails, strict=True)
            for part in (heads[number], tail)
        ]
        await ingest.copy(self.conn, "event", packed)
        personal = [
            (e.event_id, no, e.month, msgspec.json.encode(e.personal).decode())
            for e, no in zip(p.events, p.revision_no, strict=True)
            if e.personal is not None
        ]
        if personal:
            await ingest.copy_personal(self.conn, personal)
        if self.batch.raw:
            kept = {e.position for e in p.events}
            raw = [(position, raw) for position, raw in self.batch.raw if position in kept]
            await ingest.copy_raw(self.conn, row.id, raw)

    async def _count(self, p: Prepared, row: ingest.BatchRow) -> None:
        batch = self.batch
        new = await quarantine.insert(
            self.conn, row.id, row.stream, row.part_name, batch.quarantined
        )
        delivered = len({e.position for e in batch.events})
        row.accepted = len({e.position for e in p.events})
        row.duplicate = delivered - row.accepted + len(batch.quarantined) - new
        row.quarantined = new
        row.events = len(p.events)
        amounts: defaultdict[str, int] = defaultdict(int)
        for e in p.events:
            if e.currency is not None and e.amount_minor is not None:
                amounts[e.currency] += e.amount_minor
        row.amounts = dict(amounts)
        row.hash_total = sum(int.from_bytes(e.event_id, "big") for e in p.events) % 2**128


class Correlation:
    """From a batch's documents to their numbers, components, references and steps.

    Most events are about a document that is known, with references that it has: nothing joins, and
    nothing of it is looked up but its number. The others are `active`: new, or with a new reference.
    """

    def __init__(self, conn: ingest.Connection, p: Prepared, limit: Limit, memory: Memory) -> None:
        self.conn = conn
        self.p = p
        self.limit = limit
        self.memory = memory
        self.known: list[ingest.Known | None] = [None] * len(p.names)
        self.ids: list[int] = []
        self.active: list[int] = []
        self.held: dict[Name, set[int]] = {}
        self.stored: dict[Name, list[ingest.Held]] = {}
        self.component_of: dict[int, int] = {}
        self.grown: set[int] = set()

    async def look_up(self) -> None:
        """Find which documents are known, number the new ones, and see who else holds their names."""
        self.known = [self.memory.get(name) for name in self.p.names]
        unknown = [n for n, known in enumerate(self.known) if known is None]
        found = await ingest.known_documents(self.conn, [self.p.names[n] for n in unknown])
        for i, known in found.items():
            self.known[unknown[i]] = known
        fresh = iter(await ingest.next_documents(self.conn, self.known.count(None)))
        self.ids = [next(fresh) if known is None else known.document for known in self.known]
        self.active = [
            n
            for n, known in enumerate(self.known)
            if known is None or known.references_hash != self.p.hashes[n]
        ]
        for n in self.active:
            self.held.setdefault(self.p.names[n], set()).add(self.ids[n])
            for role, name in self.p.references[n]:
                if role == IDENTITY:
                    self.held.setdefault(name, set()).add(self.ids[n])
        await self._look_up_holders()

    async def _look_up_holders(self) -> None:
        names = [(name, self.limit(name.kind)) for name in self.held]
        self.stored = await ingest.look_up(self.conn, names)
        holders = {h.document: h.component for held in self.stored.values() for h in held}
        self.component_of = {
            self.ids[n]: holders[self.ids[n]] for n in self.active if self.known[n] is not None
        }

    async def look_up_again(self) -> None:
        """Look once more, under the lock.

        Raises:
            Contended: a document that we took for new is there by now.
        """
        await self._look_up_holders()
        for n in self.active:
            held = self.stored.get(self.p.names[n], ())
            if self.known[n] is None and any(h.own for h in held):
                raise Contended

    def learnt(self) -> Iterable[tuple[Name, ingest.Known]]:
        """Return what is known of the batch's documents now that it is committed."""
        for n, name in enumerate(self.p.names):
            known = self.known[n]
            if known is None:
                yield name, ingest.Known(self.ids[n], self.p.hashes[n], *self.p.spans[n])
            elif self._widens(n, known):
                first = min(self.p.spans[n][0], known.first_month)
                last = max(self.p.spans[n][1], known.last_month)
                yield name, ingest.Known(known.document, known.references_hash, first, last)
            else:
                yield name, known

    def _widens(self, n: int, known: ingest.Known) -> bool:
        first, last = self.p.spans[n]
        return first < known.first_month or last > known.last_month

    async def write(self, batch: int, seq: int) -> None:
        """Place documents in components; write documents, references and steps."""
        label_of = await self._place(seq)
        p, ids = self.p, self.ids
        new = [n for n in self.active if self.known[n] is None]
        documents = [
            rows.document_row(
                ids[n], label_of[ids[n]], seq, p.names[n], self.p.hashes[n], *p.spans[n]
            )
            for n in new
        ]
        await ingest.copy(self.conn, "document", documents)
        await ingest.widen_months(
            self.conn,
            [
                (known.document, *p.spans[n])
                for n, known in enumerate(self.known)
                if known is not None and self._widens(n, known)
            ],
        )
        references = [
            rows.reference_row(ids[n], batch, role, name)
            for n in new
            for role, name in ((OWN, p.names[n]), *p.references[n])
        ]
        await ingest.copy(self.conn, "reference", references + await self._added(batch))
        await self._steps()
        await ingest.note_suspended(self.conn, self.grown, correlate.COMPONENT_DOCUMENTS_MAX)

    async def _added(self, batch: int) -> list[bytes]:
        """Pack the references that stored documents gain, and note their new hashes."""
        changed = {self.ids[n]: n for n in self.active if self.known[n] is not None}
        if not changed:
            return []
        before: dict[int, set[tuple[int, Name]]] = defaultdict(set)
        for document, role, name in await ingest.known_references(self.conn, list(changed)):
            before[document].add((role, name))
        packed, hashes = [], {}
        for document, n in changed.items():
            gained = self.p.references[n] - before[document]
            packed += [rows.reference_row(document, batch, role, name) for role, name in gained]
            now_held = (before[document] | gained) - {(OWN, self.p.names[n])}
            hashes[document] = references_hash(now_held)
        await ingest.note_references(self.conn, hashes)
        return packed

    async def _steps(self) -> None:
        p, ids = self.p, self.ids
        pairs = [(ids[n], event_type) for n, event_type in p.steps if self.known[n] is not None]
        again = await ingest.known_steps(self.conn, pairs)
        again |= {(ids[n], event_type) for n, event_type in p.revised}
        packed: list[bytes] = []
        for (n, event_type), tail in p.steps.items():
            if (ids[n], event_type) not in again:
                packed += (rows.step_head(ids[n]), tail)
        await ingest.copy(self.conn, "step", packed)
        await ingest.recompute_steps(self.conn, again)

    async def _place(self, seq: int) -> dict[int, int]:
        """Decide and write components; return the component of every active document."""
        new = {self.ids[n] for n in self.active if self.known[n] is None}
        stored = {
            name: [correlate.Known(h.document, h.component) for h in holders]
            for name, holders in self.stored.items()
        }
        plan = correlate.plan(self.held, stored, new, self.component_of, self.limit)
        label_of = dict(self.component_of)
        moves: dict[int, int] = {}
        size = await ingest.sizes(
            self.conn,
            {c for components, _ in plan.joined if len(components) > 1 for c in components},
        )
        for components, documents in plan.joined:
            if plan.rebuild & components:
                label_of |= await self._rebuild(components, documents, seq)
                continue
            label = (
                max(components, key=lambda c: (size.get(c, 0), -c))
                if components
                else min(documents)
            )
            moves |= {c: label for c in components if c != label}
            label_of |= dict.fromkeys(documents, label)
            if len(documents) + len(components) > 1:
                self.grown.add(label)
        await ingest.relabel(self.conn, moves, seq)
        return {d: moves.get(label, label) for d, label in label_of.items()}

    async def _rebuild(self, components: set[int], documents: set[int], seq: int) -> dict[int, int]:
        """Recompute components from their edges, because a value among them joins nothing any more."""
        before = await ingest.documents_of(self.conn, components)
        holders: dict[Name, set[int]] = defaultdict(set)
        for document, name in await ingest.identities(self.conn, before):
            holders[name].add(document)
        for name, held_by in self.held.items():
            members = held_by & (documents | before.keys())
            if members:
                holders[name] |= members
        stored = await ingest.look_up(self.conn, [(n, self.limit(n.kind)) for n in holders])
        blocked = {
            name
            for name, members in holders.items()
            if len(
                {h.document for h in stored.get(name, ())} | self.held.get(name, set()) | members
            )
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
