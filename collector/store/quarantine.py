"""Records that could not be taken: kept, explained, replayed or accepted."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from collector.connector import Fault
from collector.errors import Permanent
from collector.store.ingest import Connection, last_seq

_jsonb = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


class Quarantined(msgspec.Struct, frozen=True):
    """A record that could not be taken, as it is stored.

    `content` is the hash of its body, or of its bytes where there is no body (16 bytes).
    """

    position: int
    start: int
    length: int
    content: bytes
    sha256: str
    fault: Fault
    raw: bytes
    body: dict[str, Any] | None


class Resolution(msgspec.Struct, frozen=True):
    """What became of a quarantined record: `replayed`, or `accepted` as it is for a reason."""

    quarantine: int
    kind: str
    reason: str
    actor: str


async def unknown(
    conn: Connection, stream: int, records: Sequence[Quarantined]
) -> list[Quarantined]:
    """Leave out records whose content lies there already, wherever in the stream it stood."""
    there = await conn.fetch(
        "SELECT DISTINCT content FROM tieout.quarantine WHERE stream = $1 AND content = ANY($2)",
        stream,
        [UUID(bytes=r.content) for r in records],
    )
    known = {row["content"].bytes for row in there}
    return list({r.content: r for r in records if r.content not in known}.values())


async def insert(
    conn: Connection,
    batch: int,
    stream: int,
    part_name: str,
    records: Sequence[Quarantined],
) -> int:
    """Keep records; one that lies there already is not entered twice. Returns how many are new."""
    new = 0
    for r in records:
        number = await conn.fetchval(
            "INSERT INTO tieout.quarantine (batch, stream, part_name, position, start, length,"
            " content, sha256, reason, sentence, field, shape)"
            " VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)"
            " ON CONFLICT DO NOTHING RETURNING id",
            batch,
            stream,
            part_name,
            r.position,
            r.start,
            r.length,
            UUID(bytes=r.content),
            r.sha256,
            *msgspec.structs.astuple(r.fault),
        )
        if number is not None:
            new += 1
            await conn.execute(
                "INSERT INTO tieout.quarantine_body VALUES ($1, $2, $3)",
                number,
                r.raw,
                None if r.body is None else _storable(r.body),
            )
    return new


def _storable(body: dict[str, Any]) -> str | None:
    """Encode a body for jsonb; None where that cannot hold it (NUL, lone surrogates, NaN)."""
    try:
        text = _jsonb(body).decode()
        json.loads(text, parse_constant=_refuse)
    except (UnicodeEncodeError, ValueError, OverflowError, RecursionError):
        return None
    return None if "\\u0000" in text else text


def _refuse(constant: str) -> None:
    raise ValueError(constant)


async def resolve(conn: Connection, seq: int, resolutions: Sequence[Resolution]) -> None:
    """Enter what became of quarantined records, as of commit `seq`."""
    for r in resolutions:
        await conn.execute(
            "INSERT INTO tieout.quarantine_resolution VALUES ($1, $2, $3, $4, $5)",
            r.quarantine,
            seq,
            r.kind,
            r.reason,
            r.actor,
        )


class Entry(msgspec.Struct, frozen=True):
    """A quarantined record, as it is listed. `resolution` is empty while it is open."""

    id: int
    source: str
    stream: str
    part: str
    position: int
    reason: str
    sentence: str
    recorded_at: str
    resolution: str


_LIST = """
SELECT q.id, s.source, s.stream, q.part, q.position, q.reason, q.sentence,
       to_char(c.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS recorded_at,
       coalesce(q.resolution, '') AS resolution
FROM tieout.quarantined($1) q
JOIN tieout.stream s ON s.id = q.stream
JOIN tieout.commit_log c ON c.seq = q.seq
WHERE ($2 OR q.resolution IS NULL) AND ($3::text IS NULL OR s.source = $3) AND ($4::text IS NULL OR s.stream = $4)
  AND ($5::text IS NULL OR q.reason = $5) AND ($6::text IS NULL OR q.field = $6) AND ($7::text IS NULL OR q.shape = $7)
  AND q.id > $8
ORDER BY q.id LIMIT $9
"""


class Wanted(msgspec.Struct, frozen=True):
    """Which quarantined records are asked for: None stands for all."""

    source: str | None = None
    stream: str | None = None
    reason: str | None = None
    field: str | None = None
    shape: str | None = None


EVERYTHING = Wanted()


async def entries(
    conn: Connection,
    *,
    resolved: bool = False,
    wanted: Wanted = EVERYTHING,
    after: int = 0,
    limit: int = 1000,
) -> list[Entry]:
    """List quarantined records, oldest first: the open ones, or all."""
    seq = await last_seq(conn)
    asked = msgspec.structs.astuple(wanted)
    found = await conn.fetch(_LIST, seq, resolved, *asked, after, limit)
    return [Entry(**dict(row)) for row in found]


_ACCEPTED = """
SELECT s.source, s.stream, q.part_name AS part, q.position, r.reason, r.actor
FROM tieout.quarantine_resolution r
JOIN tieout.quarantine q ON q.id = r.quarantine
JOIN tieout.stream s ON s.id = q.stream
WHERE r.kind = 'accepted' AND r.seq <= read.seq_at($1) AND s.source || '/' || s.stream = ANY ($2)
ORDER BY q.id LIMIT $3
"""


class Accepted(msgspec.Struct, frozen=True):
    """A record that somebody accepted as it is: where it stands, why, and who said so."""

    source: str
    stream: str
    part: str
    position: int
    reason: str
    actor: str


async def accepted(
    conn: Connection, streams: Iterable[tuple[str, str]], as_known: datetime, limit: int
) -> list[Accepted]:
    """List the accepted records of streams, as known at a time, the oldest first."""
    names = [f"{source}/{stream}" for source, stream in streams]
    return [Accepted(**row) for row in await conn.fetch(_ACCEPTED, as_known, names, limit)]


# What a mapping in force has not seen yet, or all with $3; in the order in which it was refused.
_TO_REPLAY = """
SELECT q.id, b.body, q.reason, q.sentence, q.field, q.shape
FROM tieout.quarantined($1) q
JOIN tieout.quarantine_body b ON b.quarantine = q.id
WHERE q.stream = $2 AND q.resolution IS NULL AND ($3 OR q.mapping <> $4) AND ($5::text IS NULL OR q.reason = $5)
  AND ($6::bigint[] IS NULL OR q.id = ANY ($6)) AND q.id > $7
ORDER BY q.id LIMIT $8
"""

_OPEN = """
SELECT count(*) FILTER (WHERE $3 OR q.mapping <> $4) AS due, count(*) FILTER (WHERE NOT $3 AND q.mapping = $4) AS same
FROM tieout.quarantined($1) q
WHERE q.stream = $2 AND q.resolution IS NULL AND ($5::text IS NULL OR q.reason = $5)
  AND ($6::bigint[] IS NULL OR q.id = ANY ($6))
"""


class Replayed(msgspec.Struct, frozen=True):
    """Which open records of a stream are to be mapped again, by the mapping of that version.

    Those that this very version refused are left out, unless `force` is set.
    """

    stream: int
    force: bool
    mapping: str
    reason: str | None = None
    ids: list[int] | None = None


async def count_to_replay(conn: Connection, asked: Replayed) -> tuple[int, int]:
    """Count the records to be mapped again, and those left out because nothing has changed for them."""
    row = await conn.fetchrow(_OPEN, await last_seq(conn), *msgspec.structs.astuple(asked))
    return row["due"], row["same"]


class Pending(NamedTuple):
    """A record to be mapped again: its parsed body as JSON, if there is one, and why it was refused last."""

    id: int
    body: str | None
    fault: Fault


async def to_replay(conn: Connection, asked: Replayed, after: int, limit: int) -> list[Pending]:
    """Return the next records to be mapped again."""
    given = msgspec.structs.astuple(asked)
    found = await conn.fetch(_TO_REPLAY, await last_seq(conn), *given, after, limit)
    return [Pending(number, body, Fault(*fault)) for number, body, *fault in found]


async def open_elsewhere(conn: Connection, streams: Sequence[int]) -> int:
    """Count the open records of streams other than these."""
    return int(
        await conn.fetchval(
            "SELECT count(*) FROM tieout.quarantined($1) WHERE resolution IS NULL AND stream <> ALL ($2)",
            await last_seq(conn),
            streams,
        )
    )


async def resolved(conn: Connection, ids: Sequence[int]) -> list[int]:
    """Return those of some records that were replayed or accepted."""
    found = await conn.fetch(
        "SELECT quarantine FROM tieout.quarantine_resolution WHERE quarantine = ANY ($1) ORDER BY 1",
        ids,
    )
    return [row[0] for row in found]


async def refuse(conn: Connection, seq: int, mapping: str, faults: Mapping[int, Fault]) -> None:
    """Enter why a mapping refused quarantined records again, as of commit `seq`."""
    await conn.executemany(
        "INSERT INTO tieout.quarantine_refusal VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [(n, seq, mapping, *msgspec.structs.astuple(fault)) for n, fault in faults.items()],
    )


async def body(conn: Connection, number: int) -> tuple[bytes, str | None]:
    """Return the kept bytes of a quarantined record and its parsed body as JSON, if there is one.

    Raises:
        Permanent: there is no such record.
    """
    row = await conn.fetchrow(
        "SELECT raw, body FROM tieout.quarantine_body WHERE quarantine = $1", number
    )
    if row is None:
        raise Permanent(f"There is no quarantined record {number}. See `tieout quarantine list`.")
    return row["raw"], row["body"]
