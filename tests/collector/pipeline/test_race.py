"""Two collectors that both looked before either committed: what they share is joined all the same."""

import asyncio

import asyncpg
import pytest

from collector.clock import now
from collector.pipeline.commit import batch_of, commit
from collector.store import ingest, streams
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


async def until_waiting(conn: asyncpg.Connection, writers: int) -> None:
    """Wait until so many stand before the one lock."""
    async with asyncio.timeout(PATIENCE_S):
        while await conn.fetchval(WAITING) < writers:  # noqa: ASYNC110 -- the others' doing
            await asyncio.sleep(0.01)
