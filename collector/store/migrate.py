"""Bring a database to the current schema: numbered SQL files, each applied once, in order."""

from importlib import resources

import asyncpg

from collector.errors import Misconfigured
from collector.store.connection import connected

MIGRATION_LOCK = 0x6D696772617465  # "migrate"
_ROLES = ("tieout_owner", "tieout_app", "tieout_reader")
POSTGRES_MAJOR_MIN = 15


def migrations() -> list[tuple[str, str]]:
    """List (name, SQL) of all migrations in order."""
    folder = resources.files("collector.store") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(f.name.removesuffix(".sql"), f.read_text(encoding="utf-8")) for f in files]


async def migrate(dsn: str) -> list[str]:
    """Apply what is missing, as the owner; return the names of what was applied.

    Raises:
        NotConnected: the server cannot be reached, or the connection is lost.
        Misconfigured: it is too old or lacks an extension, or the login may not create the three roles.
    """
    async with connected(dsn) as conn:
        if conn.get_server_version().major < POSTGRES_MAJOR_MIN:
            raise Misconfigured(
                f"PostgreSQL {conn.get_server_version().major} is too old; "
                f"Tieout needs {POSTGRES_MAJOR_MIN} or newer."
            )
        await conn.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        await ensure_roles(conn)
        return await _apply(conn)


async def ensure_roles(conn: asyncpg.Connection) -> None:
    """Make the three roles that rights are granted to, where they are missing."""
    there = {r["rolname"] for r in await conn.fetch("SELECT rolname FROM pg_roles")}
    for role in _ROLES:
        if role in there:
            continue
        try:
            await conn.execute(f"CREATE ROLE {role} NOLOGIN")
            await conn.execute(f"GRANT {role} TO CURRENT_USER")
        except asyncpg.InsufficientPrivilegeError:
            raise Misconfigured(
                f"The role {role} is missing and this login may not create it. As an administrator: "
                f"CREATE ROLE {role} NOLOGIN; GRANT {role} TO <login>;"
            ) from None


async def missing(conn: asyncpg.Connection) -> list[str]:
    """Return the names of the migrations that a database lacks."""
    done: set[str] = set()
    if await conn.fetchval("SELECT to_regclass('public.tieout_migration')") is not None:
        done = {r["name"] for r in await conn.fetch("SELECT name FROM public.tieout_migration")}
    return [name for name, _ in migrations() if name not in done]


async def _apply(conn: asyncpg.Connection) -> list[str]:
    await conn.execute(
        "CREATE TABLE IF NOT EXISTS public.tieout_migration"
        " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    await conn.execute("GRANT SELECT ON public.tieout_migration TO tieout_app")
    wanted = await missing(conn)
    applied = []
    for name, sql in migrations():
        if name not in wanted:
            continue
        try:
            async with conn.transaction():
                await conn.execute("SET LOCAL lock_timeout = '10s'")
                await conn.execute(sql)
                await conn.execute("INSERT INTO public.tieout_migration (name) VALUES ($1)", name)
        except asyncpg.FeatureNotSupportedError as error:
            raise Misconfigured(
                f"PostgreSQL lacks what migration {name} needs: {error}. Install its additional modules "
                "(the package is mostly called postgresql-contrib) and migrate again."
            ) from error
        applied.append(name)
    return applied
