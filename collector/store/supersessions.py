"""What a later mapping takes back: events that stand no more, and what documents had from them alone."""

from collections.abc import Collection, Iterable, Sequence
from datetime import date
from uuid import UUID

from collector.model.reference import LINK
from collector.store.ingest import Connection, hashes_of

Revision = tuple[bytes, int, date]
"""One revision of an event: its id, number and month."""

_DROP_STEPS = """
DELETE FROM tieout.step s USING unnest($1::bigint[], $2::text[]) t(document, type), tieout.document d
WHERE s.document = t.document AND s.type = t.type AND d.id = t.document AND NOT EXISTS (
    SELECT FROM tieout.standing_event e
    WHERE e.document = d.id AND e.type = t.type AND e.month >= d.first_month AND e.month <= d.last_month)
"""


async def take_back(conn: Connection, seq: int, revisions: Iterable[Revision]) -> None:
    """Have revisions of events stand no more, from commit `seq` on."""
    await conn.copy_records_to_table(
        "supersession",
        records=[(UUID(bytes=event), number, month, seq) for event, number, month in revisions],
        columns=["event_id", "revision_no", "month", "seq"],
        schema_name="tieout",
    )


async def drop_references(
    conn: Connection, dropped: Collection[tuple[int, int, bytes]], seq: int
) -> None:
    """Have documents lose references, (document, role, content id of the name), as of commit `seq`."""
    if dropped:
        documents, roles, names = zip(*dropped, strict=True)
        by_value, by_name = zip(*map(hashes_of, names), strict=True)
        await conn.execute(
            "WITH lost AS (DELETE FROM tieout.reference r"
            " USING unnest($2::bigint[], $3::int[], $4::bigint[], $5::bigint[]) q(document, role, by_value, by_name)"
            " WHERE r.document = q.document AND r.role = q.role AND r.value_hash = q.by_value"
            " AND r.name_hash = q.by_name AND r.kind <> $6 RETURNING r.*)"
            " INSERT INTO tieout.reference_history SELECT *, $1 FROM lost",
            seq,
            documents,
            roles,
            by_value,
            by_name,
            LINK,
        )


async def retire(conn: Connection, documents: Sequence[int], seq: int) -> None:
    """Have documents of which no event stands lose all their names, as of commit `seq`."""
    await conn.execute(
        "WITH lost AS (DELETE FROM tieout.reference WHERE document = ANY ($1) RETURNING *)"
        " INSERT INTO tieout.reference_history SELECT *, $2 FROM lost",
        documents,
        seq,
    )


async def drop_steps(conn: Connection, touched: Iterable[tuple[int, str]]) -> None:
    """Delete steps of which no event stands any more."""
    pairs = list(touched)
    if pairs:
        documents, types = zip(*pairs, strict=True)
        await conn.execute(_DROP_STEPS, documents, types)
