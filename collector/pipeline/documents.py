"""What a batch makes of its documents: their numbers, components, references and steps, and what is remembered of them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import cast

from collector.model.reference import CUT, IDENTITY, OWN, content_id, link_name
from collector.pipeline import correlate
from collector.pipeline.correlate import Limit
from collector.pipeline.prepare import references_hash
from collector.pipeline.prepared import Prepared
from collector.pipeline.recent import Recent
from collector.pipeline.regroup import Arriving, regroup
from collector.store import folds, ingest, links, membership, rows

REMEMBERED = 100_000
"""Documents that a collector remembers, so as not to look them up for each of their events."""


class Contended(Exception):
    """Another collector entered one of our documents since we looked, or took one or its events away."""


class Memory(Recent[bytes, ingest.Known]):
    """What a collector remembers of documents, by content id, as of the last time that a mapping took events back.

    Until the next time it is never wrong, for a document keeps its number and only gains references, months and
    steps; at worst it knows too little: of references and months the database is asked then, and so of a step, where the
    document is not of its own making or others write events as well. Any other that is stored after all is refused as a
    duplicate, upon which the careful road is taken, without memory.
    """

    superseded_by = 0
    committed = 0
    """The collector's last commit."""
    alone = True
    """Whether nobody else has written events since its first commit."""

    def __init__(self, least: int = REMEMBERED, numbers: list[int] | None = None) -> None:
        super().__init__(least)
        self.numbers: list[int] = [] if numbers is None else numbers  # of documents to come
        self.partitions: set[date] = set()  # of events, by month, that are there

    def believe(self, superseded_by: int) -> bool:
        """Forget everything if a mapping took events back since; return whether that was not so."""
        if superseded_by == self.superseded_by:
            return True
        self.clear()
        self.superseded_by = superseded_by
        return False


class Packed:
    """Rows of a batch: of new references and steps, and what is added to steps that are stored.

    `passed` are the steps that seem to be new, as (document's number within the batch, event type).
    """

    def __init__(self) -> None:
        self.batch = 0
        self.references: list[bytes] = []
        self.steps: list[bytes] = []
        self.passed: list[tuple[int, str]] = []
        self.additions: dict[tuple[int, str], rows.Fold] = {}


