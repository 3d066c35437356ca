"""Streams, their parts and who reads them; and the configuration as a fact."""

import json
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import msgspec

from collector.errors import Refused
from collector.model.reference import digest
from collector.store import ingest
from collector.store.ingest import Connection


async def register(conn: Connection, source: str, stream: str, namespace: str) -> int:
    """Return the number of a stream; its namespace is fixed by the first registration.

    Raises:
        Refused: it was registered with another namespace, which would double every event.
    """
    await conn.execute(
        "INSERT INTO tieout.stream (source, stream, namespace) VALUES ($1, $2, $3)"
        " ON CONFLICT DO NOTHING",
        source,
        stream,
        namespace,
    )
    row = await conn.fetchrow(
        "SELECT id, namespace FROM tieout.stream WHERE source = $1 AND stream = $2", source, stream
    )
    if row["namespace"] != namespace:
        raise Refused(
            f"The stream {source}/{stream} was read with the namespace '{row['namespace']}' before. "
            f"Set `namespace: {row['namespace']}`: with another one every event would count twice."
        )
    return int(row["id"])


class PartRow(msgspec.Struct):
    """A part as the store knows it."""

    id: int
    ident: str
    name: str
    cursor: dict[str, Any] | None


async def parts(conn: Connection, stream: int) -> dict[str, PartRow]:
    """Return the known parts of a stream by the connector's id."""
    found = await conn.fetch(
        "SELECT id, ident, name, cursor FROM tieout.part WHERE stream = $1", stream
    )
    return {
        r["ident"]: PartRow(
            r["id"], r["ident"], r["name"], None if r["cursor"] is None else json.loads(r["cursor"])
        )
        for r in found
    }


async def part(conn: Connection, stream: int, ident: str, name: str) -> PartRow:
    """Return a part with its committed cursor, entering it if it is new."""
    await conn.execute(
        "INSERT INTO tieout.part (stream, ident, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        stream,
        ident,
        name,
    )
    return (await parts(conn, stream))[ident]


async def lease(conn: Connection, stream: int, ident: str) -> bool:
    """Try to become the one reader of a part, for as long as the connection lives."""
    key = int.from_bytes(digest("lease", str(stream), ident)[:8], "big", signed=True)
    return bool(await conn.fetchval("SELECT pg_try_advisory_lock($1)", key))


async def release(conn: Connection, stream: int, ident: str) -> None:
    """Give a part back."""
    key = int.from_bytes(digest("lease", str(stream), ident)[:8], "big", signed=True)
    await conn.execute("SELECT pg_advisory_unlock($1)", key)


async def publish(
    conn: Connection, digest_hex: str, document: dict[str, Any], clock: datetime
) -> None:
    """Enter the configuration as a fact, unless it is the one in force."""
    async with conn.transaction():
        last = await ingest.lock(conn)
        current = await conn.fetchval(
            "SELECT hash FROM tieout.config_version ORDER BY seq DESC LIMIT 1"
        )
        if current == digest_hex:
            return
        await ingest.append_commit(conn, last + 1, "configuration", clock)
        await conn.execute(
            "INSERT INTO tieout.config_version VALUES ($1, $2, $3)",
            last + 1,
            digest_hex,
            json.dumps(document),
        )


async def add_business_days(
    conn: Connection, calendar: str, days: Iterable[tuple[date, datetime, datetime, float]]
) -> None:
    """Enumerate a calendar: (day, opens at, closes at, open seconds before), if not done yet."""
    if await conn.fetchval(
        "SELECT true FROM tieout.business_day WHERE calendar = $1 LIMIT 1", calendar
    ):
        return
    dates, opens, closes, before = zip(*days, strict=True)
    await conn.execute(
        "INSERT INTO tieout.business_day SELECT $1, o, a, z, make_interval(secs => s)"
        " FROM unnest($2::date[], $3::timestamptz[], $4::timestamptz[], $5::float8[]) d(o, a, z, s)"
        " ON CONFLICT DO NOTHING",
        calendar,
        dates,
        opens,
        closes,
        before,
    )
    await refresh_statistics(conn)


async def refresh_statistics(conn: Connection) -> None:
    """Let the planner know what a large read has changed."""
    await conn.execute("SELECT tieout.refresh_statistics()")
