"""A database of its own for every test, copied from a migrated template in milliseconds."""

import asyncio
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import asyncpg

from collector.store import cluster
from collector.store.cluster import Role, database_sql
from collector.store.connection import connected
from collector.store.embedded import Server, running
from collector.store.ingest import Connection
from collector.store.migrate import migrate

TEMPLATE = "tieout_template"
DRAFT = "tieout_template_draft"
DELETES = """
SELECT string_agg('DELETE FROM ' || c.oid::regclass, '; ') FROM pg_class c
WHERE c.relnamespace = 'tieout'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname NOT IN ('searchable', 'business_day')
"""
BUFFERS_MB = 256
Idle = tuple[AbstractAsyncContextManager[Connection], Connection]
LOCK = 7_301_846  # any number: pytest-xdist's workers share the server and make one template


@dataclass(frozen=True)
class Database:
    """One database on the shared server, and the event loop of whoever made it."""

    server: Server
    name: str
    loop: asyncio.AbstractEventLoop = field(
        default_factory=asyncio.get_running_loop, compare=False, repr=False
    )
    idle: defaultdict[Role, list[Idle]] = field(
        default_factory=lambda: defaultdict(list), compare=False, repr=False
    )

    def dsn(self, role: Role = "tieout_app") -> str:
        return self.server.dsn(role, self.name)

    @asynccontextmanager
    async def connect(self, role: Role = "tieout_app") -> AsyncIterator[Connection]:
        """Connect as the product does, but leave it open for who asks next: a session plans a long query once."""
        if asyncio.get_running_loop() is not self.loop:
            async with connected(self.dsn(role)) as conn:
                yield conn
            return
        kept = [one for one in self.idle.pop(role, []) if not one[1].is_closed()]
        opened = kept.pop() if kept else None
        self.idle[role] = kept
        context, conn = opened or await self._open(role)
        try:
            yield conn
            await conn.reset()
        except BaseException as error:
            await context.__aexit__(type(error), error, error.__traceback__)
            raise
        self.idle[role].append((context, conn))

    async def _open(self, role: Role) -> Idle:
        context = connected(self.dsn(role))
        return context, await context.__aenter__()

    async def close(self) -> None:
        for opened, _ in chain.from_iterable(self.idle.values()):
            await opened.__aexit__(None, None, None)


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
        database = Database(server, name)
        try:
            yield database
        finally:
            await database.close()
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
        database = Database(server, name)
        yield database
        await database.close()
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