class Correlation:
    """From a batch's documents to their numbers, components, references and steps.

    Most events are about a document that is known, with references that it has: nothing joins, and
    nothing of it is looked up but its number. The others are `active`: new, or with a new reference.
    Names go by their content id.
    """

    def __init__(self, conn: ingest.Connection, p: Prepared, limit: Limit, memory: Memory) -> None:
        self.conn = conn
        self.p = p
        self.limit = limit
        self.names = p.names
        self.references = list(p.references)
        self.joins = list(p.joins)
        self.cuts = links.Cuts()
        self.numbers = memory.numbers
        self.known = list(map(memory.get, p.names))
        self.superseded = memory.superseded_by > 0
        self.packed = Packed()
        self.ids: list[int] = []
        self.active: list[int] = []
        self.held: dict[bytes, set[int]] = {}
        self.most: dict[bytes, int] = {}
        self.stored: dict[bytes, list[ingest.Holder]] = {}
        self.component_of: dict[int, int] = {}
        self.grown: set[int] = set()
        self.unremembered: list[int] = []
        self.widened: dict[int, rows.Span] = {}
        self.gained: dict[int, int] = {}

    async def look_up(self) -> None:
        """Find which documents are known, number the new ones, and see who else holds their names.

        Raises:
            Contended: a document that an earlier chunk has told is not there.
        """
        p, names = self.p, self.names
        await self._leave_out_cuts()
        unknown = [n for n, known in enumerate(self.known) if known is None]
        await self._look_up({names[n]: self._own_limit(n) for n in unknown})
        for n in unknown:
            self.known[n] = known = self._own(names[n])
            if known is not None:
                self.unremembered.append(n)
            elif not self.references[n]:
                raise Contended
        if self.superseded:
            await self._link_again()
        fresh = iter(await self._numbers(self.known.count(None)))
        self.ids = [next(fresh) if known is None else known.document for known in self.known]
        self.active = [
            n
            for n, known in enumerate(self.known)
            if self.references[n] and (known is None or known.references_hash != p.hashes[n])
        ]
        self._note_widened()
        for n in self.active:
            for name, kind in self.joins[n]:
                self.held.setdefault(name, set()).add(self.ids[n])
                self.most[name] = self.limit(kind)
        asked = {names[n] for n in unknown if self.references[n]}
        await self._look_up({name: self.most[name] for name in self.held.keys() - asked})
        self._note_components()
        await self._look_up_steps()

    async def _leave_out_cuts(self) -> None:
        """Find which references of the batch join nothing because a person has cut them."""
        self.cuts = await links.cuts(self.conn)
        if self.cuts:
            self.references = [
                [rows.without_cut(tail, self.cuts.of(name)) for tail in told]
                for name, told in zip(self.names, self.references, strict=True)
            ]
            self.joins = [
                [*joins[:1], *(join for join in joins[1:] if join[0] not in self.cuts.of(name))]
                for name, joins in zip(self.names, self.joins, strict=True)
            ]

    async def _link_again(self) -> None:
        """Link new documents that were there before, until a mapping took them back, and linked."""
        new = {self.names[n]: n for n, known in enumerate(self.known) if known is None}
        for name, others in (await links.linked(self.conn, new)).items():
            n, named = new[name], [link_name(name, other) for other in others]
            links_of = [(content_id(link), link) for link in named]
            self.references[n] = [
                *self.references[n],
                *(rows.reference_tail(IDENTITY, link, content) for content, link in links_of),
            ]
            self.joins[n] = [*self.joins[n], *((content, link.kind) for content, link in links_of)]

    async def _numbers(self, count: int) -> list[int]:
        """Take numbers of new documents; what is left stays for the next batch."""
        numbers = self.numbers
        if len(numbers) < count:
            numbers += await ingest.next_documents(self.conn, count - len(numbers))
        taken = numbers[:count]
        del numbers[:count]
        return taken

    def _note_widened(self) -> None:
        for n, known in enumerate(self.known):
            if known is not None and self.p.spans[n] != known.span:
                span = known.span.joined(self.p.spans[n])
                if span != known.span:
                    self.widened[n] = span

    def _own_limit(self, n: int) -> int:
        """Return how many others to look for that hold a document's own name; it comes first itself."""
        joins = self.joins[n]
        return self.limit(joins[0][1]) if joins else 0

    async def _look_up(self, most: Mapping[bytes, int]) -> None:
        self.stored |= await ingest.look_up(self.conn, list(most), list(most.values()))

    def _own(self, name: bytes) -> ingest.Known | None:
        holders = self.stored.get(name)
        return None if holders is None else holders[0].known

    async def _look_up_steps(self) -> None:
        """Find which steps of the batch are stored, of documents that this collector has not made."""
        asked = []
        for n, event_type, _ in self.p.steps:
            known = self.known[n]
            if known is not None and not known.whole and event_type not in known.types:
                asked.append((known.document, event_type))
        there = await folds.known_steps(self.conn, asked)
        for n, event_type, _ in self.p.steps if there else ():
            if (self.ids[n], event_type) in there:
                known = self._stored(n)
                known.types = _with(known.types, event_type)

    def _note_components(self) -> None:
        for n in self.active:
            if self.known[n] is not None:
                self.component_of[self.ids[n]] = self.stored[self.names[n]][0].component

    async def look_up_again(self) -> None:
        """Look once more, under the lock.

        Raises:
            Contended: a document that we took for new is there by now, or a person decided something.
        """
        if await links.cuts(self.conn) != self.cuts:
            raise Contended
        await self._look_up({name: self.most[name] for name in self.held})
        if any(self.known[n] is None and self._own(self.names[n]) for n in self.active):
            raise Contended
        self._note_components()

    async def look_for_steps(self) -> None:
        """Look, under the lock, which steps that seem to be new others have made meanwhile: to these is added."""
        p, packed = self.p, self.packed
        asked = [
            (self.ids[n], event_type)
            for n, event_type in packed.passed
            if self.known[n] is not None
        ]
        there = await folds.known_steps(self.conn, asked)
        if not there:
            return
        steps: list[bytes] = []
        for i, (n, event_type) in enumerate(packed.passed):
            head, tail = packed.steps[2 * i : 2 * i + 2]
            if (self.ids[n], event_type) not in there:
                steps += head, tail
            elif (n, event_type) not in p.revised:
                packed.additions[self.ids[n], event_type] = rows.fold_of(tail)
        packed.steps = steps

    def learn(self, memory: Memory) -> None:
        """Have the batch's documents remembered, now that it is committed."""
        for n in self.active:
            if self.known[n] is None:
                made = ingest.Known(self.ids[n], self.p.hashes[n], self.p.spans[n], whole=True)
                self.known[n] = made
                memory.put(self.names[n], made)
        for n in self.unremembered:
            memory.put(self.names[n], self._stored(n))
        for n, span in self.widened.items():
            self._stored(n).span = span
        for n, hashed in self.gained.items():
            self._stored(n).references_hash = hashed
        for n, event_type in self.packed.passed:
            known = self._stored(n)
            known.types = _with(known.types, event_type)

    def _stored(self, n: int) -> ingest.Known:
        return cast("ingest.Known", self.known[n])

    def pack(self, batch: int) -> None:
        """Pack new references and steps: all that can be done before the lock is held."""
        p, ids, packed = self.p, self.ids, self.packed
        packed.batch = batch
        for n in self.active:
            if self.known[n] is None:
                head = rows.reference_head(ids[n], batch)
                for tail in self.references[n]:
                    packed.references += head, tail
        for n, event_type, tail in p.steps:
            known, document = self.known[n], ids[n]
            if known is None or event_type not in known.types:
                packed.steps += rows.step_head(document), tail
                packed.passed.append((n, event_type))
            elif (n, event_type) not in p.revised:
                packed.additions[document, event_type] = rows.fold_of(tail)

    async def write(self, seq: int) -> None:
        """Place documents in components; write documents, references and steps."""
        label_of = await self._place(seq)
        p, ids, packed = self.p, self.ids, self.packed
        await ingest.copy(self.conn, "document", self._documents(label_of, seq))
        await ingest.widen_months(self.conn, {ids[n]: span for n, span in self.widened.items()})
        await ingest.copy(self.conn, "reference", packed.references + await self._added())
        await ingest.copy(self.conn, "step", packed.steps)
        added = await folds.add_to_steps(self.conn, packed.additions)
        await folds.note_revised(self.conn, p.told_again)
        again = {(ids[n], event_type) for n, event_type in p.revised}
        await folds.recompute_steps(self.conn, again | (packed.additions.keys() - added))
        await membership.note_suspended(
            self.conn, self.grown, correlate.COMPONENT_DOCUMENTS_MAX, seq
        )

    def _documents(self, label_of: Mapping[int, int], seq: int) -> Iterator[bytes]:
        """Pack new documents, while the database takes them."""
        for n in self.active:
            if self.known[n] is None:
                name, kind = self.joins[n][0]
                numbers = self.ids[n], label_of[self.ids[n]], seq
                yield rows.document_row(*numbers, name, self.p.hashes[n], self.p.spans[n], kind)

    async def _added(self) -> list[bytes]:
        """Pack the references that stored documents gain, and note their new hashes."""
        changed = {self.ids[n]: n for n in self.active if self.known[n] is not None}
        if not changed:
            return []
        before: dict[int, set[tuple[int, bytes]]] = defaultdict(set)
        for document, role, name in await ingest.known_references(self.conn, list(changed)):
            before[document].add((role if role != CUT else IDENTITY, name))
        packed: list[bytes] = []
        for document, n in changed.items():
            held = before[document]
            for tail, told in zip(self.references[n], self.p.references[n], strict=True):
                role, name, _ = rows.reference_of(told)
                if (role, name) not in held:
                    held.add((role, name))
                    packed += rows.reference_head(document, self.packed.batch), tail
            self.gained[n] = references_hash(pair for pair in held if pair[0] != OWN)
        await ingest.note_references(
            self.conn, {self.ids[n]: hashed for n, hashed in self.gained.items()}
        )
        return packed

    async def _place(self, seq: int) -> dict[int, int]:
        """Decide and write components; return the component of every active document."""
        stored = {
            name: {h.document: h.component for h in holders}
            for name, holders in self.stored.items()
        }
        plan = correlate.plan(self.held, stored, self.component_of, self.most.__getitem__)
        label_of = {self.ids[n]: self.ids[n] for n in self.active} | self.component_of
        moves: dict[int, int] = {}
        size = await membership.sizes(
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
            self.grown.add(label)
        await membership.relabel(self.conn, moves, seq)
        return {d: moves.get(label, label) for d, label in label_of.items()}

    async def _rebuild(self, components: set[int], documents: set[int], seq: int) -> dict[int, int]:
        """Recompute components from their edges, because a value among them joins nothing any more."""
        label_of = await regroup(
            self.conn, components, self.limit, seq, Arriving(documents, self.held, self.most)
        )
        self.grown |= components | set(label_of.values())
        return label_of


@lru_cache(4096)  # most documents pass the same steps, and share the set
def _with(types: frozenset[str], event_type: str) -> frozenset[str]:
    return types | {event_type}
