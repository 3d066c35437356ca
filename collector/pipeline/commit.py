"""One batch, one database transaction: dedupe, correlate, fold steps, commit.

The first attempt is optimistic: facts are copied without a lock, and only then the one lock is taken
to decide what joins. It gives way to the careful road (lock first, look for known events) when the
database refuses a duplicate, or when somebody else entered one of the batch's documents meanwhile.

On the careful road a batch can still meet an event that an optimistic one has copied and not committed:
the one waits for the event, the other for the lock, and the database ends one of them. Where that is the
careful one, it tries again: the other has the lock by then, and its event is known when it is free.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain

import msgspec

from collector.clock import Clock
from collector.model.event import Event
from collector.pipeline.correlate import Limit
from collector.pipeline.documents import Contended, Correlation, Memory
from collector.pipeline.prepare import HASH_TOTAL_MODULUS, prepare, without
from collector.pipeline.prepared import Prepared
from collector.store import ingest, quarantine, rows, snapshots

DEADLOCKS_MAX = 5
"""Each takes the database a second to notice, and means another collector with the same new event."""


class TakenBack(msgspec.Struct, frozen=True):
    """What a batch takes from the totals of its stream: events that stand no more, and records without any."""

    records: int = 0
    events: int = 0
    amounts: dict[str, int] = {}
    hash_total: int = 0


NOTHING_BACK = TakenBack()


class Batch(msgspec.Struct):
    """All that one transaction is to commit.

    `redelivered`: the source gives the same record repeatedly. `back`: what other events are made instead of.
    `whole`: the list that was read whole with it.
    """

    row: ingest.BatchRow
    prepared: Prepared
    quarantined: Sequence[quarantine.Quarantined] = ()
    resolutions: Sequence[quarantine.Resolution] = ()
    redelivered: bool = False
    back: TakenBack = NOTHING_BACK
    whole: snapshots.Whole | None = None


def batch_of(
    row: ingest.BatchRow,
    events: Sequence[Event],
    resolutions: Sequence[quarantine.Resolution] = (),
) -> Batch:
    """Make a batch of events that are at hand."""
    return Batch(row, prepare(events), resolutions=resolutions)


async def commit(
    conn: ingest.Connection,
    batch: Batch,
    limit: Limit,
    clock: Clock,
    *,
    careful: bool = False,
    memory: Memory | None = None,
) -> ingest.BatchRow:
    """Commit a batch in one transaction; return its row with what became of its records."""
    memory = Memory() if memory is None else memory
    await ingest.ensure_partitions(conn, batch.prepared.months - memory.partitions)
    memory.partitions |= batch.prepared.months
    writer = _Writer(conn, batch, limit, clock, memory)
    if not careful:
        with suppress(*ingest.COLLISIONS, Contended):
            return await writer.attempt(careful=False)
    for _ in range(DEADLOCKS_MAX):
        with suppress(ingest.Deadlock):
            return await writer.attempt(careful=True)
    return await writer.attempt(careful=True)


class _Writer:
    """Writes one batch."""

    def __init__(
        self,
        conn: ingest.Connection,
        batch: Batch,
        limit: Limit,
        clock: Clock,
        memory: Memory,
    ) -> None:
        self.conn = conn
        self.batch = batch
        self.limit = limit
        self.clock = clock
        self.memory = memory

    async def attempt(self, *, careful: bool) -> ingest.BatchRow:
        transaction = self.conn.transaction()
        await transaction.start()
        try:
            work, row, seq = await self._write(careful=careful)
        except BaseException:
            await transaction.rollback()
            raise
        try:
            await asyncio.gather(transaction.commit(), self._learn(work))
        except BaseException:
            self.memory.clear()
            raise
        self.memory.committed = seq
        return row

    async def _learn(self, work: Correlation) -> None:
        """Remember the documents of a batch while the disk takes it."""
        work.learn(self.memory)

    async def _write(self, *, careful: bool) -> tuple[Correlation, ingest.BatchRow, int]:
        conn, batch = self.conn, self.batch
        await ingest.plan_by_key(conn)
        p = batch.prepared
        if careful:
            before = await ingest.lock(conn)
            known = await ingest.known_events(conn, list(map(rows.event_key, p.tails)))
            if known or not all(p.references):  # nothing is taken on trust here
                p = without(p, known)
        else:
            before = await ingest.last_seq(conn)
        memory = Memory(numbers=self.memory.numbers) if careful else self.memory
        memory.believe(await ingest.last_supersession(conn))
        row = msgspec.structs.replace(batch.row, id=await ingest.next_batch(conn))
        work = Correlation(conn, p, self.limit, memory)
        await work.look_up()
        # packing goes on while the database takes the facts
        await asyncio.gather(
            self._copy_facts(p, row, work.ids), asyncio.to_thread(work.pack, row.id)
        )
        last = before if careful else await ingest.lock(conn)
        if last != before:
            if not careful and not self.memory.believe(await ingest.last_supersession(conn)):
                raise Contended
            await work.look_up_again()
        since = self.memory.committed or before
        if self.memory.alone and last != since:
            self.memory.alone = not await ingest.wrote_events(conn, since, last)
        if not (careful or self.memory.alone):
            await work.look_for_steps()
        seq = last + 1
        await ingest.append_commit(conn, seq, "batch", self.clock())
        await work.write(seq)
        await self._count(p, row)
        await ingest.insert_batch(conn, seq, row)
        await quarantine.resolve(conn, seq, batch.resolutions)
        if batch.whole is not None:
            await snapshots.enter(conn, row.id, batch.whole)
        return work, row, seq

    async def _copy_facts(self, p: Prepared, row: ingest.BatchRow, ids: list[int]) -> None:
        heads = rows.event_heads(row.id, map(ids.__getitem__, p.document_of))
        await ingest.copy(self.conn, "event", chain.from_iterable(zip(heads, p.tails, strict=True)))
        if p.personal:
            await ingest.copy_personal(self.conn, p.personal)
        if p.raw:
            await ingest.copy_raw(self.conn, row.id, p.raw)

    async def _count(self, p: Prepared, row: ingest.BatchRow) -> None:
        batch = self.batch
        kept_out = batch.quarantined
        if batch.redelivered:
            kept_out = await quarantine.unknown(self.conn, row.stream, kept_out)
        new = await quarantine.insert(self.conn, row.id, row.stream, row.part_name, kept_out)
        back = batch.back
        row.accepted = p.accepted - back.records
        row.duplicate = batch.prepared.delivered - p.accepted + len(batch.quarantined) - new
        row.quarantined = new
        row.events = len(p.tails) - back.events
        row.amounts = {
            currency: p.amounts.get(currency, 0) - back.amounts.get(currency, 0)
            for currency in p.amounts | back.amounts
        }
        row.hash_total = (p.hash_total - back.hash_total) % HASH_TOTAL_MODULUS
