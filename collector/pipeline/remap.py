"""Records that are in the store, mapped again by the mapping as it is now.

Only what comes out otherwise is written: an event with other content becomes a further revision, and the one before, as one
that the mapping no longer makes, stands no more. Nothing is changed or deleted, and what was known at any time stays known.
Afterwards documents, transactions and steps are those of a store that had this mapping from the beginning.

A batch of records is one transaction, and what was done is entered with it: after a crash the next run finds what is left.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from collector.clock import Clock
from collector.connector import Record
from collector.errors import Refused
from collector.model.event import Event
from collector.model.reference import Name, content_id
from collector.pipeline.ahead import Source, latest, map_records
from collector.pipeline.changes import Change, Changes, told_by
from collector.pipeline.commit import Batch, TakenBack, commit
from collector.pipeline.correlate import Limit
from collector.pipeline.prepare import HASH_TOTAL_MODULUS, prepare
from collector.pipeline.retell import retell
from collector.store import ingest, remappings, streams, supersessions
from collector.store.quarantine import Quarantined
from collector.store.remappings import Kept, Origin, Stored

CHANGES_SHOWN_MAX = 20

Progress = Callable[[int, int], None]
"""Told after each batch how many of how many records have been mapped again."""

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class Report(msgspec.Struct):
    """What a mapping makes otherwise of a stream's records than the mappings before it.

    Of `records` that were mapped again `changed` come out otherwise: `added`, `replaced` and `withdrawn` count events,
    `refused` records that the mapping cannot take, which are quarantined. `not_kept` were accepted and `not_known` ignored by
    the earlier mappings, and are not in the store: only reading the source again can tell. `transactions` counts those that
    change, `changes` are the first.
    """

    source: str
    stream: str
    mapping: str
    records: int = 0
    changed: int = 0
    added: int = 0
    replaced: int = 0
    withdrawn: int = 0
    refused: int = 0
    not_kept: int = 0
    not_known: int = 0
    transactions: int = 0
    changes: list[Change] = []


class Difference(msgspec.Struct):
    """What becomes of a batch's records: new events, those that stand no more, and records that are refused."""

    events: list[Event] = []
    back: list[Stored] = []
    refused: list[Quarantined] = []
    moved: set[tuple[int, bytes]] = set()
    changed: int = 0
    replaced: int = 0
    withdrawn: int = 0
    accepted: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing comes out otherwise."""
        return not (self.events or self.back or self.refused)


class Remapping:
    """Maps the records of one stream again, over one connection, in the name of one person."""

    def __init__(
        self, conn: ingest.Connection, source: Source, limit: Limit, clock: Clock, actor: str
    ) -> None:
        self._conn = conn
        self._source = source
        self._limit = limit
        self._clock = clock
        self._actor = actor
        self._changes = Changes(conn, limit)
        self._report = Report(source.source, source.stream, source.mapping.version, changes=[])

    async def diff(self, progress: Progress | None = None) -> Report:
        """Say what would change: everything is done, and rolled back. Others wait to write meanwhile."""
        transaction = self._conn.transaction()
        await transaction.start()
        try:
            return await self.apply(progress)
        finally:
            await transaction.rollback()

    async def apply(self, progress: Progress | None = None) -> Report:
        """Have the mapping as it is now count for all records that are kept.

        Raises:
            Refused: another process is reading the stream, or is mapping it again.
        """
        stream = await streams.register(
            self._conn, self._source.source, self._source.stream, self._source.namespace
        )
        parts = ["mapping", *await streams.parts(self._conn, stream)]
        for ident in parts:  # until the connection ends, should this fail
            await self._lease(stream, ident)
        await self._all(stream, progress)
        for ident in parts:
            await streams.release(self._conn, stream, ident)
        return self._report

    async def _lease(self, stream: int, ident: str) -> None:
        if not await streams.lease(self._conn, stream, ident):
            raise Refused(
                f"{self._source.source}/{self._source.stream} is being read by another process, by a mapping that may be "
                "an earlier one. End it, or wait until it has read; then try again."
            )

    async def _all(self, stream: int, progress: Progress | None) -> None:
        report = self._report
        due = await remappings.due(self._conn, stream, report.mapping)
        report.not_kept = sum(max(o.accepted - o.kept, 0) for o in due)
        report.not_known = sum(min(o.ignored, o.accepted + o.ignored - o.kept) for o in due)
        whole = sum(origin.kept for origin in due)
        if not whole:
            return
        await remappings.begin(self._conn, stream)
        erased = await remappings.personal_erased_until(self._conn)
        for origin in due:
            if origin.kept:
                await self._batch(stream, origin, keeps_personal=origin.seq > erased)
                if progress is not None:
                    progress(report.records, whole)
        report.transactions, report.changes = await self._changes.found(CHANGES_SHOWN_MAX)

    async def _batch(self, stream: int, origin: Origin, *, keeps_personal: bool) -> None:
        kept = await remappings.kept(self._conn, origin)
        difference = await self._difference(kept, origin, keeps_personal=keeps_personal)
        await ingest.ensure_partitions(self._conn, {event.month for event in difference.events})
        async with self._conn.transaction():
            seq = await ingest.lock(self._conn) + 1
            if difference.empty:
                await ingest.append_commit(self._conn, seq, "mapping", self._clock())
            else:
                self._report.refused += await self._write(stream, origin, difference, seq)
            counts = len(kept), difference.changed
            await remappings.enter(
                self._conn, seq, origin.id, self._source.mapping.version, counts, self._actor
            )
        report = self._report
        report.records += len(kept)
        report.changed += difference.changed
        report.added += len(difference.events) - difference.replaced
        report.replaced += difference.replaced
        report.withdrawn += difference.withdrawn

    async def _difference(
        self, kept: Sequence[Kept], origin: Origin, *, keeps_personal: bool
    ) -> Difference:
        """Map a batch's records again, and hold what they come to against what stands."""
        until = latest(self._clock)
        made: list[tuple[int, list[Event]]] = []
        difference = Difference()
        for position, raw, body in kept:
            record = Record(position, _decode(body), raw)
            events, refused, _ = map_records([record], self._source.mapping, until)
            if not keeps_personal:
                events = [msgspec.structs.replace(event, personal=None) for event in events]
            made.append((position, events))
            difference.refused += refused
        stored: dict[int, list[Stored]] = defaultdict(list)
        for old in await remappings.standing(self._conn, origin):
            stored[old.position].append(old)
        keys = [(event.event_id, event.month) for _, events in made for event in events]
        by_content: dict[tuple[bytes, bytes], list[Stored]] = defaultdict(list)
        for old in await remappings.standing_of(self._conn, keys):
            by_content[old.event_id, old.revision].append(old)
        for position, events in made:
            _compare(events, stored[position], by_content, difference)
        return difference

    async def _write(self, stream: int, origin: Origin, difference: Difference, seq: int) -> int:
        """Commit what comes out otherwise; return how many records are quarantined for it."""
        back = difference.back
        names = {content_id(name): name.kind for name in _names(difference)}
        own = {content_id(event.document) for event in difference.events}
        await self._changes.watch(names, {old.document for old in back}, own, difference.moved)
        await supersessions.take_back(self._conn, seq, map(_key, back))
        row = ingest.BatchRow(
            0, stream, None, origin.part_name, self._source.mapping.version, None, None
        )
        refused = len(difference.refused)
        row.ignored = -difference.accepted - refused
        batch = Batch(row, prepare(difference.events), difference.refused, back=_totals(difference))
        row = await commit(self._conn, batch, self._limit, self._clock, careful=True)
        await retell(self._conn, {(old.document, old.type) for old in back}, self._limit, seq)
        return row.quarantined


