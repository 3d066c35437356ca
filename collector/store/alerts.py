"""The outbox of alerts: written with the run that changed something, emptied by whoever delivers.

A delivery is claimed before it is sent, so that two processes never send it at the same time, and one
that was killed amid sending is sent again when the claim runs out: at least once, by an id of its own.
Of one control and destination the oldest goes first, and the next one only after it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from collector.model.control import Exception_
from collector.model.standing import Open, Standing
from collector.store.ingest import Connection

GIVE_UP = timedelta(days=3)
"""What could not be delivered within this time is given up."""
CLAIM = timedelta(minutes=2)
"""How long a claim holds: longer than a request may take."""
ERROR_CHARS_MAX = 500

_STANDING = """
SELECT s.run, e.as_of, r.verdict, s.evaluated, s.concluded,
       (SELECT n.notice FROM tieout.standing n WHERE n.control = s.control AND n.notice IS NOT NULL
        ORDER BY n.run DESC LIMIT 1) AS notice
FROM tieout.standing s JOIN tieout.control_run r ON r.seq = s.run
LEFT JOIN tieout.control_run e ON e.seq = s.evaluated
WHERE s.control = $1 ORDER BY s.run DESC LIMIT 1
"""
_OPEN = f"""
SELECT x.run, x.ordinal, {", ".join(f"x.{name}" for name in Exception_.__struct_fields__)}
FROM (SELECT run, ordinal FROM tieout.control_exception WHERE run = $1
      UNION ALL SELECT of_run, ordinal FROM tieout.held_exception WHERE run = $1) o
JOIN tieout.control_exception x USING (run, ordinal) ORDER BY x.run, x.ordinal
"""  # noqa: S608 -- the names are constants

_PENDING = "d.sent_at IS NULL AND d.given_up_at IS NULL"
_HEADS = f"""
SELECT * FROM (
    SELECT DISTINCT ON (d.control) d.run, d.control, d.attempts, d.due_at, s.notice,
           (SELECT b.notice FROM tieout.standing b WHERE b.control = s.control AND b.run < s.run
                AND b.notice IS NOT NULL ORDER BY b.run DESC LIMIT 1) AS before
    FROM tieout.delivery d JOIN tieout.standing s ON s.run = d.run
    WHERE d.destination = $1 AND {_PENDING} ORDER BY d.control, d.run) head
WHERE due_at <= $2 ORDER BY run
"""  # noqa: S608 -- a constant
_CLAIM = f"""
UPDATE tieout.delivery d SET attempts = d.attempts + 1, due_at = $4
WHERE d.run = $1 AND d.destination = $2 AND d.attempts = $3 AND {_PENDING}
"""  # noqa: S608 -- a constant
_TOLD = f"""
SELECT DISTINCT ON (s.control) s.control, s.run, s.notice, NULL AS before, 0 AS attempts
FROM tieout.standing s
WHERE s.notice IS NOT NULL AND s.control = ANY ($2) AND NOT EXISTS (
    SELECT FROM tieout.delivery d
    WHERE d.destination = $1 AND d.control = s.control AND {_PENDING})
ORDER BY s.control, s.run DESC
"""  # noqa: S608 -- a constant
_LIST = """
SELECT d.run, d.destination, d.control, d.entered_at, d.attempts, d.due_at, d.sent_at, d.given_up_at,
       d.error, s.notice #>> '{data,summary}' AS summary
FROM tieout.delivery d JOIN tieout.standing s ON s.run = d.run
WHERE $1::text IS NULL OR $1 = CASE WHEN d.sent_at IS NOT NULL THEN 'sent'
                                    WHEN d.given_up_at IS NOT NULL THEN 'given up' ELSE 'pending' END
ORDER BY d.run DESC, d.destination LIMIT $2
"""
_COUNTS = f"""
SELECT d.destination, count(d.sent_at) AS sent, count(d.given_up_at) AS given_up,
       count(*) FILTER (WHERE {_PENDING}) AS pending,
       min(d.entered_at) FILTER (WHERE {_PENDING}) AS oldest
FROM tieout.delivery d GROUP BY d.destination
"""  # noqa: S608 -- a constant


class Delivery(msgspec.Struct, frozen=True):
    """A notice that is to be told: `before` is the control's notice before it; None where there is none."""

    run: int
    control: str
    attempts: int
    notice: dict[str, Any]
    before: dict[str, Any] | None


class Counts(msgspec.Struct, frozen=True):
    """How many notices a destination was told, was not told for good, and is still to be told."""

    sent: int = 0
    given_up: int = 0
    pending: int = 0
    oldest: datetime | None = None


