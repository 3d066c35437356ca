"""What the store answers about master data: who has which value of a code, valid and known from when on."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from collector.store.ingest import Connection

# $1 flow, $2 T, $3 K, $4 rules (the parameters of its control)
_SAID = """
p AS (SELECT $4::jsonb AS p),
said AS MATERIALIZED (
    SELECT v.*, d.number, ltrim(lower(d.number), '0') AS code,
           v.state = 'value' AND NOT read.dimension_closed(
               CASE WHEN v.step = p.p ->> 'owner' THEN p.p - 'values' ELSE p.p END, v.value) AS valid
    FROM p, read.dimension_at($1, $2, 'infinity', $3, $5::bigint[]) v JOIN read.documents($3, $5::bigint[]) d
        ON d.document = v.document),
owner AS (
    SELECT DISTINCT ON (s.code) s.* FROM p JOIN said s ON s.step = p.p ->> 'owner'
    ORDER BY s.code, s.state = 'future', s.state <> 'value', s.since DESC, s.document)
"""

_PARTIES = f"""
WITH {_SAID},
party AS (
    SELECT c.step, true AS consumes FROM p, jsonb_array_elements_text(p.p -> 'consumers') c(step)
    UNION ALL SELECT p.p ->> 'owner', false FROM p),
held AS (
    SELECT y.step, y.consumes, o.code, coalesce(s.valid, false) AS valid, s.state IS NOT NULL AS has,
           coalesce(o.valid, false) <> coalesce(s.valid, false)
               OR o.valid AND s.valid AND read.dimension_differs(p.p, o.value, s.value) <> '{{}}' AS differs
    FROM p, party y CROSS JOIN owner o LEFT JOIN said s ON s.step = y.step AND s.code = o.code
    UNION ALL
    SELECT s.step, true, s.code, s.valid, true, false FROM said s JOIN party y ON y.step = s.step AND y.consumes
    WHERE NOT EXISTS (SELECT FROM owner o WHERE o.code = s.code))
SELECT y.step, y.consumes, count(*) FILTER (WHERE h.valid) AS valid, count(*) FILTER (WHERE h.has AND NOT h.valid) AS not_valid,
       CASE WHEN y.consumes THEN count(*) FILTER (WHERE h.differs) END AS differing
FROM party y LEFT JOIN held h ON h.step = y.step GROUP BY y.step, y.consumes
"""  # noqa: S608 -- a constant

_HOLDINGS = f"""
WITH {_SAID}
SELECT s.step, s.number, s.entity, s.state, s.since, CASE WHEN s.state = 'value' THEN s.value END AS value, s.rivals, s.valid,
       CASE WHEN s.step <> p.p ->> 'owner' AND o.state = 'value' AND s.state = 'value'
            THEN read.dimension_differs(p.p, o.value, s.value) ELSE '{{}}' END AS differs
FROM p, said s LEFT JOIN owner o ON o.code = s.code ORDER BY s.step, s.number, s.document
"""  # noqa: S608 -- a constant

_VALUES = """
SELECT v.step, d.number, v.value, nullif(v.valid_from, '-infinity') AS valid_from, nullif(v.valid_to, 'infinity') AS valid_to,
       v.stated, v.told_at, (
           SELECT min(c.recorded_at) FROM tieout.event e JOIN tieout.batch b ON b.id = e.batch
           JOIN tieout.commit_log c ON c.seq = b.seq AND c.recorded_at <= $2
           WHERE e.document = v.document AND e.occurred_at = v.told_at
             AND e.type = ANY (ARRAY(SELECT t.type FROM read.step_type($1, $2) t WHERE t.step = v.step))) AS recorded_at,
       v.list, v.last_at, v.gone_at
FROM read.dimension_values($1, 'infinity', $2, $3) v JOIN read.documents($2, $3) d ON d.document = v.document
ORDER BY v.step, d.number, v.valid_from, v.told_at
"""

_DOCUMENTS = """
SELECT d.document FROM read.documents($1, ARRAY(SELECT p.document FROM read.present_document p WHERE p.kind = $2)) d
WHERE $3::text IS NULL OR ltrim(lower(d.number), '0') = ltrim(lower($3), '0')
"""


class Party(msgspec.Struct, frozen=True):
    """How many codes are valid with an owner or a consumer; with a consumer, how many are not as the owner's."""

    valid: int
    not_valid: int
    differing: int | None


class Value(msgspec.Struct, frozen=True):
    """One value of a code: valid in [valid_from, valid_to), None without a bound.

    Told at its source first at `told_at`, and recorded here at `recorded_at`. Of a row of whole lists `last_at` is the last
    list that has it, and `gone_at` the first that lacks it.
    """

    value: dict[str, str]
    valid_from: datetime | None
    valid_to: datetime | None
    stated: bool
    told_at: datetime
    recorded_at: datetime | None
    list: str | None
    last_at: datetime | None
    gone_at: datetime | None


async def documents(
    conn: Connection, kind: str, as_known: datetime, code: str | None = None
) -> list[int]:
    """Return the documents of a kind: those that a code names, whatever its case and leading zeros, or all."""
    return [row["document"] for row in await conn.fetch(_DOCUMENTS, as_known, kind, code)]


async def parties(
    conn: Connection,
    flow: str,
    rules: Mapping[str, Any],
    times: tuple[datetime, datetime],
    documents: list[int],
) -> dict[str, Party]:
    """Count the codes of a flow's owner and consumers by step, of some documents, at T and as known at K."""
    rows = await conn.fetch(_PARTIES, flow, *times, json.dumps(rules), documents)
    return {r["step"]: Party(r["valid"], r["not_valid"], r["differing"]) for r in rows}


async def holdings(
    conn: Connection,
    flow: str,
    rules: Mapping[str, Any],
    times: tuple[datetime, datetime],
    documents: list[int],
) -> list[dict[str, Any]]:
    """Return what each step has of some documents at T, as known at K."""
    rows = await conn.fetch(_HOLDINGS, flow, *times, json.dumps(rules), documents)
    return [
        dict(row)
        | {name: row[name] and msgspec.json.decode(row[name]) for name in ("value", "rivals")}
        for row in rows
    ]


async def values(
    conn: Connection, flow: str, as_known: datetime, documents: list[int]
) -> dict[tuple[str, str], list[Value]]:
    """Return all values of some documents, by step and number, as known at K."""
    found: dict[tuple[str, str], list[Value]] = {}
    for step, number, value, *rest in await conn.fetch(_VALUES, flow, as_known, documents):
        found.setdefault((step, number), []).append(Value(msgspec.json.decode(value), *rest))
    return found
