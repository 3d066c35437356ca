"""Bridges that are kept current: written whenever they were computed, and what asks for a new one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from collector.store.ingest import Connection

_COLUMNS = "flow, period, as_of, as_known, begun_at, ended_at, document, error"

# A bridge speaks of other months than one expects: of those in which the transactions did something that were touched.
# Superseded events count as well, for the month that they are taken out of. $1 a commit, $2 event types. Two days
# around an event: a month by the clock of the entity is another by UTC.
_TOUCHED = """
WITH told AS MATERIALIZED (
    SELECT e.document FROM tieout.batch b JOIN tieout.event e ON e.batch = b.id WHERE b.seq > $1
    UNION
    SELECT e.document FROM (SELECT event_id FROM tieout.supersession WHERE seq > $1
                            UNION SELECT event_id FROM tieout.deletion WHERE seq > $1) x
    JOIN tieout.event e USING (event_id)
    UNION
    SELECT id FROM tieout.document WHERE known_from > $1
    UNION
    SELECT document FROM tieout.membership_history WHERE known_to > $1),
lent AS MATERIALIZED (  -- what happens to a group document happens to those that name it
    SELECT document FROM told
    UNION
    SELECT g.member FROM told t JOIN read.present_group g ON g.document = t.document),
component AS MATERIALIZED (
    SELECT d.component FROM lent l JOIN tieout.document d ON d.id = l.document
    UNION
    SELECT component FROM tieout.membership_history WHERE known_to > $1),
member AS MATERIALIZED (SELECT d.id FROM component c JOIN tieout.document d ON d.component = c.component),
whole AS MATERIALIZED (
    SELECT id AS document FROM member
    UNION
    SELECT g.document FROM member m JOIN read.present_group g ON g.member = m.id)
SELECT DISTINCT to_char((e.occurred_at + x.shift) AT TIME ZONE 'UTC', 'YYYY-MM') AS period
FROM whole w JOIN tieout.event e ON e.document = w.document AND e.type = ANY ($2)
CROSS JOIN (VALUES (interval '-1 day'), (interval '1 day')) x(shift)
"""

# What can change although nothing is told of it: something is on its way, or unexplained. $2: all.
_UNSETTLED = """
SELECT DISTINCT b.period
FROM (SELECT DISTINCT ON (flow, period) * FROM tieout.bridge WHERE flow = ANY ($1) ORDER BY flow, period, id DESC) b
WHERE $2 OR b.document IS NULL OR EXISTS (
    SELECT FROM json_array_elements(b.document -> 'rows') r
    WHERE (r ->> 'unexplained_items')::bigint > 0 OR r -> 'cells' -> 'in_transit' IS NOT NULL)
"""


class Kept(msgspec.Struct, frozen=True):
    """A flow's bridge of a month at T, as known at K; `error` says why it has no `document`."""

    flow: str
    period: str
    as_of: datetime
    as_known: datetime
    begun_at: datetime
    ended_at: datetime
    document: dict[str, Any] | None
    error: str | None


class Attempt(msgspec.Struct, frozen=True):
    """The last time that bridges were computed, of all flows and months together."""

    as_known: datetime
    begun_at: datetime
    ended_at: datetime
    failed: bool


class Residual(msgspec.Struct, frozen=True):
    """What a flow's last bridge of a month leaves unexplained between two steps, by entity and currency.

    Without steps: nothing was done in the month, or (not `computed`) the bridge could not be computed.
    """

    bridge: int
    flow: str
    period: str
    entity: str | None
    currency: str | None
    from_step: str | None
    to_step: str | None
    from_system: str | None
    to_system: str | None
    unexplained_items: int | None
    unexplained_minor: int | None
    computed: bool
    complete: bool
    as_of: datetime
    as_known: datetime
    ended_at: datetime
    error: str | None


async def keep(conn: Connection, bridges: Sequence[Kept]) -> None:
    """Keep bridges that were computed together."""
    await conn.executemany(
        f"INSERT INTO tieout.bridge ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",  # noqa: S608 -- a constant
        [
            (
                *(b.flow, b.period, b.as_of, b.as_known, b.begun_at, b.ended_at),
                None if b.document is None else msgspec.json.encode(b.document).decode(),
                b.error,
            )
            for b in bridges
        ],
    )


async def last_attempt(conn: Connection) -> Attempt | None:
    """Return when bridges were computed last; None where they never were."""
    row = await conn.fetchrow(
        "SELECT as_known, begun_at, ended_at, bool_or(error IS NOT NULL) AS failed FROM tieout.bridge"
        " WHERE ended_at = (SELECT ended_at FROM tieout.bridge ORDER BY id DESC LIMIT 1)"
        " GROUP BY as_known, begun_at, ended_at"
    )
    return None if row is None else Attempt(*row)


async def latest(conn: Connection, flows: Sequence[str], period: str) -> list[Kept]:
    """Return the last bridge of a month of each of some flows, in their order; none of those that have none."""
    found = await conn.fetch(
        f"SELECT DISTINCT ON (flow) {_COLUMNS} FROM tieout.bridge"  # noqa: S608 -- a constant
        " WHERE flow = ANY ($1) AND period = $2 ORDER BY flow, id DESC",
        flows,
        period,
    )
    kept = {row["flow"]: _kept(row) for row in found}
    return [kept[flow] for flow in flows if flow in kept]


async def is_present(conn: Connection, as_known: datetime) -> bool:
    """Say whether nothing but runs was recorded since a time."""
    return bool(await conn.fetchval("SELECT read.is_present($1)", as_known))


async def touched(conn: Connection, since: datetime, types: Sequence[str]) -> set[str]:
    """Return the months in which transactions did one of `types` of which something is known since a time."""
    seq = await conn.fetchval("SELECT read.seq_at($1)", since)
    return {row["period"] for row in await conn.fetch(_TOUCHED, seq, types)}


async def unsettled(conn: Connection, flows: Sequence[str], since: datetime) -> set[str]:
    """Return the months whose last bridge may change by itself; all where the configuration changed since."""
    configured = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM tieout.config_version WHERE seq > read.seq_at($1))", since
    )
    return {row["period"] for row in await conn.fetch(_UNSETTLED, flows, configured)}


async def residuals(conn: Connection) -> list[Residual]:
    """List what the last bridge of each flow and month leaves unexplained."""
    found = await conn.fetch(
        f"SELECT {', '.join(Residual.__struct_fields__)} FROM read.bridge"  # noqa: S608 -- names of fields
        " ORDER BY flow, period, entity, currency, from_step"
    )
    return [Residual(*row) for row in found]


async def computed_at(conn: Connection) -> dict[str, datetime]:
    """Return when each flow's bridge was last begun that could be computed."""
    found = await conn.fetch(
        "SELECT flow, max(begun_at) AS at FROM tieout.bridge WHERE error IS NULL GROUP BY flow"
    )
    return {row["flow"]: row["at"] for row in found}


def _kept(row: Any) -> Kept:  # noqa: ANN401 -- a database row
    document = row["document"]
    return Kept(**{**row, "document": None if document is None else msgspec.json.decode(document)})
