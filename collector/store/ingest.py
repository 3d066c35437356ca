"""The statements of the write path: what one batch asks of the database and leaves in it.

All of them run inside the caller's transaction, as the application role. `lock` is the one lock of
`core.md` 9: under it a batch looks up what others left, decides what joins and commits.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeAlias

import asyncpg
import msgspec
from asyncpg.pgproto.pgproto import UUID

from collector.model.reference import Name
from collector.store import rows

Connection: TypeAlias = asyncpg.Connection
COLLISIONS = (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError)
"""Raised by COPY where somebody else has the same fact already."""

_LOCK = 0x7469656F7574  # "tieout"

# Many keys go in as one text each: the driver's encoder of arrays costs more than the look-up itself.
_KNOWN_DOCUMENTS = """
SELECT q.i, d.id, d.references_hash, d.first_month, d.last_month
FROM unnest(string_to_array($1, ',')::uuid[], string_to_array($2, ',')::bigint[])
     WITH ORDINALITY AS q(content_id, hash, i)
JOIN tieout.reference r ON r.value_hash = q.hash AND r.role = 0
JOIN tieout.document d ON d.id = r.document AND d.content_id = q.content_id
"""

_LOOK_UP = """
SELECT q.i, r.document, r.role, d.component
FROM unnest(string_to_array($1, ',')::bigint[], string_to_array($2, ',')::bigint[],
            string_to_array($3, ',')::int[]) WITH ORDINALITY AS q(value_hash, name_hash, most, i)
CROSS JOIN LATERAL (
    SELECT document, role FROM tieout.reference r
    WHERE r.value_hash = q.value_hash AND r.role <= 1 AND r.name_hash = q.name_hash
    ORDER BY r.role LIMIT q.most + 1) r
JOIN tieout.document d ON d.id = r.document
"""

_KNOWN_STEPS = """
SELECT s.document, s.type
FROM unnest(string_to_array($1, ',')::bigint[], string_to_array($2, ',')) q(document, type)
JOIN tieout.step s ON s.document = q.document AND s.type = q.type
"""

_RECOMPUTE_STEPS = """
WITH touched AS (
    SELECT DISTINCT t.document, t.type FROM unnest($1::bigint[], $2::text[]) t(document, type)),
facts AS (
    SELECT t.document, t.type, e.event_id, e.revision_no, e.occurred_at, e.sequence,
           e.amount_minor, e.currency,
           row_number() OVER (PARTITION BY e.event_id ORDER BY e.occurred_at DESC,
                              e.sequence DESC NULLS LAST, e.revision DESC) AS choice
    FROM touched t JOIN tieout.document d ON d.id = t.document
    CROSS JOIN LATERAL (
        SELECT * FROM tieout.event e
        WHERE e.document = d.id AND e.type = t.type
          AND e.month >= d.first_month AND e.month <= d.last_month) e),
again AS (
    INSERT INTO tieout.revised SELECT DISTINCT event_id FROM facts WHERE choice > 1
    ON CONFLICT DO NOTHING),
folded AS (
    SELECT document, type, min(occurred_at) AS first_at, max(occurred_at) AS last_at,
           count(*)::int AS n,
           (array_agg(amount_minor ORDER BY occurred_at DESC, sequence DESC NULLS LAST,
                      event_id DESC))[1] AS amount_minor,
           (array_agg(currency ORDER BY occurred_at DESC, sequence DESC NULLS LAST,
                      event_id DESC))[1] AS currency
    FROM facts WHERE choice = 1 GROUP BY document, type)
INSERT INTO tieout.step (document, type, first_at, last_at, n, amount_minor, currency)
SELECT document, type, first_at, last_at, n, amount_minor, currency FROM folded
ON CONFLICT (document, type) DO UPDATE SET first_at = excluded.first_at, last_at = excluded.last_at,
    n = excluded.n, amount_minor = excluded.amount_minor, currency = excluded.currency
