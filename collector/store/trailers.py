"""What sources state themselves of their parts (a trailer, a header count), held against what was read.

A reading of a part ends with the batch that has an ending; what is stated there is about the part.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
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
       sum(r.accepted)::bigint AS accepted, jsonb_agg(r.amounts) AS amounts,
       (array_agg(r.stated ORDER BY r.seq DESC))[1] AS stated
FROM reading r JOIN tieout.stream s ON s.id = r.stream WHERE r.ended = 1
GROUP BY s.source, s.stream, r.part_name
HAVING bool_or(r.ending IS NOT NULL AND r.stated IS NOT NULL)
ORDER BY s.source, s.stream, r.part_name
"""


class Differing(msgspec.Struct, frozen=True):
    """A part of which the source states something else than was read; `records` is the distance."""

    part: str
    records: int | None
    sentence: str


class Trailers(msgspec.Struct, frozen=True):
    """What a stream's source states: of how many parts, by the weakest grade, how many records."""

    parts: int = 0
    grade: str = "A"
    records: int | None = 0
    differing: list[Differing] = []


async def trailers(conn: Connection, as_known: datetime) -> dict[tuple[str, str], Trailers]:
    """Return what sources state, by (source, stream); streams of which nothing is stated are left out."""
    by_stream: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in await conn.fetch(_LAST_READING, as_known):
        part = {**row, "stated": msgspec.json.decode(row["stated"])}
        by_stream.setdefault((row["source"], row["stream"]), []).append(part)
    return {stream: _folded(parts) for stream, parts in by_stream.items()}


def _folded(parts: Iterable[Mapping[str, Any]]) -> Trailers:
    held = [(p, _difference(p)) for p in parts if _comparable(p)]
    counts = [p["stated"]["count"] for p, _ in held]
    return Trailers(
        len(held),
        max((p["stated"]["grade"] for p, _ in held), default="A"),
        None if None in counts else sum(counts),
        [difference for _, difference in held if difference is not None][:DIFFERING_MAX],
    )


def _comparable(part: Mapping[str, Any]) -> bool:
    return part["stated"]["count"] is not None or bool(_amounts(part))


def _amounts(part: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return (stated, read) in minor units by currency, where each record of the reading came in as new.

    Of a record that is ignored, quarantined or known already the amount is not among those read.
    """
    if part["accepted"] != part["read"]:
        return {}
    read: Counter[str] = Counter()
    for amounts in msgspec.json.decode(part["amounts"]):
        read.update(amounts)
    try:
        return {c: (to_minor(a, c), read[c]) for c, a in part["stated"]["amounts"].items()}
    except NotMoney:
        return {}


def _difference(part: Mapping[str, Any]) -> Differing | None:
    stated, name = part["stated"]["count"], part["part"]
    said = f"{name} states {{}} ({part['stated']['what']})"
    if stated is not None and stated != part["read"]:
        missing = stated - part["read"]
        sentence = (
            f"{said.format(counted(stated, 'record'))}, and {part['read']:,} were read: "
            f"{abs(missing):,} {'fewer' if missing > 0 else 'more'}."
        )
        return Differing(name, abs(missing), sentence)
    for currency, (there, here) in _amounts(part).items():
        if there != here:
            sentence = (
                f"{said.format(from_minor(there, currency))}, and {from_minor(here, currency)} "
                f"came in: a difference of {from_minor(here - there, currency)}."
            )
            return Differing(name, None, sentence)
    return None
