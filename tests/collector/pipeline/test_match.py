"""What shares no name is linked where that is no guess, whatever came when; the rest is suggested.

The oracle is a plain computation over all pairs, with likenesses written down by hand.
"""

from collections.abc import AsyncIterator
from random import Random  # noqa: TID251 -- Hypothesis injects it, seeded
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.clock import now
from collector.errors import Permanent
from collector.pipeline import match
from collector.pipeline.match import Matcher
from collector.pipeline.rebuild import rebuild
from collector.store import ingest, supersessions
from tests.collector.pipeline.test_order import lines
from tests.support.ledger import DAYS, LONG_AFTER, Item, Ledgers, limit
from tests.support.postgres import Database

ACCEPT, MARGIN = 85, 15


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database.dsn("tieout_app"))
    yield opened
    await opened.close()


@pytest.fixture
def books(conn: asyncpg.Connection) -> Ledgers:
    return Ledgers(conn)


def bank(number: str, day: int, name: str = "A. Dorn", **more: Any) -> Item:  # noqa: ANN401 -- fields
    return Item("left", number, day, name, **more)


def paid(number: str, day: int, name: str = "Anna Dorn", **more: Any) -> Item:  # noqa: ANN401 -- fields
    return Item("right", number, day, name, **more)


async def test_the_only_candidate_is_linked_with_all_that_the_rule_saw(books: Ledgers) -> None:
    items = bank("B1", 4), paid("P1", 2), paid("P2", 2, "Ben Dorn")
    await books.tell(*items)

    done = await books.match()

    assert (done.pairs, done.linked, done.suggested) == (2, 1, {})
    assert await books.linked(items) == {("B1", "P1")}
    proof = await books.proof(items[0], items[1])
    assert (proof.automatic, proof.rule, proof.score) == (True, books.name, 95)
    assert proof.fields == {
        "amount": "equal",
        "currency": "equal",
        "entity": "equal",
        "counterparty": 95,
    }
    left, rival = (books.id(i).hex() for i in (items[0], items[2]))
    assert [(r.document, r.other, r.score) for r in proof.rivals] == [(left, rival, 50)]
    assert (await books.match()).linked == 0  # it is made once


async def test_what_a_later_mapping_took_back_is_no_candidate(books: Ledgers) -> None:
    items = bank("B1", 4), paid("P1", 2), paid("P2", 3)
    await books.tell(*items)
    gone = books.event(items[2])
    async with books.conn.transaction():
        seq = await ingest.lock(books.conn) + 1
        await ingest.append_commit(books.conn, seq, "mapping", now())
        await supersessions.take_back(books.conn, seq, [(gone.event_id, 0, gone.month)])

    assert (await books.match()).linked == 1
    assert await books.linked(items) == {("B1", "P1")}


async def test_two_equal_rivals_are_suggested_the_nearer_first(books: Ledgers) -> None:
    items = bank("B1", 4), paid("P1", 2), paid("P2", 3)
    await books.tell(*items)

    assert (await books.match()).linked == 0
    suggested = (await books.suggested())["B1"]
    assert suggested.why == "AMBIGUOUS"
    assert [(c.n, c.document.number, c.score, c.days_apart) for c in suggested.candidates] == [
        (1, "P2", 95, 1),
        (2, "P1", 95, 2),
    ]
    assert set(suggested.candidates[0].agrees) == {"amount", "currency", "entity", "counterparty"}


async def test_a_rival_on_the_other_side_is_told_too(books: Ledgers) -> None:
    await books.tell(bank("B1", 4), bank("B2", 3), paid("P1", 2))
    assert (await books.match()).linked == 0
    suggested = await books.suggested()
    assert suggested.keys() == {"B1", "B2"}
    (candidate,) = suggested["B1"].candidates
    assert [(r.document.number, r.score) for r in candidate.rivals] == [("B2", 95)]


@pytest.mark.parametrize(
    "other",
    [
        paid("P1", 2, currency="USD"),
        paid("P1", 2, amount=1001),
        paid("P1", 4 - DAYS - 1),
        paid("P1", 5),
    ],
    ids=["currency", "amount", "too early", "after it"],
)
async def test_what_must_be_equal_or_near_and_is_not_is_no_candidate(
    books: Ledgers, other: Item
) -> None:
    await books.tell(bank("B1", 4), other)
    done = await books.match()
    assert (done.pairs, done.linked, done.suggested) == (0, 0, {})


