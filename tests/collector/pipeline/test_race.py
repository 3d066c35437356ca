"""Two collectors that both looked before either committed: what they share is joined all the same."""

import asyncio
from typing import Any

import asyncpg
import pytest

from collector.clock import now
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.documents import Memory
from collector.store import folds, ingest, streams
from tests.collector.pipeline.test_order import (
    Fact,
    event,
    limit,
    oracle_partition,
    oracle_steps,
    pair,
    partition,
    steps,
)
from tests.support.postgres import Database

__all__ = ["pair"]  # the fixture
PATIENCE_S = 20.0
DEADLOCK_S = 1.5  # more than PostgreSQL's deadlock_timeout
WAITING = """
SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()
"""
SHARED = {
    "a document": (
        [Fact(0, frozenset(), 0, "made", 1, 10)],
        [Fact(0, frozenset(), 0, "sent", 2, 10)],
    ),
    "an identity": (
        [Fact(1, frozenset({1}), 0, "made", 1, 10)],
        [Fact(2, frozenset({1}), 0, "made", 2, 20)],
    ),
    "both, and a chain": (
        [Fact(0, frozenset({1}), 0, "made", 1, 10), Fact(1, frozenset({2}), 0, "made", 3, 10)],
        [Fact(0, frozenset({2}), 0, "sent", 2, 10), Fact(2, frozenset({1}), 0, "paid", 4, 20)],
    ),
    "a value that too many hold together": (
        [Fact(n, frozenset({1}), 0, "made", n, 10) for n in range(2)],
        [Fact(n, frozenset({1}), 0, "made", n, 10) for n in range(2, 4)],
    ),
}


@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize("first", [0, 1])
async def test_what_two_share_that_looked_before_either_committed_is_joined_once(
    database: Database, pair: list[asyncpg.Connection], shared: str, first: int
) -> None:
    batches = SHARED[shared]
    stream = await streams.register(pair[0], "test", "test", "test")
    await ingest.ensure_partitions(pair[0], {event("race", f).month for b in batches for f in b})

    async def write(conn: asyncpg.Connection, facts: list[Fact]) -> ingest.BatchRow:
        events = [event("race", f) for f in facts]
        row = ingest.BatchRow(0, stream, None, "test", "m", None, None, read=len(events))
        return await commit(conn, batch_of(row, events), limit, now)

    holder = await asyncpg.connect(database.dsn("tieout_app"))
    try:
        async with holder.transaction():
            await ingest.lock(holder)
            writers = []
            for conn, facts in zip(pair, (batches[first], batches[1 - first]), strict=True):
                writers.append(asyncio.create_task(write(conn, facts)))
                await until_waiting(holder, len(writers))  # it has looked, and copied its facts
        rows = await asyncio.wait_for(asyncio.gather(*writers), PATIENCE_S)
        committed = await ingest.last_seq(holder)
    finally:
        await holder.close()
    assert committed == 2
    assert [row.events for row in rows] == [len(batches[first]), len(batches[1 - first])]
    world = [*batches[0], *batches[1]]
    assert await partition(pair[0], "race") == oracle_partition(world)
    found = await steps(pair[0], "race")
    assert {key: found[key][:3] for key in found} == {
        key: expected[:3] for key, expected in oracle_steps(world).items()
    }
    names = "SELECT count(*), count(DISTINCT content_id) FROM tieout.document"
    documents = len({fact.document for fact in world})
    assert tuple(await pair[0].fetchrow(names)) == (documents, documents)


