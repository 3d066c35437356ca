"""What share of the records carries a key by which it can be followed, counted over the whole store."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from collector.store.ingest import Connection

Rows = Sequence[Mapping[str, Any]]
Names = Sequence[tuple[int, int]]
"""Names as the index of references holds them: the hash of the value, and that of the whole name."""

_ASKED = """
asked AS MATERIALIZED (
    SELECT a.n, s.id AS stream, a.type, a.document, a.interface, ARRAY(SELECT jsonb_array_elements(a.keys)) AS keys,
           ARRAY(SELECT jsonb_array_elements(a.defaults)) AS defaults,
           ARRAY(SELECT jsonb_array_elements(a.invalid)) AS invalid,
           ARRAY(SELECT jsonb_array_elements(a.cut)) AS cut
    FROM jsonb_to_recordset($1) a(n int, source text, stream text, type text, document text, interface text,
                                  keys jsonb, defaults jsonb, invalid jsonb, cut jsonb)
    JOIN tieout.stream s ON (s.source, s.stream) = (a.source, a.stream))
"""

# the first that holds tells what is wrong; a record with a key that joins is not looked at any further
_RECORDS = f"""
WITH {_ASKED}
SELECT n, interface, verdict, count(*) AS records
FROM (SELECT a.n, e.body -> 'attributes' ->> a.interface AS interface,
             CASE WHEN e.body @> ANY (a.keys)
                  THEN CASE WHEN e.document = ANY ($2::bigint[]) THEN 'default' ELSE 'usable' END
                  WHEN e.body @> ANY (a.defaults) THEN 'default'
                  WHEN e.body @> ANY (a.invalid) THEN 'invalid'
                  WHEN e.body @> ANY (a.cut) THEN 'cut'
                  ELSE 'missing' END AS verdict
      FROM tieout.standing_event e
      JOIN tieout.batch b ON b.id = e.batch
      JOIN asked a ON a.stream = b.stream AND a.type = e.type AND a.document = e.body -> 'document' ->> 0) x
GROUP BY n, interface, verdict
"""  # noqa: S608 -- a constant

_CROWDED = """
SELECT x.value_hash, x.name_hash, x.documents, r.kind, r.scope, r.value
FROM (SELECT value_hash, name_hash, count(*) AS documents FROM tieout.reference
      WHERE role <= 1 GROUP BY 1, 2 HAVING count(*) > $1) x
CROSS JOIN LATERAL (SELECT kind, scope, value FROM tieout.reference r
                    WHERE r.value_hash = x.value_hash AND r.name_hash = x.name_hash LIMIT 1) r
"""

_FREQUENT = """
WITH held AS MATERIALIZED (
    SELECT kind, value_hash, name_hash, count(*) AS documents FROM tieout.reference
    WHERE role = 3 GROUP BY 1, 2, 3)
SELECT h.kind, r.scope, r.value, h.documents
FROM (SELECT *, row_number() OVER (PARTITION BY kind ORDER BY documents DESC) AS place FROM held) h
CROSS JOIN LATERAL (SELECT scope, value FROM tieout.reference r
                    WHERE r.value_hash = h.value_hash AND r.name_hash = h.name_hash LIMIT 1) r
WHERE h.place <= $1
ORDER BY h.kind, h.place
"""

_ONLY = """
WITH crowded AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::bigint[]) c(value_hash, name_hash))
SELECT DISTINCT r.document
FROM crowded c
JOIN tieout.reference r ON r.value_hash = c.value_hash AND r.name_hash = c.name_hash AND r.role = 1
WHERE NOT EXISTS (
    SELECT FROM tieout.reference o WHERE o.document = r.document AND o.role = 1
    AND NOT EXISTS (SELECT FROM crowded x WHERE x.value_hash = o.value_hash AND x.name_hash = o.name_hash))
