"""Which transactions a change to facts changes: what they were before and are after, by their documents."""

from collections.abc import Iterable, Mapping

import msgspec

from collector.model.reference import IDENTITY
from collector.pipeline.correlate import Disjoint, Limit
from collector.store import ingest, membership, remappings
from collector.store.remappings import State, Step

COMPONENTS_MAX = 2_000
"""How many transactions the database is asked for at once."""

Told = Mapping[bytes, str]
"""Names by content id, with their kinds."""


class Member(msgspec.Struct, frozen=True):
    """A document of a transaction, and its steps."""

    id: str
    kind: str
    number: str
    steps: list[Step]


class Transaction(msgspec.Struct, frozen=True):
    """A transaction: its id is the smallest of its documents'."""

    id: str
    documents: list[Member]


class Change(msgspec.Struct, frozen=True):
    """Transactions, and what they are now: several on a side where documents changed places."""

    before: list[Transaction]
    after: list[Transaction]


class Changes:
    """Remembers how transactions were before they are touched first, and says at last which are otherwise."""

    def __init__(self, conn: ingest.Connection, limit: Limit) -> None:
        self._conn = conn
        self._limit = limit
        self._before: dict[int, State] = {}
        self._own: set[bytes] = set()
        self._moved: set[tuple[int, bytes]] = set()

    async def watch(
        self,
        names: Told,
        documents: Iterable[int],
        own: Iterable[bytes],
        moved: Iterable[tuple[int, bytes]],
    ) -> None:
        """Look at the transactions of documents, and at those that hold names, before they change.

        `own` are content ids of documents that there may be afterwards, `moved` documents and the content ids of those
        that an event of theirs is about afterwards.
        """
        self._own.update(own)
        self._moved.update(moved)
        most = [self._limit(kind) for kind in names.values()]
        held = await ingest.look_up(self._conn, list(names), most)
        touched = {holder.component for holders in held.values() for holder in holders}
        new = [document for document in documents if document not in self._before]
        touched |= await membership.components_of(self._conn, new)
        for document, state in (await self._states(touched)).items():
            self._before.setdefault(document, state)

    async def _states(self, components: Iterable[int]) -> dict[int, State]:
        found: dict[int, State] = {}
        listed = sorted(components)
        for at in range(0, len(listed), COMPONENTS_MAX):
            found |= await remappings.states(self._conn, listed[at : at + COMPONENTS_MAX])
        return found

    async def found(self, most: int) -> tuple[int, list[Change]]:
        """Return how many changes there are, and the first of them by id."""
        touched = await membership.components_of(self._conn, list(self._before))
        held = await ingest.look_up(self._conn, list(self._own), [0] * len(self._own))
        touched |= {holder.component for holders in held.values() for holder in holders}
        after = await self._states(touched)
        numbers = {state.id: document for document, state in after.items()}
        moved = [(old, numbers[new]) for old, new in self._moved if new in numbers]
        changed = sorted(
            ((was, now) for was, now in _clusters(self._before, after, moved) if was != now),
            key=lambda sides: min(state.id for side in sides for group in side for state in group),
        )
        return len(changed), [
            Change(*([_transaction(group) for group in side] for side in sides))
            for sides in changed[:most]
        ]


Groups = list[list[State]]


def _clusters(
    before: Mapping[int, State], after: Mapping[int, State], moved: Iterable[tuple[int, int]]
) -> Iterable[tuple[Groups, Groups]]:
    """Group transactions before and after that share documents, or events."""
    shared: Disjoint[tuple[int, int]] = Disjoint()
    members: list[dict[int, list[State]]] = [{}, {}]
    for side, states in enumerate((before, after)):
        for document, state in sorted(states.items(), key=lambda item: item[1].id):
            shared.union((side, state.label), (2, document))
            members[side].setdefault(state.label, []).append(state)
    for document, other in moved:
        shared.union((2, document), (2, other))
    for nodes in shared.sets().values():
        sides: tuple[Groups, Groups] = [], []
        for side, label in sorted(nodes):
            if side < len(sides):
                sides[side].append([_unlabelled(state) for state in members[side][label]])
        for groups in sides:
            groups.sort(key=lambda group: group[0].id)
        yield sides


def _unlabelled(state: State) -> State:
    """Return a document without the label of its transaction: it means nothing outside of the store."""
    return msgspec.structs.replace(state, label=0)


def _transaction(group: list[State]) -> Transaction:
    members = [Member(s.id.hex(), s.kind, s.number, s.steps) for s in group]
    return Transaction(members[0].id, members)


def told_by(
    document: tuple[str, str, str], references: Iterable[tuple[int, tuple[str, str, str]]]
) -> Iterable[tuple[str, str, str]]:
    """List the names by which an event joins its document: the document's own, and those held as identity."""
    yield document
    yield from (name for role, name in references if role <= IDENTITY)
