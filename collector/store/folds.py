"""Steps as they are stored: what one batch adds to them, or has computed again from the events.

Many keys go in as one text each: the driver's encoder of arrays costs more than the server's reading of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from asyncpg.pgproto.pgproto import UUID

from collector.store import rows
from collector.store.ingest import Connection

_KNOWN_STEPS = """
SELECT q.i FROM unnest(string_to_array($1, ',')::bigint[], string_to_array($3, ',')::int[])
                WITH ORDINALITY AS q(document, type, i)
JOIN tieout.step s ON s.document = q.document AND s.type = ($2::text[])[q.type]
"""

# Right only where no event counts twice: none of these may be a revision of a stored event. None is where
# the step has not seen them, or the document has events of one month only, of which one key is unique. Where two
# events are the last at the same instant, which one counts takes more than a step remembers.
_ADD_TO_STEPS = """
UPDATE tieout.step s SET first_at = least(s.first_at, a.first_at),
    last_at = greatest(s.last_at, a.last_at), n = s.n + a.n, seen = s.seen | a.seen,
    amount_minor = CASE WHEN a.last_at > s.last_at THEN a.amount_minor ELSE s.amount_minor END,
    currency = CASE WHEN a.last_at > s.last_at THEN a.currency ELSE s.currency END
FROM (SELECT document, ($2::text[])[type] AS type, amount_minor, seen, n, ($4::text[])[currency] AS currency,
             timestamptz '2000-01-01 00:00Z' + first_us * interval '1 microsecond' AS first_at,
             timestamptz '2000-01-01 00:00Z' + last_us * interval '1 microsecond' AS last_at
      FROM unnest(string_to_array($1, ',')::bigint[], string_to_array($3, ',')::int[], string_to_array($5, ',')::int[],
                  string_to_array($6, ',')::bigint[], string_to_array($7, ',')::bigint[],
                  string_to_array($8, ',', '')::bigint[], string_to_array($9, ',')::bigint[], string_to_array($10, ',')::int[])
           AS u(document, type, currency, first_us, last_us, amount_minor, seen, n)) a
WHERE s.document = a.document AND s.type = a.type AND s.last_at <> a.last_at
  AND (s.seen & a.seen = 0 OR (SELECT d.first_month = d.last_month FROM tieout.document d WHERE d.id = a.document))
RETURNING s.document, s.type
"""

_NOTE_REVISED = """
INSERT INTO tieout.revised
SELECT e.event_id FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::date[]) t(event_id, month)) t
JOIN tieout.event e ON e.event_id = t.event_id AND e.month = t.month
GROUP BY e.event_id HAVING count(DISTINCT e.revision) > 1
ON CONFLICT DO NOTHING
"""

_RECOMPUTE_STEPS = """
WITH touched AS (
    SELECT DISTINCT t.document, t.type FROM unnest($1::bigint[], $2::text[]) t(document, type)),
facts AS (
    SELECT t.document, t.type, e.*, x.seq IS NULL AS stands FROM touched t
    JOIN tieout.document d ON d.id = t.document
    CROSS JOIN LATERAL tieout.months_of(d.first_month, d.last_month, d.months) m
    CROSS JOIN LATERAL (
        SELECT event_id, revision_no, month, occurred_at, sequence, revision, amount_minor, currency
        FROM tieout.event e WHERE e.document = d.id AND e.type = t.type AND e.month = m) e
    LEFT JOIN tieout.supersession x USING (event_id, revision_no, month)),
again AS (
    INSERT INTO tieout.revised SELECT event_id FROM facts GROUP BY event_id HAVING count(DISTINCT revision) > 1
    ON CONFLICT DO NOTHING),
chosen AS (
    SELECT *, row_number() OVER (PARTITION BY event_id ORDER BY occurred_at DESC,
                                 sequence DESC NULLS LAST, revision DESC) AS choice
    FROM facts WHERE stands),
folded AS (
    SELECT document, type, min(occurred_at) AS first_at, max(occurred_at) AS last_at,
           count(*)::int AS n, bit_or(tieout.event_bit(event_id)) AS seen,
           (array_agg(amount_minor ORDER BY occurred_at DESC, sequence DESC NULLS LAST,
                      event_id DESC))[1] AS amount_minor,
           (array_agg(currency ORDER BY occurred_at DESC, sequence DESC NULLS LAST,
                      event_id DESC))[1] AS currency
    FROM chosen WHERE choice = 1 GROUP BY document, type)
UPDATE tieout.step s SET first_at = f.first_at, last_at = f.last_at, n = f.n, seen = f.seen,
    amount_minor = f.amount_minor, currency = f.currency
FROM folded f WHERE s.document = f.document AND s.type = f.type
"""


async def add_to_steps(
    conn: Connection, additions: Mapping[tuple[int, str], rows.Fold]
) -> set[tuple[int, str]]:
    """Add new events to stored steps, by (document, event type); return those where that was done."""
    if not additions:
        return set()
    documents, types = zip(*additions, strict=True)
    *numbers, currencies = zip(*additions.values(), strict=True)
    type_names, type_numbers = _numbered(types)
    currency_names, currency_numbers = _numbered(currencies)
    found = await conn.fetch(
        _ADD_TO_STEPS,
        _text(documents),
        type_names,
        type_numbers,
        currency_names,
        currency_numbers,
        *map(_text, numbers),
    )
    return {(row[0], row[1]) for row in found}


def _text(numbers: Iterable[int | None]) -> str:
    """Write numbers as one text, in which one that is missing is empty."""
    return ",".join(["" if number is None else str(number) for number in numbers])


def _numbered(names: Sequence[str | None]) -> tuple[list[str | None], str]:
    """Write names that come again and again as numbers: the names, and for each its place among these."""
    place_of = {name: n for n, name in enumerate(dict.fromkeys(names), start=1)}
    return list(place_of), _text(map(place_of.__getitem__, names))


async def known_steps(conn: Connection, steps: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    """Return those of some steps, (document, event type), that are stored."""
    if not steps:
        return set()
    documents, types = zip(*steps, strict=True)
    found = await conn.fetch(_KNOWN_STEPS, _text(documents), *_numbered(types))
    return {steps[row[0] - 1] for row in found}


async def note_revised(conn: Connection, events: Sequence[tuple[bytes, date]]) -> None:
    """Note which of these events, (event id, month), were told with different content, of whatever documents."""
    if events:
        ids, months = zip(*events, strict=True)
        await conn.execute(_NOTE_REVISED, [UUID(i) for i in ids], months)


async def recompute_steps(conn: Connection, touched: Iterable[tuple[int, str]]) -> None:
    """Recompute stored steps from the events of their documents; note events with several revisions."""
    pairs = list(touched)
    if pairs:
        documents, types = zip(*pairs, strict=True)
        await conn.execute(_RECOMPUTE_STEPS, documents, types)
