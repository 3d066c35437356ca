"""A database of its own for every test, copied from a migrated template in milliseconds."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import asyncpg

from collector.store import cluster
from collector.store.cluster import Role, database_sql
from collector.store.embedded import Server, running
from collector.store.migrate import migrate

TEMPLATE = "tieout_template"
DRAFT = "tieout_template_draft"
DELETES = """
SELECT string_agg('DELETE FROM ' || c.oid::regclass, '; ') FROM pg_class c
WHERE c.relnamespace = 'tieout'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname NOT IN ('searchable', 'business_day')
"""
BUFFERS_MB = 256
LOCK = 7_301_846  # any number: pytest-xdist's workers share the server and make one template


@dataclass(frozen=True)
class Database:
    """One database on the shared server."""

    server: Server
    name: str

    def dsn(self, role: Role = "tieout_app") -> str:
        return self.server.dsn(role, self.name)


def new_base() -> Path:
    """Return a new folder for data that the account of a server started by root can enter.

    pytest's own folders are closed to others, and it closes them again at every session.
    """
    base = Path(tempfile.mkdtemp(prefix="tieout-test-", dir="/tmp"))
    base.chmod(0o711)
    return base


@contextmanager
def temporary_base() -> Iterator[Path]:
    base = new_base()
    try:
        yield base
    finally:
        shutil.rmtree(base)


@contextmanager
def shared_server(base: Path, *, as_shipped: bool) -> Iterator[Server]:
    """Join the session's server; the last worker out stops it.

    Unless as shipped, its buffers are small: a database that is dropped is looked for in all of them, a second
    for two tests. And nothing is written to the disk for good, for no test pulls its plug.
    """
    most = cluster.SHARED_BUFFERS_MB_MAX if as_shipped else BUFFERS_MB
    with (
        patch.object(cluster, "SHARED_BUFFERS_MB_MAX", most),
        running(base / "data") as server,
    ):
        if not as_shipped:
            asyncio.run(_hasten(server))
        yield server


async def _hasten(server: Server) -> None:
    admin = await asyncpg.connect(server.dsn("postgres", "postgres"))
    await admin.execute("ALTER SYSTEM SET fsync = off")
    await admin.execute("SELECT pg_reload_conf()")
    await admin.close()


@asynccontextmanager
async def fresh_database(server: Server) -> AsyncIterator[Database]:
    """Give a migrated database and drop it afterwards, whoever is still connected."""
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(server.dsn("postgres", "postgres"))
    try:
        await _ensure_template(admin, server)
        for statement in database_sql(name, template=TEMPLATE):
            await admin.execute(statement)
        try:
            yield Database(server, name)
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@asynccontextmanager
async def empty_database(server: Server) -> AsyncIterator[Database]:
    """Give a database without a schema."""
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(server.dsn("postgres", "postgres"))
    try:
        for statement in database_sql(name):
            await admin.execute(statement)
        yield Database(server, name)
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


async def _ensure_template(admin: asyncpg.Connection, server: Server) -> None:
    ready = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
    if await admin.fetchval(ready, TEMPLATE):
        return
    await admin.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        if not await admin.fetchval(ready, TEMPLATE):
            await admin.execute(f"DROP DATABASE IF EXISTS {DRAFT} WITH (FORCE)")
            for statement in database_sql(DRAFT):
                await admin.execute(statement)
            await migrate(server.dsn("tieout_owner", DRAFT))
            await admin.execute(f"ALTER DATABASE {DRAFT} RENAME TO {TEMPLATE}")
    finally:
        await admin.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def emptied(database: Database) -> Database:
    """Take everything out of a database: quicker than a new one for each of many small cases.

    DELETE, which takes a hundredth of TRUNCATE's time where there is little. The business days stay: they are computed of
    nothing but the calendar that they are listed under.
    """
    admin = await asyncpg.connect(database.dsn("postgres"))
    try:
        await admin.execute("SET session_replication_role = replica")  # facts refuse to be deleted
        await admin.execute(await admin.fetchval(DELETES))
        await admin.execute("UPDATE tieout.searchable SET upto = 0")
    finally:
        await admin.close()
    return database
