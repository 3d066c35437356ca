"""One leader among several processes: whoever holds an advisory lock, for as long as it is connected."""

from collector.model.reference import digest
from collector.store.ingest import Connection

ANSWER_S_MAX = 5.0
"""A leader whose connection does not answer within this time must believe that it leads no longer."""


async def try_lead(conn: Connection, office: str) -> bool:
    """Try to become the one leader of an office; PostgreSQL frees it when the connection dies."""
    key = int.from_bytes(digest("leader", office)[:8], "big", signed=True)
    query = "SELECT pg_try_advisory_lock($1)"
    return bool(await conn.fetchval(query, key, timeout=ANSWER_S_MAX))


async def still_leads(conn: Connection) -> None:
    """Ask over the leader's connection; as long as that answers the lock is held.

    Raises:
        one of `DATABASE_ERRORS` or TimeoutError: it does not answer, and leading is over.
    """
    await conn.fetchval("SELECT 1", timeout=ANSWER_S_MAX)
