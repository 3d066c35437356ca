"""Coverage certificates as they were issued: canonical JSON by its SHA-256, never changed."""

from datetime import datetime

from collector.store.ingest import Connection


async def keep(conn: Connection, hashed: str, body: str, now: datetime) -> None:
    """Keep a certificate; one that is kept already is the same."""
    await conn.execute(
        "INSERT INTO tieout.coverage_certificate (hash, body, issued_at) VALUES ($1, $2, $3)"
        " ON CONFLICT DO NOTHING",
        hashed,
        body,
        now,
    )


async def body_of(conn: Connection, hashed: str) -> str | None:
    """Return a certificate's text as it is stored; None where there is none of this hash."""
    body: str | None = await conn.fetchval(
        "SELECT body FROM tieout.coverage_certificate WHERE hash = $1", hashed
    )
    return body
