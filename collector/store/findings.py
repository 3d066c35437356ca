"""What the last runs of controls found, in pages that stay the same while new runs arrive."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from collector.model.control import Exception_
from collector.store.ingest import Connection

# Open are the exceptions of each control's last run that evaluated, up to a commit: an aborted run
# closes nothing.
_OPEN = """
WITH evaluated AS (
    SELECT DISTINCT ON (control) control, seq, as_of FROM tieout.control_run
    WHERE seq <= $1 AND verdict NOT IN ('ERROR', 'SKIPPED') AND ($2::text IS NULL OR control = $2)
    ORDER BY control, seq DESC)
SELECT r.control, r.seq AS run, r.as_of, x.ordinal, x.subject, x.number, x.entity, x.reason,
       x.sentence, x.expected, x.actual, x.difference_minor, x.amount_minor, x.currency
FROM evaluated r JOIN tieout.control_exception x ON x.run = r.seq
WHERE (r.seq, x.ordinal) > ($3, $4)
ORDER BY r.seq, x.ordinal LIMIT $5
"""
_OF_RUN = f"""
SELECT {", ".join(Exception_.__struct_fields__)} FROM tieout.control_exception
WHERE run = $1 AND ordinal > $2 ORDER BY ordinal LIMIT $3
"""  # noqa: S608 -- the names are constants


async def seq_at(conn: Connection, as_known: datetime) -> int:
    """Return the number of the last commit known at a time."""
    return int(await conn.fetchval("SELECT read.seq_at($1)", as_known))


async def open_exceptions(
    conn: Connection, until: int, control: str | None, after: tuple[int, int], limit: int
) -> Sequence[Any]:
    """List open exceptions as known at commit `until`, by (run, ordinal), after such a place."""
    found: Sequence[Any] = await conn.fetch(_OPEN, until, control, *after, limit)
    return found


async def exceptions_of(conn: Connection, run: int, after: int, limit: int) -> list[Exception_]:
    """List the exceptions of one run, in its order, after an ordinal (-1: from the first)."""
    found = await conn.fetch(_OF_RUN, run, after, limit)
    return [Exception_(**{**row, "subject": str(row["subject"])}) for row in found]


async def last_scheduled(conn: Connection) -> dict[str, datetime]:
    """Return when the last run by schedule of each control was started."""
    found = await conn.fetch(
        "SELECT control, max(started_at) AS at FROM tieout.control_run"
        " WHERE trigger = 'schedule' GROUP BY control"
    )
    return {row["control"]: row["at"] for row in found}
