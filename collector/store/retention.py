"""Retention: raw bodies and personal fields are erased at the age that the configuration says."""

from datetime import datetime, timedelta

import msgspec

from collector.store.ingest import Connection

EVERY = timedelta(days=1)
"""How often what has come of age is looked for."""
ROWS_MAX = 50_000
"""Rows that one erasure takes at most; what is left is due at once, not a day later."""


class Erased(msgspec.Struct, frozen=True):
    """What was erased of one kind, `raw` or `personal`: when last, how many rows then, and in all."""

    what: str
    last_at: datetime | None
    last: int
    total: int


async def erased(conn: Connection) -> list[Erased]:
    """Return what was erased so far, by kind."""
    found = await conn.fetch(
        "SELECT k.what, max(e.erased_at) AS last_at,"
        " coalesce((array_agg(e.erased ORDER BY e.id DESC))[1], 0) AS last,"
        " coalesce(sum(e.erased), 0)::bigint AS total"
        " FROM unnest(ARRAY['raw', 'personal']) WITH ORDINALITY k(what, n)"
        " LEFT JOIN tieout.erasure e ON e.what = k.what GROUP BY k.what, k.n ORDER BY k.n"
    )
    return [Erased(*row) for row in found]


async def erase_due(conn: Connection, now: datetime) -> int:
    """Erase what has come of age, a bounded number of rows of each kind; return how many.

    The database itself knows the published ages and keeps a trace; where none is set nothing happens.
    """
    rows = 0
    for kind in await erased(conn):
        if kind.last_at is None or kind.last == ROWS_MAX or now - kind.last_at >= EVERY:
            rows += await conn.fetchval("SELECT tieout.erase($1, $2, $3)", kind.what, now, ROWS_MAX)
    return rows
