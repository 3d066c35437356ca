"""What joins is a function of the facts: any order, batching, duplication and interleaving of the same
events gives the same transactions, steps and amounts. The oracle is sets, written for this test."""

import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.clock import now
from collector.model.event import Event
from collector.model.reference import GROUP, IDENTITY, Name, digest
from collector.pipeline import correlate
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.dump import dump
from collector.pipeline.rebuild import rebuild
from collector.store import ingest, streams
from collector.store.embedded import Server
from tests.support.postgres import Database, fresh_database

HOLDERS_MAX = 3
COMPONENT_MAX = 6
START = datetime(2026, 1, 30, tzinfo=UTC)


class Fact(NamedTuple):
    """One event: about a document, holding identity values and a group value, of a type, at an hour."""

    document: int
    values: frozenset[int]
    group: int
    type: str
    hour: int
    amount: int | None


facts = st.lists(
    st.builds(
        Fact,
        st.integers(0, 8),
        st.frozensets(st.integers(0, 5), max_size=3),
        st.integers(0, 1),
        st.sampled_from(["made", "sent", "paid"]),
        st.integers(0, 90),  # over the end of a month
        st.none() | st.integers(-500, 500),
    ),
    min_size=1,
    max_size=14,
    unique=True,
)


def limit(_kind: str) -> int:
    return HOLDERS_MAX


def event(world: str, fact: Fact) -> Event:
    """Make the event of a fact, in a world of its own: examples share one database."""
    at = START + timedelta(hours=fact.hour)
    references = (
        *((IDENTITY, Name(f"value_{world}", "", str(v))) for v in sorted(fact.values)),
        (GROUP, Name(f"run_{world}", "", str(fact.group))),
    )
    document = Name(f"doc_{world}", "", str(fact.document))
    return Event(
        digest("test", world, repr(fact)),
        digest("content", repr(fact)),
        date(at.year, at.month, 1),
        1,
        at,
        f"doc.{fact.type}",
        document,
        references,
        None,
        fact.amount,
        None if fact.amount is None else "EUR",
        None,
        msgspec.json.encode({"document": document, "references": references}),
        None,
    )


def oracle_partition(world: list[Fact]) -> set[frozenset[int]]:
    """Join documents by shared values, leave out values with too many holders, suspend giants."""
    holders: dict[int, set[int]] = defaultdict(set)
    for fact in world:
        for value in fact.values:
            holders[value].add(fact.document)
    parts = [{d} for d in {fact.document for fact in world}]
    for held_by in holders.values():
        if len(held_by) <= HOLDERS_MAX:
            touched = [p for p in parts if p & held_by]
            parts = [p for p in parts if not p & held_by] + [set().union(*touched)]
    return {
        frozenset(piece)
        for p in parts
        for piece in ([p] if len(p) <= COMPONENT_MAX else [{d} for d in p])
    }


def oracle_steps(world: list[Fact]) -> dict[tuple[int, str], tuple[int, int, int, set[int | None]]]:
    """Per document and type: first hour, last hour, count, and the amounts that may be the last."""
    out: dict[tuple[int, str], tuple[int, int, int, set[int | None]]] = {}
    for fact in world:
        same = [f for f in world if (f.document, f.type) == (fact.document, fact.type)]
        hours = [f.hour for f in same]
        last = {f.amount for f in same if f.hour == max(hours)}
        out[fact.document, f"doc.{fact.type}"] = min(hours), max(hours), len(same), last
    return out


async def partition(conn: asyncpg.Connection, world: str) -> set[frozenset[int]]:
    found = await conn.fetch(
        "SELECT array_agg(r.value::int) FROM tieout.membership(1000000) m"
        " JOIN tieout.reference r ON r.document = m.document AND r.role = 0"
        " WHERE m.kind = $1 GROUP BY m.component",
        f"doc_{world}",
    )
    return {frozenset(row[0]) for row in found}


async def steps(conn: asyncpg.Connection, world: str) -> dict[tuple[int, str], Any]:
    found = await conn.fetch(
        "SELECT r.value, s.* FROM tieout.step s JOIN tieout.reference r ON r.document = s.document"
        " AND r.role = 0 AND r.kind = $1",
        f"doc_{world}",
    )
    hour = timedelta(hours=1)
    return {
        (int(r["value"]), r["type"]): (
            (r["first_at"] - START) // hour,
            (r["last_at"] - START) // hour,
            r["n"],
            r["amount_minor"],
        )
        for r in found
    }


@pytest.fixture
async def pair(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[asyncpg.Connection]]:
    """Two collectors' connections to one store, with limits that small worlds reach."""
    monkeypatch.setattr(correlate, "COMPONENT_DOCUMENTS_MAX", COMPONENT_MAX)
    async with AsyncExitStack() as stack:
        conns = []
        for _ in range(2):
            conn = await asyncpg.connect(database.dsn("tieout_app"))
            stack.push_async_callback(conn.close)
            conns.append(conn)
        yield conns


worlds = itertools.count()