async def test_sides_can_be_types_of_documents_and_fields_differ_in_name_and_sign(
    books: Ledgers,
) -> None:
    books.rule |= {
        "left": {"documents": [f"left_{books.name}"]},
        "right": {"documents": [f"right_{books.name}"]},
        "equal": [{"left": "-amount", "right": "amount"}, "currency", "message"],
        "similar": [],
    }
    items = [
        bank("B1", 4, amount=-1000, text="T"),
        paid("P1", 3, text="T"),
        paid("P2", 3, text="U"),
        paid("P3", 3, amount=-1000, text="T"),
    ]
    await books.tell(*items)
    done = await books.match()
    assert (done.pairs, done.linked) == (1, 1)
    assert await books.linked(items) == {("B1", "P1")}
    proof = await books.proof(items[0], items[1])
    assert proof.fields == dict.fromkeys(("-amount = amount", "currency", "message"), "equal")


async def test_too_little_likeness_is_suggested_as_weak(books: Ledgers) -> None:
    await books.tell(bank("B1", 4), paid("P1", 2, "Ben Dorn"))
    assert (await books.match()).suggested == {"WEAK": 1}
    (candidate,) = (await books.suggested())["B1"].candidates
    assert (candidate.score, candidate.differs) == (50, ["counterparty"])


async def test_nothing_is_linked_before_both_sides_are_complete_beyond_a_rivals_day(
    books: Ledgers,
) -> None:
    items = bank("B1", 10), paid("P1", 8)
    await books.tell(*items)
    # a payment that rivals P1 lies by day 10, a bank line that rivals B1 by day 8 + 3
    for left, right in ((11, LONG_AFTER), (LONG_AFTER, 10)):
        assert (await books.match(left, right)).suggested == {"WAITING": 1}
    assert (await books.match(12, 11, dry_run=True)).linked == 1
    assert await books.linked(items) == set()
    assert (await books.match(12, 11)).linked == 1
    assert await books.suggested() == {}


async def test_what_is_linked_sets_its_lower_rivals_aside(books: Ledgers) -> None:
    # B2 may be either payment's by its name, but P1 is certainly B1's
    items = [
        bank("B1", 3, "Anna Dorn"),
        bank("B2", 4, "A. Dorn"),
        paid("P1", 3, "Anna Dorn"),
        paid("P2", 4, "Alma Dorn"),
    ]
    books.rule["margin"] = 5
    await books.tell(*items)
    assert (await books.match()).linked == 2
    assert await books.linked(items) == {("B1", "P1"), ("B2", "P2")}


async def test_a_later_rival_questions_the_link_and_changes_nothing(books: Ledgers) -> None:
    items = [bank("B1", 4), paid("P1", 2)]
    await books.tell(*items)
    await books.match()
    late = paid("P2", 3)
    await books.tell(late)

    assert (await books.match()).suggested == {"QUESTIONED": 1}
    assert await books.linked([*items, late]) == {("B1", "P1")}
    suggested = (await books.suggested())["B1"]
    linked = {c.document.number: c.linked and c.linked.number for c in suggested.candidates}
    assert linked == {"P1": "B1", "P2": None}
    with pytest.raises(Permanent, match="questioned"):
        await books.links.accept(suggested.id, 1, "seen")
    by_number = {c.document.number: c.n for c in suggested.candidates}
    with pytest.raises(Permanent, match="link undo"):
        await books.links.reject(suggested.id, by_number["P1"], "seen")
    await books.links.reject(suggested.id, by_number["P2"], "it is another's")
    assert (await books.match()).suggested == {}


async def test_a_link_that_nothing_speaks_for_any_more_is_questioned(books: Ledgers) -> None:
    items = [bank("B1", 4), paid("P1", 2)]
    await books.tell(*items)
    await books.match()
    await books.tell(items[1]._replace(amount=2000, day=3))  # told anew, with another amount
    assert (await books.match()).suggested == {"QUESTIONED": 1}
    (candidate,) = (await books.suggested())["B1"].candidates
    assert (candidate.document.number, candidate.score) == ("P1", 0)


async def test_what_a_source_or_a_person_joined_is_no_candidate(books: Ledgers) -> None:
    items = [bank("B1", 4, value="V"), paid("P1", 3, value="V"), bank("B2", 4), paid("P2", 3)]
    await books.tell(*items)
    assert (await books.match()).linked == 1
    assert await books.linked(items) == {("B2", "P2")}

    more = [bank("B3", 14), paid("P3", 13), paid("P4", 13)]
    await books.tell(*more)
    assert (await books.match()).suggested == {"AMBIGUOUS": 1}
    await books.links.add(books.id(more[0]).hex(), books.id(more[1]).hex(), "asked")
    assert (await books.match()).suggested == {}


async def test_what_a_source_joins_later_confirms_or_questions(books: Ledgers) -> None:
    items = [bank("B1", 4), paid("P1", 3), bank("B2", 14), paid("P2", 13), paid("P3", 30)]
    await books.tell(*items)
    assert (await books.match()).linked == 2
    await books.tell(
        bank("B1", 4, value="V", text="again"),
        paid("P1", 3, value="V", text="again"),
        bank("B2", 14, value="W", text="again"),
        paid("P3", 30, value="W", text="again"),
    )
    assert (await books.match()).suggested == {"QUESTIONED": 1}
    assert (await books.suggested()).keys() == {"B2"}


