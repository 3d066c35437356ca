"""Records that an earlier mapping mapped: which batches, their kept records, and the events that stand of them."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from collector.store.ingest import Connection

# A batch that a remapping made holds no records of its own. What was replayed lies in the quarantine.
_DUE = """
WITH due AS (
    SELECT b.id, b.seq, b.part_name, b.accepted, b.ignored
    FROM tieout.batch b
    LEFT JOIN LATERAL (SELECT mapping FROM tieout.remapping m WHERE m.batch = b.id ORDER BY m.seq DESC LIMIT 1) m ON true
    WHERE b.stream = $1 AND coalesce(m.mapping, b.mapping) <> $2 AND b.accepted + b.ignored > 0
      AND NOT EXISTS (SELECT FROM tieout.remapping r WHERE r.seq = b.seq))
SELECT d.*, (SELECT count(*) FROM tieout.raw_record r WHERE r.batch = d.id)
          + (SELECT count(*) FROM tieout.quarantine_resolution q WHERE q.seq = d.seq AND q.kind = 'replayed') AS kept
FROM due d ORDER BY d.id
"""

_STANDS = """
CREATE TEMPORARY TABLE remapped ON COMMIT PRESERVE ROWS AS
SELECT coalesce(m.batch, b.id) AS origin, e.position, e.event_id, e.revision_no, e.month
FROM tieout.batch b JOIN tieout.standing_event e ON e.batch = b.id LEFT JOIN tieout.remapping m ON m.seq = b.seq
WHERE b.stream = $1
"""

_KEPT = """
SELECT position, raw, coalesce(body, raw) AS body FROM tieout.raw_record WHERE batch = $1
UNION ALL
SELECT q.quarantine, b.raw, convert_to(b.body::text, 'UTF8')
FROM tieout.quarantine_resolution q JOIN tieout.quarantine_body b ON b.quarantine = q.quarantine
WHERE q.seq = $2 AND q.kind = 'replayed'
ORDER BY position
"""

_COLUMNS = """
e.event_id, e.revision, e.revision_no, e.month, e.document, e.occurred_at, e.type, e.sequence, e.amount_minor,
e.currency, e.entity, e.body, (
    SELECT p.fields FROM tieout.personal p WHERE (p.event_id, p.revision_no, p.month) = (e.event_id, e.revision_no, e.month)
) AS personal
"""
_OF_BATCH = f"""
SELECT r.position, {_COLUMNS}
FROM remapped r JOIN tieout.standing_event e ON e.event_id = r.event_id AND e.revision_no = r.revision_no AND e.month = r.month
WHERE r.origin = $1
"""  # noqa: S608 -- constants
_OF_KEYS = f"""
SELECT e.position, {_COLUMNS}
FROM unnest($1::uuid[], $2::date[]) q(event_id, month)
JOIN tieout.standing_event e ON e.event_id = q.event_id AND e.month = q.month
"""  # noqa: S608 -- constants


class Origin(NamedTuple):
    """A batch that an earlier mapping mapped: `kept` of its `accepted` records are there to be mapped again.

    What that mapping `ignored` was not kept, and may mean something today.
    """

    id: int
    seq: int
    part_name: str
    accepted: int
    ignored: int
    kept: int


class Kept(NamedTuple):
    """A record as it was kept: its bytes, and its body as JSON."""

    position: int
    raw: bytes
    body: bytes


class Stored(msgspec.Struct, frozen=True):
    """An event that stands, as it is stored; `position` is that of the record that it was made of."""

    position: int
    event_id: bytes
    revision: bytes
    revision_no: int
    month: date
    document: int
    occurred_at: datetime
    type: str
    sequence: int | None
    amount_minor: int | None
    currency: str | None
    entity: str | None
    body: dict[str, Any]
    personal: dict[str, Any] | None


async def due(conn: Connection, stream: int, mapping: str) -> list[Origin]:
    """List the batches of a stream that are as another mapping than this one made them, oldest first."""
    return [Origin(*row) for row in await conn.fetch(_DUE, stream, mapping)]


async def begin(conn: Connection, stream: int) -> None:
    """Note which events of a stream stand, by the batch that brought their records: no index says that."""
    await conn.execute("DROP TABLE IF EXISTS remapped")
    await conn.execute(_STANDS, stream)
    await conn.execute("CREATE INDEX ON remapped (origin); ANALYZE remapped")


async def kept(conn: Connection, origin: Origin) -> list[Kept]:
    """Return the kept records of a batch."""
    return [Kept(*row) for row in await conn.fetch(_KEPT, origin.id, origin.seq)]


async def standing(conn: Connection, origin: Origin) -> list[Stored]:
    """Return the events of a batch's records that stood when the remapping began."""
    return [_stored(row) for row in await conn.fetch(_OF_BATCH, origin.id)]