def _compare(
    events: Sequence[Event],
    stored: Sequence[Stored],
    by_content: dict[tuple[bytes, bytes], list[Stored]],
    difference: Difference,
) -> None:
    """Note what becomes of one record: its events now, and those of it that stand."""
    new: list[Event] = []
    back = {_key(old): old for old in stored}
    withdrawn = {old.event_id for old in stored} - {event.event_id for event in events}
    replaced = 0
    for event in events:
        same = {_key(o): o for o in stored if o.event_id == event.event_id}
        same |= {_key(o): o for o in by_content[event.event_id, event.revision]}
        if any(_content(event) == _stored_content(old) for old in same.values()):
            back = {key: old for key, old in back.items() if key not in same}
            continue
        new.append(event)
        back |= same
        replaced += bool(same)
        named = content_id(event.document)
        difference.moved.update((old.document, named) for old in same.values())
    difference.events += new
    difference.back += back.values()
    difference.changed += bool(new or back)
    difference.replaced += replaced
    difference.withdrawn += len(withdrawn)
    difference.accepted += bool(events) - bool(stored)


def _key(old: Stored) -> supersessions.Revision:
    return old.event_id, old.revision_no, old.month


def _content(event: Event) -> tuple[Any, ...]:
    fixed = event.month, event.occurred_at, event.type, event.sequence, event.amount_minor
    return (*fixed, event.currency, event.entity, _decode(event.body), event.personal)


def _stored_content(old: Stored) -> tuple[Any, ...]:
    fixed = old.month, old.occurred_at, old.type, old.sequence, old.amount_minor
    return (*fixed, old.currency, old.entity, old.body, old.personal)


def _names(difference: Difference) -> Iterable[Name]:
    """List the names by which events join, of those that are new and of those that stand no more."""
    for event in difference.events:
        yield from map(Name._make, told_by(event.document, event.references))
    for old in difference.back:
        told = told_by(old.body["document"], old.body.get("references", ()))
        yield from map(Name._make, told)


def _totals(difference: Difference) -> TakenBack:
    """Say what is taken from the stream's totals, so that they are those of the mapping as it is now."""
    amounts: Counter[str] = Counter()
    for old in difference.back:
        if old.currency is not None and old.amount_minor is not None:
            amounts[old.currency] += old.amount_minor
    return TakenBack(
        len({event.position for event in difference.events}) - difference.accepted,
        len(difference.back),
        dict(amounts),
        sum(int.from_bytes(old.event_id) for old in difference.back) % HASH_TOTAL_MODULUS,
    )
