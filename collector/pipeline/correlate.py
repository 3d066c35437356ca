"""Which documents belong to one transaction: a pure function of the facts, never of their order.

Documents are joined by identity values. A value that more than `max_documents` documents of its kind
hold joins nothing (`core.md` 1a). What is said here incrementally, a plain set computation says over
everything: `components`, which `tieout rebuild` uses and the tests hold against an oracle.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

Node = TypeVar("Node", bound=Hashable)
Key = TypeVar("Key", bound=Hashable)

Limit = Callable[[str], int]
"""How many documents may hold a value of a kind as identity before it joins nothing."""

COMPONENT_DOCUMENTS_MAX = 1_000
"""A transaction of more documents was joined by a weak key: each of its documents stands alone."""


class Disjoint(Generic[Node]):
    """Disjoint sets: union by size, path halving."""

    def __init__(self) -> None:
        self._parent: dict[Node, Node] = {}
        self._size: dict[Node, int] = {}

    def find(self, node: Node) -> Node:
        """Return the representative of the node's set."""
        parent = self._parent
        if node not in parent:
            parent[node] = node
            self._size[node] = 1
            return node
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def union(self, a: Node, b: Node) -> None:
        """Join the sets of two nodes."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return
        if self._size[a] < self._size[b]:
            a, b = b, a
        self._parent[b] = a
        self._size[a] += self._size[b]

    def sets(self) -> dict[Node, list[Node]]:
        """List all sets by representative."""
        out: dict[Node, list[Node]] = {}
        for node in self._parent:
            out.setdefault(self.find(node), []).append(node)
        return out


def components(
    documents: Iterable[int], holders: Mapping[Key, Sequence[int]], blocked: Callable[[Key], bool]
) -> list[list[int]]:
    """Compute the components of documents over the identity values that are not blocked."""
    disjoint: Disjoint[int] = Disjoint()
    for document in documents:
        disjoint.find(document)
    for name, held_by in holders.items():
        if not blocked(name):
            for document in held_by[1:]:
                disjoint.union(held_by[0], document)
    return list(disjoint.sets().values())


def labels(
    pieces: Iterable[Sequence[int]], before: Mapping[int, int], fresh: Iterator[int]
) -> dict[int, int]:
    """Label the components of documents; one whose documents are as they were `before` keeps its label."""
    members: dict[int, set[int]] = {}
    for document, component in before.items():
        members.setdefault(component, set()).add(document)
    label_of: dict[int, int] = {}
    for piece in pieces:
        old = before.get(piece[0], 0)
        label = old if members.get(old) == set(piece) else next(fresh)
        label_of |= dict.fromkeys(piece, label)
    return label_of


class Plan(NamedTuple):
    """What a batch does to components.

    `joined`: groups of stored components and new documents that become one component; a document
    that is in none stays as it is, a new one alone. `rebuild`: stored components that hold a value
    which has just crossed its limit; they and whatever they are grouped with must be recomputed from
    their edges.
    """

    joined: list[tuple[set[int], set[int]]]  # (stored components, new documents)
    rebuild: set[int]


def plan(
    held: Mapping[Key, set[int]],
    stored: Mapping[Key, Mapping[int, int]],
    component_of: Mapping[int, int],
    limit: Callable[[Key], int],
) -> Plan:
    """Decide what a batch joins.

    `held` gives, by identity value, the documents of the batch that hold it; `stored` the documents
    that held it before, with their components (at most limit + 1 of them); `component_of` the
    component of each document of the batch that was stored before.
    """
    disjoint: Disjoint[tuple[bool, int]] = Disjoint()  # (is a stored component, number)
    rebuild: set[int] = set()
    for name, documents in held.items():
        before = stored.get(name)
        if before is None and len(documents) == 1:
            continue
        before = before or {}
        most = limit(name)
        if len(before.keys() | documents) > most:
            if 1 < len(before) <= most:
                rebuild.update(before.values())
            continue
        nodes = {(True, component) for component in before.values()}
        nodes.update(
            (True, component_of[d]) if d in component_of else (False, d) for d in documents
        )
        first, *others = nodes
        for other in others:
            disjoint.union(first, other)
    for component in rebuild:
        disjoint.find((True, component))
    joined = [
        ({n for is_stored, n in group if is_stored}, {n for is_stored, n in group if not is_stored})
        for group in disjoint.sets().values()
    ]
    return Plan(joined, rebuild)