async def test_a_persons_cut_overrules_the_rule_for_good(books: Ledgers) -> None:
    items = [bank("B1", 4), paid("P1", 3)]
    await books.tell(*items)
    await books.match()
    one, other = (books.id(i).hex() for i in items)

    (cut,) = await books.links.cut(one, other, "another payee")

    assert (cut.action, cut.undone_by is None) == ("add", False)
    assert await books.linked(items) == set()
    done = await books.match()
    assert (done.linked, done.suggested) == (0, {})


async def test_what_a_person_cut_from_a_name_no_rule_links_again(books: Ledgers) -> None:
    items = [bank("B1", 4, value="V"), paid("P1", 3, value="V")]
    await books.tell(*items)
    one, other = (books.id(i).hex() for i in items)
    await books.links.cut(one, other, "the number is wrong")
    done = await books.match()
    assert (done.pairs, done.linked) == (0, 0)
    added = await books.links.add(one, other, "it was right")
    await books.links.undo(added.id, "it was not")
    assert (await books.match()).linked == 0


async def test_a_link_stands_unquestioned_when_the_names_behind_it_are_erased(
    database: Database, books: Ledgers
) -> None:
    await books.tell(bank("B1", 4), paid("P1", 3), paid("P2", 3, "Ben Dorn"))
    assert (await books.match()).linked == 1
    owner = await asyncpg.connect(database.dsn("tieout_owner"))
    await owner.execute("DELETE FROM tieout.personal")
    await owner.close()
    done = await books.match()
    assert (done.linked, done.suggested) == (0, {})


async def test_two_who_match_at_once_link_once(
    database: Database, conn: asyncpg.Connection, books: Ledgers
) -> None:
    items = [bank("B1", 4), paid("P1", 3), bank("B2", 14), paid("P2", 13), paid("P3", 13)]
    await books.tell(*items)
    second = await asyncpg.connect(database.dsn("tieout_app"))
    both = [
        Matcher(c, books.configuration({"left": LONG_AFTER, "right": LONG_AFTER}), limit, now)
        for c in (conn, second)
    ]
    looks = [await m._look(books.name, m._configuration.settings.links[books.name]) for m in both]
    for m, look in zip(both, looks, strict=True):
        await m._enter(look, look.links)
    await second.close()
    assert [look.matched.linked for look in looks] == [1, 0]
    assert await books.linked(items) == {("B1", "P1")}


async def test_a_person_accepts_a_candidate_and_what_the_rule_saw_is_kept(books: Ledgers) -> None:
    items = [bank("B1", 4), paid("P1", 2), paid("P2", 3)]
    await books.tell(*items)
    await books.match()
    suggested = (await books.suggested())["B1"]

    made = await books.links.accept(suggested.id, 2, "asked the payee")

    assert (made.actor, made.reason) == ("a person", "asked the payee")
    assert await books.linked(items) == {("B1", "P1")}
    proof = await books.proof(items[0], items[1])
    assert (proof.automatic, proof.score) == (False, 95)
    assert [(r.other, r.score) for r in proof.rivals] == [(books.id(items[2]).hex(), 95)]
    with pytest.raises(Permanent, match="no suggestion"):
        await books.links.accept(suggested.id, 1, "again")
    assert (await books.match()).suggested == {}


async def test_a_rejected_candidate_is_none_and_the_last_one_left_is_linked(books: Ledgers) -> None:
    items = [bank("B1", 4), paid("P1", 2), paid("P2", 3)]
    await books.tell(*items)
    await books.match()
    suggested = (await books.suggested())["B1"]
    (cut,) = await books.links.reject(suggested.id, 1, "of another payee")
    assert (await books.match()).linked == 1
    assert await books.linked(items) == {("B1", "P1")}
    await books.links.undo(cut.id, "it was hers")
    assert (await books.match()).suggested == {"QUESTIONED": 1}


async def test_a_suggestion_that_others_decided_about_meanwhile_is_not_accepted(
    books: Ledgers,
) -> None:
    items = [bank("B1", 4), paid("P1", 2), paid("P2", 3), bank("B9", 4)]
    await books.tell(*items)
    await books.match()
    suggested = (await books.suggested())["B1"]
    await books.links.add(books.id(items[3]).hex(), books.id(items[2]).hex(), "asked")
    with pytest.raises(Permanent, match="decided about"):
        await books.links.accept(suggested.id, 1, "seen")
    with pytest.raises(Permanent, match="2 candidates"):
        await books.links.accept(suggested.id, 3, "seen")