async def standing_of(conn: Connection, events: Sequence[tuple[bytes, date]]) -> list[Stored]:
    """Return all revisions of events, (event id, month), that stand, whichever record told them."""
    ids, months = zip(*events, strict=True) if events else ((), ())
    found = await conn.fetch(_OF_KEYS, [UUID(bytes=i) for i in ids], months)
    return [_stored(row) for row in found]


def _stored(row: Any) -> Stored:  # noqa: ANN401 -- a database row
    fields = dict(row)
    personal = fields["personal"]
    return Stored(
        **fields
        | {
            "event_id": row["event_id"].bytes,
            "revision": row["revision"].bytes,
            "body": msgspec.json.decode(row["body"]),
            "personal": None if personal is None else msgspec.json.decode(personal),
        }
    )


async def personal_erased_until(conn: Connection) -> int:
    """Return the last commit whose personal fields were erased; 0 where none were."""
    return int(
        await conn.fetchval(
            "SELECT coalesce(max(c.seq), 0) FROM tieout.commit_log c WHERE c.recorded_at <="
            " (SELECT max(recorded_until) FROM tieout.erasure WHERE what = 'personal')"
        )
    )


async def enter(
    conn: Connection, seq: int, batch: int, mapping: str, counts: tuple[int, int], actor: str
) -> None:
    """Enter that the records of a batch were mapped again: how many, and how many came out otherwise."""
    await conn.execute(
        "INSERT INTO tieout.remapping VALUES ($1, $2, $3, $4, $5, $6)",
        seq,
        batch,
        mapping,
        *counts,
        actor,
    )


_STATES = """
SELECT CASE WHEN x.component IS NULL THEN d.component ELSE -d.id END AS label, d.id, d.content_id, d.kind, n.value,
       s.type, s.n, s.first_at, s.last_at, s.amount_minor, s.currency
FROM tieout.document d
JOIN tieout.reference n ON n.document = d.id AND n.role = 0
LEFT JOIN tieout.suspended x ON x.component = d.component
LEFT JOIN tieout.step s ON s.document = d.id
WHERE d.component = ANY ($1)
ORDER BY d.id, s.type COLLATE "C"
"""


class Step(msgspec.Struct, frozen=True):
    """What happened to a document by events of one type: how often, when, and with what amount last."""

    type: str
    n: int
    first_at: datetime
    last_at: datetime
    amount_minor: int | None
    currency: str | None


class State(msgspec.Struct):
    """A document as it is now: the label of its transaction, its id and name, and its steps."""

    label: int
    id: bytes
    kind: str
    number: str
    steps: list[Step]


async def states(conn: Connection, components: Iterable[int]) -> dict[int, State]:
    """Return the documents of components, by their number in the store."""
    found: dict[int, State] = {}
    for label, document, content, kind, number, *step in await conn.fetch(
        _STATES, list(components)
    ):
        state = found.setdefault(document, State(label, content.bytes, kind, number, []))
        if step[0] is not None:
            state.steps.append(Step(*step))
    return found
