"""Which documents belong to one transaction: a pure function of the facts, never of their order.

Documents are joined by identity values. A value that more than `max_documents` documents of its kind
hold joins nothing (`core.md` 1a). What is said here incrementally, a plain set computation says over
everything: `components`, which `tieout rebuild` uses and the tests hold against an oracle.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from collector.model.reference import Name

Node = TypeVar("Node", bound=Hashable)
Limit = Callable[[str], int]

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
    documents: Iterable[int], holders: Mapping[Name, Sequence[int]], blocked: Callable[[Name], bool]
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


class Known(msgspec.Struct, frozen=True, gc=False):
    """A stored document that holds a looked-up value."""

    document: int
    component: int


class Plan(msgspec.Struct):
    """What a batch does to components.

    `joined`: groups of stored components and new documents that become one component.
    `rebuild`: stored components that hold a value which has just crossed its limit; they and whatever
    they are grouped with must be recomputed from their edges.
    """

    joined: list[tuple[set[int], set[int]]]  # (stored components, new documents)
    rebuild: set[int]


def plan(
    held: Mapping[Name, set[int]],
    stored: Mapping[Name, Sequence[Known]],
    new_documents: Iterable[int],
    component_of: Mapping[int, int],
    limit: Limit,
) -> Plan:
    """Decide what a batch joins.

    `held` gives, by identity value, the documents of the batch that hold it; `stored` the documents
    that held it before (at most limit + 1 of them); `component_of` the component of each document of
    the batch that was stored before.
    """
    disjoint: Disjoint[tuple[bool, int]] = Disjoint()  # (is a stored component, number)
    rebuild: set[int] = set()
    for document in new_documents:
        disjoint.find((False, document))
    for name, documents in held.items():
        before = stored.get(name, ())
        known = {k.document for k in before}
        most = limit(name.kind)
        if len(known | documents) > most:
            if 1 < len(known) <= most:
                rebuild.update(k.component for k in before)
            continue
        nodes = {(True, k.component) for k in before}
        nodes.update(
            (True, component_of[d]) if d in component_of else (False, d) for d in documents
        )
        first, *others = nodes
        disjoint.find(first)
        for other in others:
            disjoint.union(first, other)
    for component in rebuild:
        disjoint.find((True, component))
    joined = [
        ({n for is_stored, n in group if is_stored}, {n for is_stored, n in group if not is_stored})
        for group in disjoint.sets().values()
    ]
    return Plan(joined, rebuild)