async def standing(conn: Connection, control: str) -> Standing | None:
    """Return what the last run of the present left of a control; None where there was none."""
    row = await conn.fetchrow(_STANDING, control)
    if row is None:
        return None
    found = await conn.fetch(_OPEN, row["evaluated"])
    return Standing(
        row["run"],
        row["as_of"],
        row["verdict"],
        row["evaluated"],
        row["concluded"],
        [Open(run, n, Exception_(str(subject), *rest)) for run, n, subject, *rest in found],
        _decoded(row["notice"]),
    )


async def keep(conn: Connection, control: str, left: Standing) -> None:
    """Keep what a run left, with its notice; the caller has kept the run in the same transaction."""
    notice = None if left.notice is None else msgspec.json.encode(left.notice).decode()
    await conn.execute(
        "INSERT INTO tieout.standing (run, control, evaluated, concluded, notice)"
        " VALUES ($1, $2, $3, $4, $5)",
        *(left.run, control, left.evaluated, left.concluded, notice),
    )
    if left.evaluated == left.run:
        await conn.copy_records_to_table(
            "held_exception",
            records=[(left.run, o.run, o.ordinal) for o in left.open if o.run != left.run],
            columns=["run", "of_run", "ordinal"],
            schema_name="tieout",
        )


async def enter(
    conn: Connection, run: int, control: str, destinations: Iterable[str], now: datetime
) -> None:
    """Enter a run's notice for each destination."""
    await conn.executemany(
        "INSERT INTO tieout.delivery (run, destination, control, entered_at, due_at)"
        " VALUES ($1, $2, $3, $4, $4)",
        [(run, destination, control, now) for destination in destinations],
    )


async def due(conn: Connection, destination: str, now: datetime) -> list[Delivery]:
    """List the next delivery of each control that is due at a destination, the oldest first."""
    return [_delivery(row) for row in await conn.fetch(_HEADS, destination, now)]


async def told(conn: Connection, destination: str, controls: Sequence[str]) -> list[Delivery]:
    """List the last notice of each control of which nothing is pending at a destination."""
    return [_delivery(row) for row in await conn.fetch(_TOLD, destination, controls)]


async def claim(conn: Connection, destination: str, delivery: Delivery, now: datetime) -> bool:
    """Claim a delivery before it is sent; False where somebody else did."""
    done = await conn.execute(_CLAIM, delivery.run, destination, delivery.attempts, now + CLAIM)
    return bool(done == "UPDATE 1")


async def note_sent(conn: Connection, destination: str, run: int, now: datetime) -> None:
    """Note that a delivery arrived."""
    await conn.execute(
        "UPDATE tieout.delivery SET sent_at = $3, given_up_at = NULL, error = NULL"
        " WHERE run = $1 AND destination = $2",
        *(run, destination, now),
    )


async def note_failed(
    conn: Connection, destination: str, run: int, error: str, again_at: datetime
) -> None:
    """Note why a delivery failed, and when it is tried again."""
    await conn.execute(
        "UPDATE tieout.delivery SET error = $3, due_at = $4 WHERE run = $1 AND destination = $2",
        *(run, destination, error[:ERROR_CHARS_MAX], again_at),
    )


async def give_up(conn: Connection, now: datetime) -> int:
    """Give up what has been pending for too long, at whatever destination; return how many."""
    done = await conn.execute(
        f"UPDATE tieout.delivery d SET given_up_at = $1 WHERE {_PENDING} AND d.entered_at <= $2",  # noqa: S608 -- a constant
        *(now, now - GIVE_UP),
    )
    return int(done.split()[1])


async def listed(conn: Connection, state: str | None, limit: int) -> list[dict[str, Any]]:
    """List deliveries, the newest first: all, or those that are `pending`, `sent` or `given up`."""
    return [dict(row) for row in await conn.fetch(_LIST, state, limit)]


async def counts(conn: Connection) -> dict[str, Counts]:
    """Count deliveries by destination."""
    return {name: Counts(*rest) for name, *rest in await conn.fetch(_COUNTS)}


def _delivery(row: Any) -> Delivery:  # noqa: ANN401 -- a database row
    notice = _decoded(row["notice"])
    assert notice is not None  # noqa: S101 -- only runs with a notice have deliveries
    return Delivery(row["run"], row["control"], row["attempts"], notice, _decoded(row["before"]))


def _decoded(text: str | None) -> dict[str, Any] | None:
    found: dict[str, Any] | None = None if text is None else msgspec.json.decode(text)
    return found
