"""The store at a glance."""

from typing import Any

from collector.store.ingest import Connection


async def server(conn: Connection) -> dict[str, Any]:
    """Return the server's version, the database's size in bytes, and how much is in it."""
    row = await conn.fetchrow(
        "SELECT current_setting('server_version') AS server,"
        " pg_database_size(current_database()) AS size_bytes,"
        " (SELECT coalesce(sum(events), 0)::bigint FROM tieout.batch) AS events,"
        " (SELECT count(*) FROM tieout.document) AS documents,"
        " (SELECT count(*) FROM tieout.control_run) AS runs"
    )
    return dict(row)
