"""A document that an earlier chunk of the pass has told whole goes by its name alone."""

import pickle
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime

import asyncpg
import msgspec
import pytest
from asyncpg.transaction import Transaction

from collector.clock import now
from collector.model.event import Event
from collector.model.reference import IDENTITY, Name, content_id, digest
from collector.pipeline.commit import Batch, batch_of, commit
from collector.pipeline.documents import Memory
from collector.pipeline.prepare import Preparation, Told
from collector.pipeline.prepared import Prepared
from collector.store import ingest, rows, streams
from tests.support.postgres import Database

INVOICE = Name("invoice", "", "I-1")
ORDER, CASE = Name("order", "", "O-1"), Name("case", "", "C-1")


def event(n: int, *others: Name, document: Name = INVOICE) -> Event:
    references = tuple((IDENTITY, name) for name in others)
    return Event(
        event_id=digest("event", str(n)),
        revision=digest("revision", str(n)),
        month=date(2026, 1, 1),
        position=n,
        occurred_at=datetime(2026, 1, n + 1, tzinfo=UTC),
        type="invoice.changed",
        document=document,
        references=references,
        sequence=None,
        amount_minor=n,
        currency="EUR",
        entity=None,
        body=msgspec.json.encode({"document": document, "references": references}),
        personal=None,
    )


def packed(events: list[Event], told: Told | None = None) -> Prepared:
    preparation = Preparation(told=told)
    preparation.add(events)
    return preparation.done()


def names(p: Prepared) -> list[list[tuple[int, bytes]]]:
    return [[rows.reference_of(tail)[:2] for tail in told] for told in p.references]


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.dsn("tieout_app"))
    yield connection
    await connection.close()


async def enter(
    conn: asyncpg.Connection, events: list[Event], told: Told | None, memory: Memory
) -> None:
    stream = await streams.register(conn, "erp", "books", "books")
    row = ingest.BatchRow(0, stream, None, "part", "mapping", None, None, read=len(events))

    batch = Batch(row, packed(events, told))
    await commit(conn, batch, lambda _kind: 20, now, memory=memory)


async def named(conn: asyncpg.Connection) -> list[tuple[str, int]]:
    found = await conn.fetch("SELECT value, role FROM tieout.reference ORDER BY role, value")
    return [(row["value"], row["role"]) for row in found]


def test_what_is_told_once_is_not_told_again_unless_it_is_more() -> None:
    told = Told(10)
    own, order, case = (0, content_id(INVOICE)), (1, content_id(ORDER)), (1, content_id(CASE))

    chunks = [packed([event(n, *held)], told) for n, held in enumerate([(ORDER,), (ORDER,), (ORDER, CASE), (ORDER,)])]  # fmt: skip

    assert [names(p) for p in chunks] == [[[own, order]], [[]], [[own, order, case]], [[own, order]]]  # fmt: skip
    assert [p.names for p in chunks] == [[content_id(INVOICE)]] * 4
    assert names(packed([event(9, ORDER)])) == [[own, order]], "without a pass nothing is taken on trust"  # fmt: skip


@pytest.mark.parametrize("forgetful", [False, True])
async def test_the_store_is_the_same_as_if_all_were_told(
    conn: asyncpg.Connection, *, forgetful: bool
) -> None:
    told = Told(10)
    memory = Memory(10)
    joined = Name("invoice", "", "I-2")
    chunks = [
        [event(0, ORDER)],
        [event(1, ORDER), event(2, INVOICE, document=joined)],  # who names a document that is told
        [event(3, ORDER, CASE)],
        [event(4, ORDER)],
    ]
    for chunk in chunks:
        await enter(conn, chunk, told, Memory(10) if forgetful else memory)

    assert await named(conn) == [("I-1", 0), ("I-2", 0), ("C-1", 1), ("I-1", 1), ("O-1", 1)]
    assert await conn.fetchval("SELECT count(DISTINCT component) FROM tieout.document") == 1
    assert await conn.fetch("SELECT n, amount_minor FROM tieout.step ORDER BY n") == [(1, 2), (4, 4)]  # fmt: skip


async def test_what_was_told_and_is_not_there_is_told_after_all(conn: asyncpg.Connection) -> None:
    told = Told(10)
    packed([event(0, ORDER)], told)  # whatever became of that chunk

    await enter(conn, [event(1, ORDER)], told, Memory(10))

    assert await named(conn) == [("I-1", 0), ("O-1", 1)]
    assert await conn.fetchval("SELECT count(*) FROM tieout.event") == 1


async def test_on_the_careful_road_everything_is_told(conn: asyncpg.Connection) -> None:
    told = Told(10)
    await enter(conn, [event(0, ORDER)], told, Memory(10))

    await enter(conn, [event(0, ORDER), event(1, ORDER)], told, Memory(10))  # one of them is known

    assert await conn.fetchval("SELECT count(*) FROM tieout.event") == 2
    assert await named(conn) == [("I-1", 0), ("O-1", 1)]


async def test_nothing_is_remembered_of_a_batch_whose_commit_fails(
    conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(10)

    async def fail(transaction: Transaction) -> None:
        await transaction.rollback()
        raise asyncpg.QueryCanceledError

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "commit", fail)
        with pytest.raises(asyncpg.QueryCanceledError):
            await enter(conn, [event(0, ORDER)], None, memory)
    await enter(conn, [event(0, ORDER), event(1, ORDER)], None, memory)

    assert await named(conn) == [("I-1", 0), ("O-1", 1)]
    assert await conn.fetch("SELECT n, amount_minor FROM tieout.step") == [(2, 1)]


async def test_numbers_that_a_batch_left_are_for_the_next(conn: asyncpg.Connection) -> None:
    memory = Memory(10)
    events = [
        msgspec.structs.replace(
            event(0, document=Name("invoice", "", str(n))), event_id=digest("event", str(n))
        )
        for n in range(1_003)
    ]
    for some in (events[:2], events[2:]):  # from one thousand into the next
        await enter(conn, some, None, memory)
    found = await conn.fetch("SELECT id FROM tieout.document ORDER BY id")
    assert [row["id"] for row in found] == list(range(1, 1_004))


def test_a_batch_crosses_to_another_process_whole() -> None:
    p = packed([event(0, ORDER), event(1, ORDER, CASE)])
    p.raw = [(0, (b"raw", b"{}"))]
    p.amounts["EUR"] = 2**70  # MessagePack has no such number

    assert pickle.loads(pickle.dumps(p)) == p  # noqa: S301 -- our own


async def test_a_batch_of_events_at_hand_is_whole(conn: asyncpg.Connection) -> None:
    stream = await streams.register(conn, "erp", "books", "books")
    row = ingest.BatchRow(0, stream, None, "part", "mapping", None, None, read=1)
    assert all(batch_of(row, [event(0, ORDER)]).prepared.references)
