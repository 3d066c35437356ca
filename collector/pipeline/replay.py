"""Quarantined records, tried again with the mapping as it is now, or accepted as they are."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from collector.clock import Clock
from collector.connector import Record
from collector.errors import Permanent
from collector.pipeline.ahead import Source, latest, map_records
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.correlate import Limit
from collector.store import ingest, quarantine, streams
from collector.store.quarantine import Entry, Resolution

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class Outcome(msgspec.Struct):
    """What became of a replay: how many came in, and why the others did not (sentence by id)."""

    replayed: int = 0
    refused: dict[int, str] = {}


async def replay(
    conn: ingest.Connection,
    entries: Sequence[Entry],
    sources: Mapping[tuple[str, str], Source],
    limit: Limit,
    clock: Clock,
    actor: str,
) -> Outcome:
    """Map quarantined records again; those that map now are committed and count as replayed."""
    outcome = Outcome(refused={})
    by_stream: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        by_stream[entry.source, entry.stream].append(entry)
    for key, members in by_stream.items():
        source = sources.get(key)
        if source is None:
            outcome.refused |= {e.id: f"{'/'.join(key)} is no longer configured." for e in members}
            continue
        await _replay_stream(conn, members, source, (limit, clock), actor, outcome)
    return outcome


async def _replay_stream(
    conn: ingest.Connection,
    entries: Sequence[Entry],
    source: Source,
    rules: tuple[Limit, Clock],
    actor: str,
    outcome: Outcome,
) -> None:
    limit, clock = rules
    stream = await streams.register(conn, source.source, source.stream, source.namespace)
    events, resolutions = [], []
    ignored = 0
    for entry in entries:
        _, text = await quarantine.body(conn, entry.id)
        if text is None:
            outcome.refused[entry.id] = (
                "The record could not be parsed, so no mapping can mend it: correct the source and read "
                "it again, or accept the record with a reason."
            )
            continue
        made, failed, passed_over = map_records(
            [Record(entry.id, _decode(text))],  # its position: which quarantined record it was
            source.mapping,
            latest(clock),
        )
        if failed:
            outcome.refused[entry.id] = failed[0].sentence
            continue
        events += made
        ignored += passed_over
        resolutions.append(Resolution(entry.id, "replayed", "mapping mended", actor))
    if not resolutions:
        return
    row = ingest.BatchRow(
        0,
        stream,
        None,
        "quarantine",
        source.mapping.version,
        None,
        None,
        read=len(resolutions),
        ignored=ignored,
    )
    batch = batch_of(row, events, resolutions)
    await commit(conn, batch, limit, clock, careful=True)
    outcome.replayed += len(resolutions)


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