async def test_a_careful_collector_outlives_an_event_that_an_optimistic_one_has_copied(
    database: Database, pair: list[asyncpg.Connection]
) -> None:
    """The careful one has the lock and waits for the event, the other has the event and waits for the lock."""
    facts = [Fact(0, frozenset({1}), 0, "made", 1, 10)]
    events = [event("race", f) for f in facts]
    stream = await streams.register(pair[0], "test", "test", "test")
    await ingest.ensure_partitions(pair[0], {e.month for e in events})

    async def write(conn: asyncpg.Connection, *, careful: bool) -> ingest.BatchRow:
        row = ingest.BatchRow(0, stream, None, "test", "m", None, None, read=len(events))
        return await commit(conn, batch_of(row, events), limit, now, careful=careful)

    holder = await asyncpg.connect(database.dsn("tieout_app"))
    try:
        async with holder.transaction():
            await ingest.lock(holder)
            careful = asyncio.create_task(write(pair[0], careful=True))
            await until_waiting(holder, 1)  # first in the queue for the lock
            optimistic = asyncio.create_task(write(pair[1], careful=False))
            await until_waiting(holder, 2)  # it has copied the event
            await asyncio.sleep(DEADLOCK_S)  # it has looked for a deadlock, and will not look again
        rows = await asyncio.wait_for(asyncio.gather(careful, optimistic), PATIENCE_S)
    finally:
        await holder.close()
    assert sorted((row.accepted, row.duplicate) for row in rows) == [(0, 1), (1, 0)]
    found = await steps(pair[0], "race")
    assert found == {(0, "doc.made"): (1, 1, 1, 10)}


async def until_waiting(conn: asyncpg.Connection, writers: int) -> None:
    """Wait until so many stand before the one lock."""
    async with asyncio.timeout(PATIENCE_S):
        while await conn.fetchval(WAITING) < writers:  # noqa: ASYNC110 -- the others' doing
            await asyncio.sleep(0.01)


async def test_a_step_that_another_made_is_added_to_and_no_batch_begins_anew(
    pair: list[asyncpg.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = [
        Fact(0, frozenset({1}), 0, what, hour, amount)
        for hour, (what, amount) in enumerate(
            [("made", 10), ("sent", 20), ("sent", 30), ("made", 40), ("paid", 50), ("paid", 60)]
        )
    ]
    stream = await streams.register(pair[0], "test", "test", "test")
    begun_anew = []
    known_events = ingest.known_events

    async def careful(*arguments: Any) -> Any:  # noqa: ANN401 -- as known_events
        begun_anew.append(True)
        return await known_events(*arguments)

    monkeypatch.setattr(ingest, "known_events", careful)
    memories = [Memory(10), Memory(10)]
    for n, fact in enumerate(facts):  # in turn; neither knows what the other has made
        row = ingest.BatchRow(0, stream, None, "test", "m", None, None, read=1)
        batch = batch_of(row, [event("turns", fact)])
        await commit(pair[n % 2], batch, limit, now, memory=memories[n % 2])
    expected = {key: (*rest, *amounts) for key, (*rest, amounts) in oracle_steps(facts).items()}
    assert await steps(pair[0], "turns") == expected
    assert not begun_anew


@pytest.mark.parametrize(("what", "alone"), [("control run", True), ("batch", False)])
async def test_only_others_that_write_events_make_a_collector_look_for_its_steps(
    pair: list[asyncpg.Connection], monkeypatch: pytest.MonkeyPatch, what: str, *, alone: bool
) -> None:
    facts = [Fact(0, frozenset({1}), 0, verb, n, 10) for n, verb in enumerate(("made", "sent"))]
    stream = await streams.register(pair[0], "test", "test", "test")
    looked, known_steps = [], folds.known_steps

    async def counted(conn: asyncpg.Connection, asked: Any) -> Any:  # noqa: ANN401 -- as known_steps
        looked.extend(asked)
        return await known_steps(conn, asked)

    monkeypatch.setattr(folds, "known_steps", counted)
    memory = Memory(10)
    for fact in facts:
        row = ingest.BatchRow(0, stream, None, "test", "m", None, None, read=1)
        await commit(pair[0], batch_of(row, [event("turns", fact)]), limit, now, memory=memory)
        async with pair[1].transaction():
            seq = await ingest.lock(pair[1]) + 1
            await ingest.append_commit(pair[1], seq, what, now())
    assert (not looked) == alone
