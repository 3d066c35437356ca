"""What joins is a function of the set of facts: batch by batch it is what a plain set computation says."""

from collections import defaultdict
from collections.abc import Iterable
from random import Random  # noqa: TID251 -- Hypothesis injects it, seeded

from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.model.reference import Name
from collector.pipeline.correlate import Disjoint, components, plan

LIMITS = {"weak": 2, "strong": 4}
Fact = tuple[int, Name]
Partition = set[frozenset[int]]


def limit(kind: str) -> int:
    return LIMITS[kind]


def oracle(facts: Iterable[Fact]) -> Partition:
    """Two documents are one transaction if a chain of values joins them, each held by few enough."""
    holders: dict[Name, set[int]] = defaultdict(set)
    for document, name in facts:
        holders[name].add(document)
    groups = [{document} for document in {document for document, _ in facts}]
    for name, held_by in holders.items():
        if len(held_by) <= limit(name.kind):
            touched = [group for group in groups if group & held_by]
            groups = [g for g in groups if not g & held_by] + [set().union(*touched)]
    return {frozenset(group) for group in groups}


class Store:
    """What the database keeps between batches."""

    def __init__(self) -> None:
        self.component: dict[int, int] = {}
        self.holders: dict[Name, set[int]] = defaultdict(set)

    def add(self, batch: Iterable[Fact]) -> None:
        held: dict[Name, set[int]] = defaultdict(set)
        for document, name in batch:
            held[name].add(document)
        documents = set().union(*held.values())
        stored = {
            name: {d: self.component[d] for d in sorted(self.holders[name])[: limit(name.kind) + 1]}
            for name in held
            if self.holders[name]
        }
        known = {d: self.component[d] for d in documents if d in self.component}
        made = plan(held, stored, known, lambda name: limit(name.kind))
        self.component |= {d: d for d in documents - known.keys()}
        for name, more in held.items():
            self.holders[name] |= more
        for old, new in made.joined:
            self._join(old, new, rebuild=bool(old & made.rebuild))

    def _join(self, old: set[int], new: set[int], *, rebuild: bool) -> None:
        members = [d for d, component in self.component.items() if component in old] + sorted(new)
        pieces = [members] if not rebuild else components(members, self._edges(members), self._weak)
        for piece in pieces:
            for document in piece:
                self.component[document] = min(piece)

    def _edges(self, members: Iterable[int]) -> dict[Name, list[int]]:
        inside = set(members)
        return {name: sorted(held & inside) for name, held in self.holders.items() if held & inside}

    def _weak(self, name: Name) -> bool:
        return len(self.holders[name]) > limit(name.kind)

    def partition(self) -> Partition:
        groups: dict[int, set[int]] = defaultdict(set)
        for document, component in self.component.items():
            groups[component].add(document)
        return {frozenset(group) for group in groups.values()}


NAMES = st.builds(Name, st.sampled_from(sorted(LIMITS)), st.just(""), st.sampled_from("abcd"))
FACTS = st.tuples(st.integers(0, 9), NAMES)
BATCHES = st.lists(st.lists(FACTS, min_size=1, max_size=6), min_size=1, max_size=8)


def name(kind: str, value: str) -> Name:
    return Name(kind, "", value)


@settings(max_examples=400)
@given(BATCHES)
@example([[(1, name("weak", "a")), (2, name("weak", "a"))], [(3, name("weak", "a"))]])
@example(
    [
        [(1, name("weak", "a"))],
        [(2, name("weak", "a"))],
        [(3, name("weak", "a"))],
        [(3, name("strong", "a")), (1, name("strong", "a"))],
    ]
)
def test_batches_in_any_cut_give_what_the_set_of_facts_gives(batches: list[list[Fact]]) -> None:
    store = Store()
    seen: list[Fact] = []
    for batch in batches:
        store.add(batch)
        seen += batch
        assert store.partition() == oracle(seen)


@given(st.lists(FACTS, min_size=1, max_size=20), st.randoms(), st.integers(1, 5))
def test_the_order_of_arrival_does_not_matter(facts: list[Fact], random: Random, size: int) -> None:
    shuffled = list(facts)
    random.shuffle(shuffled)
    one, other = Store(), Store()
    one.add(facts)
    for start in range(0, len(shuffled), size):
        other.add(shuffled[start : start + size])
    assert one.partition() == other.partition()


@given(st.lists(FACTS, max_size=25))
def test_components_are_those_of_the_oracle(facts: list[Fact]) -> None:
    holders: dict[Name, set[int]] = defaultdict(set)
    for document, value in facts:
        holders[value].add(document)
    found = components(
        sorted({document for document, _ in facts}),
        {value: sorted(held) for value, held in holders.items()},
        lambda value: len(holders[value]) > limit(value.kind),
    )
    assert {frozenset(group) for group in found} == oracle(facts)


@given(st.lists(FACTS, min_size=1, max_size=12), BATCHES)
def test_a_plan_says_of_every_new_document_where_it_goes(
    facts: list[Fact], earlier: list[list[Fact]]
) -> None:
    store = Store()
    for batch in earlier:
        store.add(batch)
    before = dict(store.component)
    store.add(facts)
    assert {document for document, _ in facts} | before.keys() == store.component.keys()


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15))))
def test_disjoint_sets_are_the_connected_pieces_of_a_graph(edges: list[tuple[int, int]]) -> None:
    disjoint: Disjoint[int] = Disjoint()
    for a, b in edges:
        disjoint.union(a, b)
    for a, b in edges:
        assert disjoint.find(a) == disjoint.find(b)
    found = disjoint.sets().values()
    assert sorted(node for group in found for node in group) == sorted(
        {n for e in edges for n in e}
    )
    for group in found:  # from any member every other can be reached
        reached, waiting = {group[0]}, [group[0]]
        while waiting:
            node = waiting.pop()
            for a, b in edges:
                for there in ({b} if a == node else set()) | ({a} if b == node else set()):
                    if there not in reached:
                        reached.add(there)
                        waiting.append(there)
        assert reached == set(group)