async def write(conns: list[asyncpg.Connection], batches: list[list[Event]]) -> None:
    stream = await streams.register(conns[0], "test", "test", "test")
    for conn, events in zip(itertools.cycle(conns), batches, strict=False):
        row = ingest.BatchRow(0, stream, None, "test", "m", None, None, read=len(events))
        await commit(conn, batch_of(row, events), limit, now)


async def lines(conn: asyncpg.Connection) -> list[bytes]:
    return [line async for line in dump(conn, [], None, now())]


@given(data=st.data(), world_facts=facts)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_any_order_batching_and_duplication_gives_what_the_sets_give(
    pair: list[asyncpg.Connection], data: st.DataObject, world_facts: list[Fact]
) -> None:
    world = str(next(worlds))
    again = data.draw(st.lists(st.sampled_from(world_facts), max_size=5))
    delivered = data.draw(st.permutations([*world_facts, *again]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(delivered)), max_size=4)))
    edges = [0, *cuts, len(delivered)]
    batches = [
        [event(world, f) for f in delivered[a:b]] for a, b in itertools.pairwise(edges) if a < b
    ]
    await write(pair, batches)

    assert await partition(pair[0], world) == oracle_partition(world_facts)
    expected = oracle_steps(world_facts)
    found = await steps(pair[0], world)
    assert found.keys() == expected.keys()
    for key, (first, last, n, amounts) in expected.items():
        assert found[key][:3] == (first, last, n)
        assert found[key][3] in amounts


async def test_a_record_told_again_beside_its_revision_of_another_month_is_no_new_one(
    pair: list[asyncpg.Connection],
) -> None:
    february = event("revised", Fact(0, frozenset(), 0, "made", 60, 20))
    january = msgspec.structs.replace(
        event("revised", Fact(0, frozenset(), 0, "made", 1, 10)), event_id=february.event_id
    )
    await write(pair, [[february], [january, february], [february], [january]])
    stored = await pair[0].fetch("SELECT month, revision_no FROM tieout.event ORDER BY month")
    assert [tuple(row) for row in stored] == [(date(2026, 1, 1), 0), (date(2026, 2, 1), 0)]
    counted = await pair[0].fetch("SELECT accepted, duplicate FROM tieout.batch ORDER BY seq")
    assert [tuple(row) for row in counted] == [(1, 0), (1, 0), (0, 1), (0, 1)]


@pytest.mark.parametrize("together", [True, False])
async def test_an_event_told_again_of_another_document_counts_once(
    pair: list[asyncpg.Connection], *, together: bool
) -> None:
    first = event("moved", Fact(0, frozenset(), 0, "made", 1, 10))
    other = event("moved", Fact(1, frozenset(), 0, "made", 2, 20))
    again = msgspec.structs.replace(other, event_id=first.event_id)
    await write(pair, [[first, again]] if together else [[first], [again]])
    assert await pair[0].fetchval("SELECT count(*) FROM tieout.revised") == 1
    before = await lines(pair[0])
    await rebuild(pair[0], limit, now)
    assert await lines(pair[0]) == before


@pytest.mark.parametrize("amounts", [(None,), (None, None), (7, None), (None, 7)])
async def test_a_step_may_gain_events_without_an_amount(
    pair: list[asyncpg.Connection], amounts: tuple[int | None, ...]
) -> None:
    """One batch adds to as many stored steps as there are amounts; one of a single step is its own text of numbers."""
    told = list(enumerate(amounts))
    first = [event("bare", Fact(d, frozenset(), 0, "made", 1, 5)) for d, _ in told]
    later = [event("bare", Fact(d, frozenset(), 0, "made", 2, amount)) for d, amount in told]
    await write(pair[:1], [first, later])
    assert await steps(pair[0], "bare") == {
        (d, "doc.made"): (1, 2, 2, amount) for d, amount in told
    }


@given(data=st.data(), world_facts=facts)
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_a_rebuild_changes_not_a_byte_of_the_dump(
    pair: list[asyncpg.Connection], data: st.DataObject, world_facts: list[Fact]
) -> None:
    world = str(next(worlds))
    delivered = data.draw(st.permutations(world_facts))
    cut = data.draw(st.integers(0, len(delivered)))
    batches = [
        [event(world, f) for f in part] for part in (delivered[:cut], delivered[cut:]) if part
    ]
    await write(pair, batches)
    before = await lines(pair[0])

    await rebuild(pair[0], limit, now)

    assert await lines(pair[0]) == before
    assert before


async def test_the_same_facts_in_two_stores_give_the_same_bytes(
    pair: list[asyncpg.Connection], server: Server
) -> None:
    world = [Fact(d, frozenset({d // 2, 5}), d % 2, "made", d, 100 * d) for d in range(8)]
    events = [event("same", f) for f in world]
    await write(pair, [events])
    async with fresh_database(server) as other:
        conn = await asyncpg.connect(other.dsn("tieout_app"))
        try:
            await write([conn], [[e] for e in reversed(events)])
            assert await lines(conn) == await lines(pair[0])
        finally:
            await conn.close()
