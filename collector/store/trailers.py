"""What sources state themselves of their parts (a trailer, a header count), held against what was read.

A reading of a part ends with the batch that has an ending; what is stated there is about the part.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from collector.model.money import NotMoney, from_minor, to_minor
from collector.model.words import counted
from collector.store.ingest import Connection

DIFFERING_MAX = 100
"""Parts that are named; a stream with more is far from complete anyway."""

# `ended` counts endings from the last one backwards: 1 is the last reading that came to an end.
_LAST_READING = """
WITH k AS (SELECT read.seq_at($1) AS seq),
reading AS (
    SELECT b.*, count(b.ending) OVER (PARTITION BY b.stream, b.part_name ORDER BY b.seq DESC) AS ended
    FROM tieout.batch b, k WHERE b.seq <= k.seq AND b.part IS NOT NULL)
SELECT s.source, s.stream, r.part_name AS part, sum(r.read)::bigint AS read,
       sum(r.accepted + m.accepted)::bigint AS accepted, sum(r.quarantined + m.quarantined)::bigint AS quarantined,
       jsonb_agg(r.amounts) || coalesce(jsonb_path_query_array(jsonb_agg(m.amounts), '$[*][*]'), '[]') AS amounts,
       (array_agg(r.stated ORDER BY r.seq DESC))[1] AS stated
FROM reading r JOIN tieout.stream s ON s.id = r.stream
CROSS JOIN LATERAL (  -- what later mappings made of its records is booked as a difference
    SELECT coalesce(sum(d.accepted), 0) AS accepted, coalesce(sum(d.quarantined), 0) AS quarantined,
           coalesce(jsonb_agg(d.amounts), '[]') AS amounts
    FROM k JOIN tieout.remapping m ON m.batch = r.id AND m.seq <= k.seq JOIN tieout.batch d ON d.seq = m.seq) m
WHERE r.ended = 1
GROUP BY s.source, s.stream, r.part_name
HAVING bool_or(r.ending IS NOT NULL AND r.stated IS NOT NULL)
ORDER BY s.source, s.stream, r.part_name
"""


class Statement(msgspec.Struct, frozen=True):
    """What the source states of one part, and what was read of it: records, and minor units by currency.

    `read_amounts` is None where some records were passed over or known already: their amounts are not among
    those that came in. Those of the `quarantined` are not either; their number says whose they may be.
    """

    part: str
    grade: str
    what: str
    records: int | None
    amounts: dict[str, int]
    read: int
    quarantined: int
    read_amounts: dict[str, int] | None

    @property
    def missing(self) -> int | None:
        """How many records fewer were read than are stated; negative where more."""
        return None if self.records is None else self.records - self.read

    @property
    def missing_amounts(self) -> dict[str, int] | None:
        """How much less came in than is stated, by currency; None where that does not follow."""
        if self.read_amounts is None or not self.amounts:
            return None
        return {c: stated - self.read_amounts.get(c, 0) for c, stated in self.amounts.items()}

    @property
    def is_comparable(self) -> bool:
        """Tell whether what is stated can be held against what was read."""
        return self.records is not None or bool(self.missing_amounts and not self.quarantined)

    @property
    def difference(self) -> str:
        """Say how what was read differs from what is stated; empty where it agrees."""
        said = f"{self.part} states {{}} ({self.what})"
        if missing := self.missing:
            return (
                f"{said.format(counted(self.records or 0, 'record'))}, and {self.read:,} were read: "
                f"{abs(missing):,} {'fewer' if missing > 0 else 'more'}."
            )
        if self.quarantined:
            return ""
        for currency, less in (self.missing_amounts or {}).items():
            if less:
                there = self.amounts[currency]
                return (
                    f"{said.format(from_minor(there, currency))}, and {from_minor(there - less, currency)} "
                    f"came in: a difference of {from_minor(-less, currency)}."
                )
        return ""


class Trailers(msgspec.Struct, frozen=True):
    """What a stream's source states: of how many parts, by the weakest grade, how many records."""

    parts: int = 0
    grade: str = "A"
    records: int | None = 0
    statements: list[Statement] = []

    @property
    def differing(self) -> list[Statement]:
        """The parts of which something else is stated than was read, as many as are named."""
        return [s for s in self.statements if s.difference][:DIFFERING_MAX]


async def trailers(conn: Connection, as_known: datetime) -> dict[tuple[str, str], Trailers]:
    """Return what sources state, by (source, stream); streams of which nothing is stated are left out."""
    by_stream: dict[tuple[str, str], list[Statement]] = {}
    for row in await conn.fetch(_LAST_READING, as_known):
        by_stream.setdefault((row["source"], row["stream"]), []).append(_statement(row))
    return {stream: _folded(statements) for stream, statements in by_stream.items()}


def _folded(statements: list[Statement]) -> Trailers:
    held = [s for s in statements if s.is_comparable]
    counts = [s.records for s in held]
    return Trailers(
        len(held),
        max((s.grade for s in held), default="A"),
        None if None in counts else sum(n for n in counts if n is not None),
        statements,
    )


def _statement(row: Mapping[str, Any]) -> Statement:
    stated = msgspec.json.decode(row["stated"])
    came_in: Counter[str] | None = None
    if row["accepted"] + row["quarantined"] == row["read"]:
        came_in = Counter()
        for amounts in msgspec.json.decode(row["amounts"]):
            came_in.update(amounts)
    try:
        said = {c: to_minor(a, c) for c, a in stated["amounts"].items()}
    except NotMoney:
        said = {}
    return Statement(
        row["part"],
        stated["grade"],
        stated["what"],
        stated["count"],
        said,
        row["read"],
        row["quarantined"],
        came_in,
    )
