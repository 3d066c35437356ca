"""The statements of the write path: what one batch asks of the database and leaves in it.

All of them run inside the caller's transaction, as the application role. `lock` is the one lock of
`core.md` 9: under it a batch looks up what others left, decides what joins and commits.
"""

import json
import struct
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Any, TypeAlias

import asyncpg
import msgspec
from asyncpg.pgproto.pgproto import UUID

from collector.model.reference import LINK
from collector.store import rows

Connection: TypeAlias = asyncpg.Connection
Deadlock = asyncpg.DeadlockDetectedError
COLLISIONS = (asyncpg.UniqueViolationError, Deadlock)
"""Raised by COPY where somebody else has the same fact already."""

_LOCK = 0x7469656F7574  # "tieout"

# Many keys go in as one text each: the driver's encoder of arrays costs more than the look-up itself.
# A name is asked for by its content id, which is its two hashes.
_LOOK_UP = """
SELECT q.i, r.document, r.role, d.component, d.references_hash,
       d.first_month - date '2000-01-01', d.last_month - date '2000-01-01', d.months
FROM (SELECT i, most, ('x' || left(name, 16))::bit(64)::bigint AS value_hash,
             ('x' || right(name, 16))::bit(64)::bigint AS name_hash
      FROM unnest(string_to_array($1, ','), string_to_array($2, ',')::int[])
           WITH ORDINALITY AS u(name, most, i)) q
CROSS JOIN LATERAL (
    SELECT document, role FROM tieout.reference r
    WHERE r.value_hash = q.value_hash AND r.role <= 1 AND r.name_hash = q.name_hash
    ORDER BY r.role LIMIT q.most + 1) r
JOIN tieout.document d ON d.id = r.document
"""


async def plan_by_key(conn: Connection) -> None:
    """Have the database use its indexes for the rest of the transaction.

    All that a batch asks for is found by key, some thousand keys at a time. Misled by statistics that
    are older than the tables, the planner read whole tables instead, 60 µs a key instead of 9.
    """
    await conn.execute(
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;"
        " SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
    )


async def lock(conn: Connection) -> int:
    """Take the one lock until the end of the transaction; return the last commit number."""
    await conn.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    return await last_seq(conn)


async def last_seq(conn: Connection) -> int:
    """Return the number of the last commit that is visible now; 0 where there is none."""
    return int(await conn.fetchval("SELECT coalesce(max(seq), 0) FROM tieout.commit_log"))


async def last_supersession(conn: Connection) -> int:
    """Return the last commit by which a mapping took events back; 0 where none did."""
    return int(await conn.fetchval("SELECT coalesce(max(seq), 0) FROM tieout.supersession"))


async def wrote_events(conn: Connection, after: int, upto: int) -> bool:
    """Say whether a commit after `after`, up to and including `upto`, may have written events or steps."""
    return bool(
        await conn.fetchval(
            "SELECT EXISTS (SELECT FROM tieout.commit_log WHERE seq > $1 AND seq <= $2"
            " AND what <> ALL ('{control run,configuration,sweep}'))",
            after,
            upto,
        )
    )


async def append_commit(conn: Connection, seq: int, what: str, clock: datetime) -> datetime:
    """Enter commit `seq` (the caller holds the lock); return the time it counts as recorded.

    That time is strictly later than the previous commit's, whatever the clock does.
    """
    recorded_at: datetime = await conn.fetchval(
        "INSERT INTO tieout.commit_log (seq, recorded_at, what) VALUES ($1::bigint, greatest($3,"
        " (SELECT recorded_at + interval '1 microsecond' FROM tieout.commit_log WHERE seq = $1::bigint - 1)),"
        " $2) RETURNING recorded_at",
        seq,
        what,
        clock,
    )
    return recorded_at


async def next_batch(conn: Connection) -> int:
    """Take the number of a new batch."""
    return int(await conn.fetchval("SELECT nextval('tieout.batch_id')"))


NUMBERS_AT_ONCE = 1_000
"""By which the sequence of documents' numbers goes up."""


