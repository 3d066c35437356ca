"""Numbers that are missing from the consecutive ranges that sources declare for their streams."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from typing_extensions import override

from collector.store.ingest import Connection

HOLES_MAX = 10_000
"""Holes that are looked at; a stream with more does not have the range that it declares."""

# Every revision that stands counts: a number that was seen once is not missing. `first` is what a range begins with, if
# that is declared.
_HOLES = """
WITH wanted AS (SELECT * FROM unnest($2::text[], $3::bigint[]) w(stream, first)),
seen AS (
    SELECT w.stream, w.first, e.body #>> '{number,0}' AS range, (e.body #>> '{number,1}')::bigint AS n,
           min(e.occurred_at) AS at
    FROM wanted w JOIN tieout.stream s ON s.source || '/' || s.stream = w.stream
    JOIN tieout.batch b ON b.stream = s.id AND b.seq <= (SELECT read.seq_at($1))
    JOIN tieout.event e ON e.batch = b.id AND e.body ? 'number'
    WHERE NOT EXISTS (SELECT FROM tieout.supersession x WHERE (x.event_id, x.revision_no, x.month)
                      = (e.event_id, e.revision_no, e.month) AND x.seq <= (SELECT read.seq_at($1)))
    GROUP BY w.stream, w.first, range, n),
beside AS (
    SELECT stream, range, n, at, coalesce(lag(n) OVER range_of, first - 1) AS before,
           lag(at) OVER range_of AS before_at
    FROM seen WINDOW range_of AS (PARTITION BY stream, range ORDER BY n))
SELECT stream, range, before + 1 AS first, n - 1 AS last, before_at, at AS after_at
FROM beside WHERE n > before + 1 ORDER BY stream, range COLLATE "C", n LIMIT $4
"""


class Hole(msgspec.Struct, frozen=True):
    """Consecutive numbers of a range that are missing: from `first` to `last`, both included.

    The numbers beside them came with what happened `before_at` (None: no lower number is known) and `after_at`.
    """

    range: str
    first: int
    last: int
    before_at: datetime | None
    after_at: datetime

    @property
    def size(self) -> int:
        """How many numbers are missing."""
        return self.last - self.first + 1

    def without(self, first: int, last: int) -> list["Hole"]:
        """Return what is left of it without some numbers."""
        lower, upper = min(self.last, first - 1), max(self.first, last + 1)
        parts = ((self.first, lower), (upper, self.last))
        return [msgspec.structs.replace(self, first=a, last=z) for a, z in parts if a <= z]

    @override
    def __str__(self) -> str:
        """Write it as people do: `DE10 R-104..106`."""
        return f"{self.range}{self.first}" + (f"..{self.last}" if self.last > self.first else "")


async def holes(
    conn: Connection, as_known: datetime, ranges: Mapping[str, int | None]
) -> dict[str, list[Hole]]:
    """Return the holes of streams (`source/stream`, the number that their ranges begin with), as known at K."""
    out: dict[str, list[Hole]] = {}
    if ranges:
        streams, firsts = list(ranges), list(ranges.values())
        for row in await conn.fetch(_HOLES, as_known, streams, firsts, HOLES_MAX):
            fields = dict(row)
            out.setdefault(fields.pop("stream"), []).append(Hole(**fields))
    return out
