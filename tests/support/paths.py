"""What the store keeps to find facts by, held against all facts."""

import asyncpg

_MISSING = """
SELECT count(*) FROM tieout.event e JOIN tieout.document d ON d.id = e.document
WHERE e.month < d.first_month OR e.month > d.last_month
   OR d.months >> (extract(year FROM e.month)::int % 5 * 12 + extract(month FROM e.month)::int - 1) & 1 = 0
   OR EXISTS (SELECT FROM tieout.standing_event x JOIN tieout.step s USING (document, type)
              WHERE x.event_id = e.event_id AND s.seen >> (get_byte(uuid_send(x.event_id), 15) % 63) & 1 = 0)
"""

_SURPLUS = """
SELECT count(*) FROM tieout.step s
WHERE s.seen <> (SELECT bit_or(1::bigint << (get_byte(uuid_send(x.event_id), 15) % 63)) FROM tieout.standing_event x
                 WHERE (x.document, x.type) = (s.document, s.type))
"""


async def assert_paths(conn: asyncpg.Connection) -> None:
    """Every event is found by the months of its document and the bits of its step, and steps claim no other."""
    assert await conn.fetchval(_MISSING) == 0
    assert await conn.fetchval(_SURPLUS) == 0