"""


async def lock(conn: Connection) -> int:
    """Take the one lock until the end of the transaction; return the last commit number."""
    await conn.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    return await last_seq(conn)


async def last_seq(conn: Connection) -> int:
    """Return the number of the last commit that is visible now; 0 where there is none."""
    return int(await conn.fetchval("SELECT coalesce(max(seq), 0) FROM tieout.commit_log"))


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


async def next_documents(conn: Connection, count: int) -> list[int]:
    """Take numbers for new documents (also used for labels of components)."""
    found = await conn.fetch(
        "SELECT nextval('tieout.document_id') FROM generate_series(1, $1)", count
    )
    return [row[0] for row in found]


class Known(msgspec.Struct, frozen=True, gc=False):
    """A stored document: its number, the hash of its references, and the months of its events."""

    document: int
    references_hash: int
    first_month: date
    last_month: date


async def known_documents(conn: Connection, names: Sequence[Name]) -> dict[int, Known]:
    """Find documents by their own names; returns {place in the list: document}."""
    if not names:
        return {}
    found = await conn.fetch(
        _KNOWN_DOCUMENTS,
        ",".join(rows.content(name).hex() for name in names),
        ",".join(str(rows.numbers(name)[0]) for name in names),
    )
    return {row[0] - 1: Known(row[1], row[2], row[3], row[4]) for row in found}


class Held(msgspec.Struct, frozen=True, gc=False):
    """A stored document found by a name: whether the name is its own, and its component."""

    document: int
    own: bool
    component: int


async def look_up(conn: Connection, names: Sequence[tuple[Name, int]]) -> dict[Name, list[Held]]:
    """Find the documents that hold names as their own or as identity.

    `names` comes with the limit of each name's kind; at most limit + 1 holders are returned.
    """
    if not names:
        return {}
    hashes = [rows.numbers(name) for name, _ in names]
    found = await conn.fetch(
        _LOOK_UP,
        ",".join(str(value) for value, _ in hashes),
        ",".join(str(name) for _, name in hashes),
        ",".join(str(most) for _, most in names),
    )
    out: dict[Name, list[Held]] = {}
    for i, document, role, component in found:
        out.setdefault(names[i - 1][0], []).append(Held(document, role == 0, component))
    return out


async def known_references(
    conn: Connection, documents: Sequence[int]
) -> set[tuple[int, int, Name]]:
    """Return (document, role, name) of all references of documents."""
    found = await conn.fetch(
        "SELECT document, role, kind, scope, value FROM tieout.reference WHERE document = ANY($1)",
        documents,
    )
    return {(d, role, Name(kind, scope, value)) for d, role, kind, scope, value in found}


async def note_references(conn: Connection, hashes: Mapping[int, int]) -> None:
    """Note the hashes of references that documents have now: {document: hash}."""
    await conn.execute(
        "UPDATE tieout.document d SET references_hash = n.hash"
        " FROM unnest($1::bigint[], $2::bigint[]) n(id, hash) WHERE d.id = n.id",
        list(hashes.keys()),
        list(hashes.values()),
    )


async def known_steps(conn: Connection, pairs: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    """Return which (document, event type) have a step already."""
    if not pairs:
        return set()
    found = await conn.fetch(
        _KNOWN_STEPS,
        ",".join(str(document) for document, _ in pairs),
        ",".join(event_type for _, event_type in pairs),
    )
    return {(row[0], row[1]) for row in found}


async def known_events(
    conn: Connection, events: Iterable[tuple[bytes, date]]
) -> dict[bytes, list[bytes]]:
    """Return the stored revisions of events, in the order of their revision number."""
    ids, months = zip(*events, strict=True)
    found = await conn.fetch(
        "SELECT e.event_id, e.revision FROM unnest($1::uuid[], $2::date[]) q(event_id, month)"
        " JOIN tieout.event e ON e.event_id = q.event_id AND e.month = q.month"
        " ORDER BY e.revision_no",
        [_uuid(i) for i in ids],
        months,
    )
    out: dict[bytes, list[bytes]] = {}
    for event_id, revision in found:
        out.setdefault(event_id.bytes, []).append(revision.bytes)
    return out


def _uuid(raw: bytes) -> UUID:
    return UUID(raw)


async def copy(conn: Connection, table: str, packed: Iterable[bytes]) -> None:
    """COPY packed rows into a table of the write path."""
    columns = {
        "event": rows.EVENT_COLUMNS,
        "document": rows.DOCUMENT_COLUMNS,
        "reference": rows.REFERENCE_COLUMNS,
        "step": rows.STEP_COLUMNS,
    }[table]
    await conn.copy_to_table(
        table, source=rows.stream(packed), columns=columns, schema_name="tieout", format="binary"
    )


async def copy_personal(conn: Connection, records: Sequence[tuple[bytes, int, date, str]]) -> None:
    """COPY personal fields: (event id, revision number, month, JSON)."""
    await conn.copy_records_to_table(
        "personal",
        records=[(_uuid(i), n, month, fields) for i, n, month, fields in records],
        columns=["event_id", "revision_no", "month", "fields"],
        schema_name="tieout",
    )


async def copy_raw(conn: Connection, batch: int, records: Sequence[tuple[int, bytes]]) -> None:
    """COPY accepted records' bytes: (position, raw)."""
    await conn.copy_records_to_table(
        "raw_record",
        records=[(batch, position, raw) for position, raw in records],
        columns=["batch", "position", "raw"],
        schema_name="tieout",
    )


