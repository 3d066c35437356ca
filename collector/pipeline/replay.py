"""Quarantined records, tried again with the mapping as it is now, or accepted as they are.

A record goes through the same mapping and the same careful road as any other. Each batch is one transaction, with what
became of each of its records: after a crash the next replay finds only what is left.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from collector.clock import Clock
from collector.connector import Fault, Record
from collector.errors import Permanent
from collector.model.event import Event
from collector.pipeline.ahead import Source, latest, map_records
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.correlate import Limit
from collector.store import ingest, quarantine, streams
from collector.store.quarantine import Pending, Replayed, Resolution

BATCH_RECORDS = 1_000
REFUSED_SHOWN_MAX = 100

UNPARSED = (
    "The record could not be parsed, so no mapping can mend it: correct the source and read it again, or accept "
    "the record with a reason."
)

Progress = Callable[[int], None]
"""Told after each batch how many records it tried."""

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class Outcome(msgspec.Struct):
    """What became of a replay.

    `refused` did not come in, for reasons of which the first are in `sentences`, by id. Not tried: `unchanged`, for the
    mapping that refused them is the one in force, and `unconfigured`, of streams that no source has any more.
    """

    replayed: int = 0
    refused: int = 0
    unchanged: int = 0
    unconfigured: int = 0
    sentences: dict[int, str] = {}


class Asked(msgspec.Struct, frozen=True):
    """Which open records are tried; without `force` only those that the mapping in force has not refused."""

    reason: str | None = None
    ids: list[int] | None = None
    force: bool = False


class Replay:
    """Replays over one connection, in the name of one person."""

    def __init__(self, conn: ingest.Connection, limit: Limit, clock: Clock, actor: str) -> None:
        self._conn = conn
        self._limit = limit
        self._clock = clock
        self._actor = actor

    async def run(
        self, sources: Sequence[Source], asked: Asked, progress: Progress | None = None
    ) -> Outcome:
        """Map the open records of streams again; those that map now are committed and count as replayed."""
        outcome = Outcome(sentences={})
        for source in sources:
            stream = await streams.register(
                self._conn, source.source, source.stream, source.namespace
            )
            chosen = Replayed(stream, asked.force, source.mapping.version, asked.reason, asked.ids)
            due, same = await quarantine.count_to_replay(self._conn, chosen)
            outcome.unchanged += same
            after = 0
            while due and (
                batch := await quarantine.to_replay(self._conn, chosen, after, BATCH_RECORDS)
            ):
                await self._batch(source, stream, batch, outcome)
                after = batch[-1].id
                if progress is not None:
                    progress(len(batch))
        if len(sources) > 1 and not asked.ids:
            known = [await streams.register(self._conn, *s[:3]) for s in sources]
            outcome.unconfigured = await quarantine.open_elsewhere(self._conn, known)
        return outcome

    async def _batch(
        self, source: Source, stream: int, batch: Sequence[Pending], outcome: Outcome
    ) -> None:
        """Map a batch of records, and commit what became of them."""
        version = source.mapping.version
        events, faults, ignored = _mapped(source, batch, latest(self._clock))
        came = [pending.id for pending in batch if pending.id not in faults]
        row = ingest.BatchRow(
            0, stream, None, "quarantine", version, None, None, len(came), ignored=ignored
        )
        resolutions = [Resolution(n, "replayed", "mapping mended", self._actor) for n in came]
        prepared = batch_of(row, events, resolutions)
        await ingest.ensure_partitions(self._conn, prepared.prepared.months)
        async with self._conn.transaction():
            await commit(self._conn, prepared, self._limit, self._clock, careful=True)
            await quarantine.refuse(self._conn, await ingest.last_seq(self._conn), version, faults)
        outcome.replayed += len(came)
        outcome.refused += len(faults)
        for pending in batch:
            if pending.id in faults and len(outcome.sentences) < REFUSED_SHOWN_MAX:
                said = faults[pending.id].sentence if pending.body is not None else UNPARSED
                outcome.sentences[pending.id] = said


def _mapped(
    source: Source, batch: Sequence[Pending], until: datetime
) -> tuple[list[Event], dict[int, Fault], int]:
    """Map records; return their events, why others cannot be mapped, and how many the mapping ignores."""
    events: list[Event] = []
    faults: dict[int, Fault] = {}
    ignored = 0
    for pending in batch:
        if pending.body is None:
            faults[pending.id] = pending.fault
            continue
        # its position says which quarantined record it was
        record = Record(pending.id, _decode(pending.body))
        made, failed, passed_over = map_records([record], source.mapping, until)
        events += made
        ignored += passed_over
        if failed:
            faults[pending.id] = failed[0].fault
    return events, faults, ignored


async def accept(
    conn: ingest.Connection, entry: int, reason: str, actor: str, clock: Clock
) -> None:
    """Accept a quarantined record as it is: it is no gap any more, and counts as excluded.

    Raises:
        Permanent: there is no such record, or it was resolved before.
    """
    await quarantine.body(conn, entry)
    async with conn.transaction():
        seq = await ingest.lock(conn) + 1
        await ingest.append_commit(conn, seq, "quarantine resolution", clock())
        try:
            await quarantine.resolve(conn, seq, [Resolution(entry, "accepted", reason, actor)])
        except ingest.COLLISIONS:
            raise Permanent(f"Record {entry} was resolved before.") from None
