"""Persons link documents, cut them apart and have values join nothing: what joins is a function of facts and decisions together.

The oracle is that of the facts alone (test_order), with a cut value held by one document less and a pair
that was linked as a value that only these two hold.
"""

import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.clock import now
from collector.errors import Permanent
from collector.model.reference import Name, content_id
from collector.pipeline import correlate
from collector.pipeline.link import Links
from collector.pipeline.rebuild import rebuild
from tests.collector.pipeline.test_order import (
    COMPONENT_MAX,
    Fact,
    event,
    facts,
    limit,
    lines,
    oracle_partition,
    partition,
    write,
)
from tests.support.postgres import Database

EXAMPLES = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
worlds = itertools.count()
decisions = st.lists(
    st.tuples(
        st.sampled_from(["add", "cut", "ignore", "undo"]), st.integers(0, 8), st.integers(0, 8)
    ),
    max_size=8,
)


@pytest.fixture
async def conn(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncpg.Connection]:
    monkeypatch.setattr(correlate, "COMPONENT_DOCUMENTS_MAX", COMPONENT_MAX)
    opened = await asyncpg.connect(database.dsn("tieout_app"))
    yield opened
    await opened.close()


class World:
    """Facts and decisions in one corner of the store, and what sets say of them."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self.conn = conn
        self.links = Links(conn, limit, now, "a person")
        self.name = f"link{next(worlds)}"
        self.told: list[Fact] = []
        self.added: dict[int, tuple[int, int]] = {}
        self.cut: dict[int, tuple[int, int]] = {}
        self.ignored: dict[int, int] = {}

    def document(self, number: int) -> str:
        return content_id(Name(f"doc_{self.name}", "", str(number))).hex()

    async def tell(self, new: list[Fact]) -> None:
        self.told += new
        await write([self.conn], [[event(self.name, f) for f in new]])

    async def decide(self, action: str, a: int, b: int) -> bool:
        """Decide about documents that are there, if it is possible; say whether it was."""
        if action == "ignore":
            return await self._ignore(a)
        here = {f.document: f.values for f in self.told}
        pairs = [
            p for p in itertools.permutations(here, 2) if action == "add" or here[p[0]] & here[p[1]]
        ]
        if not pairs and action != "undo":
            return False
        a, b = pairs[(a * 9 + b) % len(pairs)] if pairs else (a, b)
        try:
            if action == "add":
                added = await self.links.add(self.document(a), self.document(b), "seen")
                self.added[added.id] = a, b
            elif action == "cut":
                for c in await self.links.cut(self.document(a), self.document(b), "seen"):
                    self.cut[c.id] = self._number(c.document), self._value(c.other)
            else:
                made = sorted({**self.added, **self.cut, **self.ignored})
                await self.links.undo(made[a % len(made)] if made else 0, "mistaken")
                self.added.pop(made[a % len(made)], None)
                self.cut.pop(made[a % len(made)], None)
                self.ignored.pop(made[a % len(made)], None)
        except Permanent:
            return False
        return True

    async def _ignore(self, value: int) -> bool:
        try:
            ignored = await self.links.ignore(f"value_{self.name}", str(value), "a dummy")
        except Permanent:
            return False
        self.ignored[ignored.id] = value
        return True

    def _number(self, document: bytes) -> int:
        return next(n for n in range(9) if self.document(n) == document.hex())

    def _value(self, name: bytes) -> int:
        named = (v for v in range(9) if content_id(Name(f"value_{self.name}", "", str(v))) == name)
        return next(named)

    def expected(self) -> set[frozenset[int]]:
        loose: dict[int, set[int]] = defaultdict(set)
        for document, value in self.cut.values():
            loose[document].add(value)
        gone = set(self.ignored.values())
        facts = [f._replace(values=f.values - loose[f.document] - gone) for f in self.told]
        for n, pair in self.added.items():
            facts += [Fact(d, frozenset({100 + n}), 0, "made", 0, 0) for d in pair]
        return oracle_partition(facts)

    async def found(self) -> set[frozenset[int]]:
        return await partition(self.conn, self.name)


@given(data=st.data(), told=facts, decided=decisions)
@EXAMPLES
async def test_facts_and_decisions_in_any_order_give_what_the_sets_give(
    conn: asyncpg.Connection, data: st.DataObject, told: list[Fact], decided: list[Any]
) -> None:
    world = World(conn)
    again = data.draw(st.lists(st.sampled_from(told), max_size=5))
    todo: list[Any] = data.draw(st.permutations([*told, *again, *decided]))
    for step in todo:
        if isinstance(step, Fact):
            await world.tell([step])
        else:
            await world.decide(*step)
        assert await world.found() == world.expected()


@given(told=facts, decided=decisions)
@settings(EXAMPLES, max_examples=15)
async def test_a_rebuild_abides_by_what_was_decided(
    conn: asyncpg.Connection, told: list[Fact], decided: list[Any]
) -> None:
    world = World(conn)
    await world.tell(told)
    for step in decided:
        await world.decide(*step)
    before = await lines(conn)

    await rebuild(conn, limit, now)

    assert await lines(conn) == before
    assert await world.found() == world.expected()
    await world.tell([f._replace(hour=f.hour + 1) for f in told])  # known documents, no new names
    assert await world.found() == world.expected()


async def test_what_is_decided_again_or_about_nothing_is_refused(conn: asyncpg.Connection) -> None:
    world = World(conn)
    await world.tell(
        [Fact(1, frozenset({1}), 0, "made", 1, 1), Fact(2, frozenset({2}), 0, "made", 1, 1)]
    )
    links = world.links
    one, two = world.document(1), world.document(2)

    with pytest.raises(Permanent, match="share no name"):
        await links.cut(one, two, "they differ")
    with pytest.raises(Permanent, match="same document"):
        await links.add(one, one, "it is itself")
    with pytest.raises(Permanent, match="No document goes by 'nobody'"):
        await links.add(one, "nobody", "a guess")
    added = await links.add(one, two, "the same trip")
    with pytest.raises(Permanent, match="linked already"):
        await links.add(two, one, "again")
    await links.undo(added.id, "another trip")
    with pytest.raises(Permanent, match="taken back before"):
        await links.undo(added.id, "again")
    with pytest.raises(Permanent, match="no link 99999"):
        await links.undo(99999, "never made")
    with pytest.raises(Permanent, match=f"No document is joined by the value_{world.name} '7'"):
        await links.ignore(f"value_{world.name}", "7", "a dummy")
    await links.ignore(f"value_{world.name}", "1", "a dummy")
    with pytest.raises(Permanent, match="joins nothing already"):
        await links.ignore(f"value_{world.name}", "1", "again")