async def widen_months(conn: Connection, spans: Sequence[tuple[int, date, date]]) -> None:
    """Widen the range of months in which stored documents have events: (document, first, last)."""
    if spans:
        documents, firsts, lasts = zip(*spans, strict=True)
        await conn.execute(
            "UPDATE tieout.document d SET first_month = least(d.first_month, s.first),"
            " last_month = greatest(d.last_month, s.last)"
            " FROM unnest($1::bigint[], $2::date[], $3::date[]) s(id, first, last)"
            " WHERE d.id = s.id AND (s.first < d.first_month OR s.last > d.last_month)",
            documents,
            firsts,
            lasts,
        )


async def recompute_steps(conn: Connection, touched: Iterable[tuple[int, str]]) -> None:
    """Recompute steps from the events of their documents; notes events with several revisions."""
    pairs = list(touched)
    if pairs:
        documents, types = zip(*pairs, strict=True)
        await conn.execute(_RECOMPUTE_STEPS, documents, types)


async def sizes(conn: Connection, components: Iterable[int]) -> dict[int, int]:
    """Count the documents of components."""
    found = await conn.fetch(
        "SELECT component, count(*) FROM tieout.document WHERE component = ANY($1) GROUP BY 1",
        list(components),
    )
    return dict(map(tuple, found))


async def relabel(conn: Connection, moves: Mapping[int, int], seq: int) -> None:
    """Move all documents of components to another, keeping what was known: {from: to}."""
    if moves:
        found = await conn.fetch(
            "SELECT d.id, m.target FROM unnest($1::bigint[], $2::bigint[]) m(source, target)"
            " JOIN tieout.document d ON d.component = m.source",
            list(moves.keys()),
            list(moves.values()),
        )
        await place(conn, dict(map(tuple, found)), seq)


async def place(conn: Connection, component_of: Mapping[int, int], seq: int) -> None:
    """Move single documents to components, keeping what was known: {document: component}."""
    if component_of:
        await conn.execute(
            "WITH wanted AS (SELECT * FROM unnest($1::bigint[], $2::bigint[]) w(id, target)),"
            " before AS (SELECT d.id, d.component, d.known_from FROM tieout.document d"
            "            JOIN wanted w ON w.id = d.id WHERE d.component <> w.target),"
            " moved AS (UPDATE tieout.document d SET component = w.target, known_from = $3"
            "           FROM wanted w WHERE d.id = w.id AND d.component <> w.target)"
            " INSERT INTO tieout.membership_history SELECT id, component, known_from, $3 FROM before",
            list(component_of.keys()),
            list(component_of.values()),
            seq,
        )


async def documents_of(conn: Connection, components: Iterable[int]) -> dict[int, int]:
    """Return {document: component} of all documents in components."""
    found = await conn.fetch(
        "SELECT id, component FROM tieout.document WHERE component = ANY($1)", list(components)
    )
    return dict(map(tuple, found))


async def identities(conn: Connection, documents: Iterable[int]) -> list[tuple[int, Name]]:
    """Return (document, identity value) of documents, their own names included."""
    found = await conn.fetch(
        "SELECT document, kind, scope, value FROM tieout.reference"
        " WHERE document = ANY($1) AND role <= 1",
        list(documents),
    )
    return [(d, Name(kind, scope, value)) for d, kind, scope, value in found]


async def note_suspended(conn: Connection, components: Iterable[int], most: int) -> None:
    """Enter components that hold more than `most` documents; strike out those that no longer do."""
    touched = list(components)
    if touched:
        await conn.execute(
            "DELETE FROM tieout.suspended WHERE component = ANY($1)",
            touched,
        )
        await conn.execute(
            "INSERT INTO tieout.suspended SELECT component, count(*) FROM tieout.document"
            " WHERE component = ANY($1) GROUP BY 1 HAVING count(*) > $2",
            touched,
            most,
        )


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