async def test_who_has_too_many_candidates_is_left_out_with_all_that_may_be_theirs(
    books: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(match, "CANDIDATES_MAX", 2)
    items = [bank("B1", 4), *(paid(f"P{n}", n + 1) for n in range(3))]
    items += [bank("B2", 6), bank("B3", 9, "Anna Kaya"), paid("P9", 9, "Anna Kaya")]
    await books.tell(*items)
    done = await books.match()
    assert (done.crowded, done.linked) == (1, 1)
    assert await books.linked(items) == {("B3", "P9")}
    assert (await books.suggested())["B2"].why == "WAITING"  # its only candidate may be B1's


async def test_links_of_rules_survive_a_rebuild_and_being_told_again(
    conn: asyncpg.Connection, books: Ledgers
) -> None:
    items = [bank("B1", 4), paid("P1", 2), bank("B2", 4, "B. Kaya"), paid("P2", 2, "Ben Kaya")]
    await books.tell(*items)
    assert (await books.match()).linked == 2
    before = await lines(conn)
    assert sum(b'"automatic":true' in line for line in before) == 2

    await rebuild(conn, limit, now)

    assert await lines(conn) == before
    await books.tell(*items)
    assert await lines(conn) == before
    assert await books.match() == match.Matched(books.name, version_of(books), pairs=4)


def version_of(books: Ledgers) -> str:
    (rule,) = books.configuration({}).settings.links.values()
    return rule.version


NAMES = ("Anna Dorn", "A. Dorn", "Ben Dorn", "Anna Kaya")
LIKENESS = {
    ("Anna Dorn", "A. Dorn"): 95,
    ("Anna Dorn", "Ben Dorn"): 50,
    ("A. Dorn", "Ben Dorn"): 50,
    ("Anna Dorn", "Anna Kaya"): 50,
    ("A. Dorn", "Anna Kaya"): 45,
    ("Ben Dorn", "Anna Kaya"): 0,
}
drawn = st.lists(
    st.tuples(
        st.sampled_from(["left", "right"]),
        st.integers(0, 9),
        st.sampled_from(NAMES),
        st.sampled_from([500, 700]),
        st.sampled_from(["", "", "", "v"]),
    ),
    min_size=2,
    max_size=10,
)


def items_of(rows: list[tuple[str, int, str, int, str]]) -> list[Item]:
    """What is joined happened on one day, so that it is known when its rivals are."""
    return [
        Item(side, f"{side}{n}", day, name, amount, value and f"{value}{day}")
        for n, (side, day, name, amount, value) in enumerate(rows)
    ]


def oracle(items: list[Item], margin: int, rng: Random) -> set[tuple[str, str]]:
    """Link one pair at a time, in any order, until none is left that may be linked."""

    def joined(a: Item) -> bool:
        return any(a.side != b.side and a.value == b.value != "" for b in items)

    def score(a: Item, b: Item) -> int:
        return LIKENESS.get((a.name, b.name), LIKENESS.get((b.name, a.name), 100))

    free = [i for i in items if not joined(i)]
    pairs = {
        (a, b): score(a, b)
        for a in free
        for b in free
        if (a.side, b.side) == ("left", "right")
        and a.amount == b.amount
        and 0 <= a.day - b.day <= DAYS
    }
    done: dict[tuple[Item, Item], int] = {}
    while True:
        taken = {end: s for pair, s in done.items() for end in pair}
        left = {
            p: s for p, s in pairs.items() if not any(taken.get(e, -99) >= s + margin for e in p)
        }
        ready = [
            p
            for p, s in left.items()
            if s >= ACCEPT
            and not taken.keys() & set(p)
            and all(o <= s - margin for q, o in left.items() if q != p and set(p) & set(q))
        ]
        if not ready:
            return {(a.number, b.number) for a, b in done}
        chosen = rng.choice(ready)
        done[chosen] = pairs[chosen]


@given(data=st.data(), rows=drawn, margin=st.sampled_from([5, 15]), rng=st.randoms())
@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_any_order_of_arrival_gives_the_links_that_all_pairs_give(
    conn: asyncpg.Connection,
    data: st.DataObject,
    rows: list[tuple[str, int, str, int, str]],
    margin: int,
    rng: Random,
) -> None:
    items = items_of(rows)
    books = Ledgers(conn, margin=margin)
    expected = oracle(items, margin, rng)
    coming = data.draw(st.permutations(items))
    while coming:
        n = data.draw(st.integers(1, len(coming)))
        told, coming = coming[:n], coming[n:]
        await books.tell(*told)
        known = {  # what has not come yet happens from then on
            side: min((i.day for i in coming if i.side == side), default=LONG_AFTER)
            for side in ("left", "right")
        }
        await books.match(known["left"], known["right"])
        assert await books.linked(items) <= expected
    assert await books.linked(items) == expected