async def next_documents(conn: Connection, count: int) -> list[int]:
    """Take numbers for new documents (also used for labels of components): `count`, and what is left of a thousand."""
    found = await conn.fetch(
        "SELECT nextval('tieout.document_id') FROM generate_series(1, $1)",
        -(-count // NUMBERS_AT_ONCE),
    )
    return [first + n for (first,) in found for n in range(NUMBERS_AT_ONCE)]


class Known(msgspec.Struct, gc=False):
    """A stored document: its number, the hash of its references, its events' months, and types of steps that it has.

    `whole`: it has no others but what other collectors added, for this one has made it.
    """

    document: int
    references_hash: int
    span: rows.Span
    types: frozenset[str] = frozenset()
    whole: bool = False


class Holder(msgspec.Struct, frozen=True, gc=False):
    """A stored document that holds a name, and its component; `known` where the name is its own."""

    document: int
    component: int
    known: Known | None


async def look_up(
    conn: Connection, names: Sequence[bytes], most: Sequence[int]
) -> dict[bytes, list[Holder]]:
    """Find the documents that hold names, given by content id, as their own or as identity.

    `most` is the limit of each name's kind: at most limit + 1 holders are returned, the document that
    is called so first.
    """
    if not names:
        return {}
    found = await conn.fetch(
        _LOOK_UP, ",".join([name.hex() for name in names]), ",".join(map(str, most))
    )
    out: dict[bytes, list[Holder]] = {}
    for i, document, role, component, hashed, *span in found:
        known = Known(document, hashed, rows.Span(*span)) if role == 0 else None
        out.setdefault(names[i - 1], []).append(Holder(document, component, known))
    return out


async def known_references(
    conn: Connection, documents: Sequence[int]
) -> set[tuple[int, int, bytes]]:
    """Return (document, role, content id of the name) of all references that sources told of documents."""
    found = await conn.fetch(
        "SELECT document, role, value_hash, name_hash FROM tieout.reference"
        " WHERE document = ANY($1) AND kind <> $2",
        documents,
        LINK,
    )
    return {(document, role, content_of(*hashes)) for document, role, *hashes in found}


async def note_references(conn: Connection, hashes: Mapping[int, int]) -> None:
    """Note the hashes of references that documents have now: {document: hash}."""
    await conn.execute(
        "UPDATE tieout.document d SET references_hash = n.hash"
        " FROM unnest($1::bigint[], $2::bigint[]) n(id, hash) WHERE d.id = n.id",
        list(hashes.keys()),
        list(hashes.values()),
    )


async def kind_of(conn: Connection, name: bytes) -> str | None:
    """Return the kind of a name, given by content id; None where no document holds it."""
    kind: str | None = await conn.fetchval(
        "SELECT kind FROM tieout.reference WHERE value_hash = $1 AND name_hash = $2 LIMIT 1",
        *hashes_of(name),
    )
    return kind


async def change_role(
    conn: Connection, document: int, name: bytes, before: int, after: int
) -> None:
    """Give a reference of a document, the name by its content id, another role."""
    by_value, by_name = hashes_of(name)
    await conn.execute(
        "UPDATE tieout.reference SET role = $5"
        " WHERE document = $1 AND value_hash = $2 AND name_hash = $3 AND role = $4",
        document,
        by_value,
        by_name,
        before,
        after,
    )


async def change_roles(conn: Connection, name: bytes, before: int, after: int) -> None:
    """Give all references to a name, by its content id, another role, but where a person cut a single document's."""
    by_value, by_name = hashes_of(name)
    await conn.execute(
        "UPDATE tieout.reference SET role = $4 WHERE value_hash = $1 AND name_hash = $2 AND role = $3"
        " AND document NOT IN (SELECT d.id FROM tieout.link_standing c JOIN tieout.document d"
        " ON d.content_id = c.document WHERE c.action = 'cut' AND c.other = $5)",
        by_value,
        by_name,
        before,
        after,
        _uuid(name),
    )


async def unlink(conn: Connection, name: bytes) -> None:
    """Take the name of a link, by its content id, from the documents that hold it."""
    await conn.execute(
        "DELETE FROM tieout.reference WHERE value_hash = $1 AND name_hash = $2 AND kind = $3",
        *hashes_of(name),
        LINK,
    )


async def known_events(
    conn: Connection, events: Sequence[tuple[bytes, date]]
) -> dict[bytes, list[tuple[bytes, date]]]:
    """Return the stored revisions of events, (event id, month), each with its month.

    One that no longer stands has no content: it is numbered with the others, and equals none.
    """
    ids, months = zip(*dict.fromkeys(events), strict=True) if events else ((), ())
    found = await conn.fetch(
        "SELECT e.event_id, CASE WHEN x.seq IS NULL THEN e.revision END, e.month"
        " FROM unnest($1::uuid[], $2::date[]) q(event_id, month)"
        " JOIN tieout.event e ON e.event_id = q.event_id AND e.month = q.month"
        " LEFT JOIN tieout.supersession x ON x.event_id = e.event_id AND x.month = e.month"
        " AND x.revision_no = e.revision_no ORDER BY e.revision_no",
        [_uuid(i) for i in ids],
        months,
    )
    out: dict[bytes, list[tuple[bytes, date]]] = {}
    for event_id, revision, month in found:
        content = b"" if revision is None else revision.bytes
        out.setdefault(event_id.bytes, []).append((content, month))
    return out


_hash_pair = struct.Struct(">qq")  # see collector.model.reference.content_id
content_of, hashes_of = _hash_pair.pack, _hash_pair.unpack


def _uuid(raw: bytes) -> UUID:
    return UUID(raw)


PIECE_PARTS = 256
"""Parts of rows that are sent at once: some 64 KiB, as much as a socket takes."""


async def stream(conn: Connection, packed: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Make the COPY stream of packed rows, which may come in parts; none more once the connection is lost.

    Piece by piece: the database works on one while the next is packed, and none outgrows the processor's cache.
    """
    yield rows.SIGNATURE
    parts = iter(packed)
    while not conn.is_closed() and (piece := b"".join(islice(parts, PIECE_PARTS))):
        yield piece
    yield rows.TRAILER


async def copy(conn: Connection, table: str, packed: Iterable[bytes]) -> None:
    """COPY packed rows into a table of the write path."""
    columns = {
        "event": rows.EVENT_COLUMNS,
        "document": rows.DOCUMENT_COLUMNS,
        "reference": rows.REFERENCE_COLUMNS,
        "step": rows.STEP_COLUMNS,
    }[table]
    await conn.copy_to_table(
        table, source=stream(conn, packed), columns=columns, schema_name="tieout", format="binary"
    )


async def copy_personal(conn: Connection, records: Sequence[tuple[bytes, int, date, str]]) -> None:
    """COPY personal fields: (event id, revision number, month, JSON)."""
    await conn.copy_records_to_table(
        "personal",
        records=[(_uuid(i), n, month, fields) for i, n, month, fields in records],
        columns=["event_id", "revision_no", "month", "fields"],
        schema_name="tieout",
    )


async def copy_raw(conn: Connection, batch: int, records: Sequence[tuple[int, rows.Raw]]) -> None:
    """COPY accepted records' bytes: (position, raw and body)."""
    await conn.copy_records_to_table(
        "raw_record",
        records=[(batch, position, *raw) for position, raw in records],
        columns=["batch", "position", "raw", "body"],
        schema_name="tieout",
    )


async def widen_months(conn: Connection, spans: Mapping[int, rows.Span]) -> None:
    """Add to the months in which stored documents have events: {document: span}."""
    if spans:
        firsts, lasts, months = zip(*spans.values(), strict=True)
        await conn.execute(
            "UPDATE tieout.document d SET first_month = least(d.first_month, s.first),"
            " last_month = greatest(d.last_month, s.last), months = d.months | s.months"
            " FROM (SELECT id, date '2000-01-01' + first AS first, date '2000-01-01' + last AS last, months"
            "       FROM unnest($1::bigint[], $2::int[], $3::int[], $4::bigint[]) u(id, first, last, months)) s"
            " WHERE d.id = s.id AND (s.first < d.first_month OR s.last > d.last_month OR s.months & ~d.months <> 0)",
            list(spans),
            firsts,
            lasts,
            months,
        )


async def identities(conn: Connection, documents: Iterable[int]) -> list[tuple[int, bytes, str]]:
    """Return (document, content id, kind) of the names that documents hold, their own included."""
    found = await conn.fetch(
        "SELECT document, value_hash, name_hash, kind FROM tieout.reference"
        " WHERE document = ANY($1) AND role <= 1",
        list(documents),
    )
    return [(d, content_of(by_value, by_name), kind) for d, by_value, by_name, kind in found]


async def ensure_partitions(conn: Connection, months: Iterable[date]) -> None:
    """Make the event partitions of months, in transactions of their own."""
    for month in sorted(set(months)):
        await conn.execute("SELECT tieout.ensure_partition($1)", month)


class BatchRow(msgspec.Struct):
    """A row of `batch`: lineage and our side's control totals of one read."""

    id: int
    stream: int
    part: int | None
    part_name: str
    mapping: str
    cursor_from: Any
    cursor_to: Any
    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    ignored: int = 0
    events: int = 0
    amounts: dict[str, int] = {}
    hash_total: int = 0
    ending: str | None = None
    unread: int | None = 0
    remark: str = ""
    stated: Any = None


async def insert_batch(conn: Connection, seq: int, batch: BatchRow) -> None:
    """Enter the batch and move its part's cursor."""
    row = msgspec.to_builtins(batch)
    for column in ("cursor_from", "cursor_to", "amounts", "stated"):
        row[column] = None if row[column] is None else json.dumps(row[column], sort_keys=True)
    await conn.execute(
        "INSERT INTO tieout.batch (id, stream, part, part_name, mapping, cursor_from, cursor_to,"
        " read, accepted, duplicate, quarantined, ignored, events, amounts, hash_total, ending,"
        " unread, remark, stated, seq) VALUES"
        " ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20)",
        *row.values(),
        seq,
    )
    if batch.part is not None:
        await conn.execute(
            "UPDATE tieout.part SET cursor = $2, name = $3 WHERE id = $1",
            batch.part,
            row["cursor_to"],
            batch.part_name,
        )