"""

# a document of a suspended transaction stands alone, whatever it shares
_ALONE = f"""
WITH {_ASKED},
lone AS MATERIALIZED (
    SELECT d.id, d.kind, d.first_month, d.last_month
    FROM tieout.document d
    WHERE d.kind <> ALL ($3)
      AND (d.component IN (SELECT component FROM tieout.suspended)
           OR NOT EXISTS (SELECT FROM tieout.document a WHERE a.component = d.component AND a.kind = ANY ($4)))),
alone AS MATERIALIZED (
    SELECT d.*, s.amount_minor, s.currency,
           d.kind = ANY ($5) OR EXISTS (
               SELECT FROM tieout.reference r WHERE r.document = d.id AND r.role = 1 AND r.kind <> d.kind
           ) AND d.id <> ALL ($2::bigint[]) AS keyed
    FROM lone d
    CROSS JOIN LATERAL (SELECT amount_minor, currency FROM tieout.step s
                        WHERE s.document = d.id AND s.type = ANY ($6)
                        ORDER BY s.last_at DESC, s.type LIMIT 1) s),
told AS MATERIALIZED (
    SELECT d.*, e.batch, e.type, e.body -> 'attributes' AS attributes
    FROM alone d
    CROSS JOIN LATERAL (SELECT * FROM tieout.standing_event e WHERE e.document = d.id
                        AND e.month >= d.first_month AND e.month <= d.last_month OFFSET 0) e)
SELECT source, stream, interface, keyed, currency, count(*) AS documents, sum(amount_minor)::bigint AS amount_minor
FROM (SELECT DISTINCT t.id, t.keyed, t.amount_minor, CASE WHEN t.amount_minor IS NOT NULL THEN t.currency END AS currency,
             s.source, s.stream, t.attributes ->> a.interface AS interface
      FROM told t
      JOIN tieout.batch b ON b.id = t.batch
      JOIN tieout.stream s ON s.id = b.stream
      JOIN asked a ON a.stream = b.stream AND a.type = t.type AND a.document = t.kind) x
GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608 -- a constant


async def read_whole(conn: Connection) -> None:
    """Have the queries of this transaction hash whole tables in memory, whatever statistics say."""
    await conn.execute(
        "SET LOCAL work_mem = '64MB'; SET LOCAL enable_nestloop = off; SET LOCAL enable_sort = off;"
        " SET LOCAL jit = off"
    )


async def records(conn: Connection, asked: Rows, only_crowded: Sequence[int]) -> Rows:
    """Count records by what they carry: `asked` says, by stream, event type and kind of document, which keys."""
    found: Rows = await conn.fetch(_RECORDS, json.dumps(asked), only_crowded)
    return found


async def crowded(conn: Connection, most: int) -> Rows:
    """List the names that more than `most` documents hold as their own or as identity."""
    found: Rows = await conn.fetch(_CROWDED, most)
    return found


async def frequent(conn: Connection, per_kind: int) -> Rows:
    """List the most frequent of the values that are only searched, kind by kind."""
    found: Rows = await conn.fetch(_FREQUENT, per_kind)
    return found


async def only_crowded(conn: Connection, names: Names) -> list[int]:
    """List the documents whose identity references are all among these names."""
    if not names:
        return []
    values, whole = zip(*names, strict=True)
    return [row[0] for row in await conn.fetch(_ONLY, values, whole)]


async def alone(
    conn: Connection,
    asked: Rows,
    only_crowded: Sequence[int],
    kinds: Mapping[str, Collection[str]],
    types: Collection[str],
) -> Rows:
    """Count documents that take part in a flow by `types`, and whose transaction has no anchor.

    `kinds` lists the kinds that are `apart` by nature, the `anchors`, and those of which a document's own
    name is `shared`. Amounts are those that the documents last stated.
    """
    found: Rows = await conn.fetch(
        _ALONE,
        json.dumps(asked),
        only_crowded,
        *(sorted(kinds[name]) for name in ("apart", "anchors", "shared")),
        sorted(types),
    )
    return found
