"""Records that could not be taken: kept, explained, replayed or accepted."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from collector.errors import Permanent
from collector.store.ingest import Connection

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
    reason: str
    sentence: str
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
            " content, sha256, reason, sentence) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)"
            " ON CONFLICT DO NOTHING RETURNING id",
            batch,
            stream,
            part_name,
            r.position,
            r.start,
            r.length,
            UUID(bytes=r.content),
            r.sha256,
            r.reason,
            r.sentence,
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
SELECT q.id, s.source, s.stream, q.part_name AS part, q.position, q.reason, q.sentence,
       to_char(c.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS recorded_at,
       coalesce(r.kind, '') AS resolution
FROM tieout.quarantine q
JOIN tieout.stream s ON s.id = q.stream
JOIN tieout.batch b ON b.id = q.batch
JOIN tieout.commit_log c ON c.seq = b.seq
LEFT JOIN tieout.quarantine_resolution r ON r.quarantine = q.id
WHERE ($1 OR r.quarantine IS NULL) AND ($2::text IS NULL OR s.source = $2) AND q.id > $3
ORDER BY q.id LIMIT $4
"""


async def entries(
    conn: Connection,
    *,
    resolved: bool = False,
    source: str | None = None,
    after: int = 0,
    limit: int = 1000,
) -> list[Entry]:
    """List quarantined records, oldest first: the open ones, or all."""
    found = await conn.fetch(_LIST, resolved, source, after, limit)
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
