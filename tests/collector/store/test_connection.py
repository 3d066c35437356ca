"""A connection that ends while a COPY waits to send more says so, instead of waiting for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import repeat

import pytest

from collector.errors import NotConnected
from collector.store import ingest
from collector.store.connection import connected
from collector.store.ingest import Connection
from collector.store.pool import pooled
from collector.store.session import remote_store
from tests.support.postgres import Database

ROW = bytes(1_000_000)
ROWS = 64
"""More than the sockets of both sides take together."""
WAITS_S_MAX = 20.0
_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)"


async def _records(conn: Connection) -> None:
    await ingest.copy_raw(conn, 1, [(n, (ROW, None)) for n in range(ROWS)])


async def _packed(conn: Connection) -> None:
    await ingest.copy(conn, "event", repeat(ROW, ROWS))  # what it packs is never read


@asynccontextmanager
async def _lent(dsn: str) -> AsyncIterator[Connection]:
    async with pooled(remote_store(dsn), 1) as pool, pool.connect() as conn:
        yield conn


@pytest.mark.parametrize("opened", [connected, _lent])
@pytest.mark.parametrize(("table", "copy"), [("raw_record", _records), ("event", _packed)])
async def test_a_copy_ends_with_its_connection(
    database: Database,
    opened: Callable[[str], AbstractAsyncContextManager[Connection]],
    table: str,
    copy: Callable[[Connection], Awaitable[None]],
) -> None:
    backend = asyncio.get_running_loop().create_future()

    async def write() -> None:
        async with opened(database.dsn("tieout_app")) as conn:
            backend.set_result(conn.get_server_pid())
            await copy(conn)

    async with (
        asyncio.timeout(WAITS_S_MAX),
        database.connect("postgres") as other,
        other.transaction(),
    ):
        # so that the server reads nothing of what comes for the table
        await other.execute(f"LOCK TABLE tieout.{table} IN SHARE MODE")
        writing = asyncio.create_task(write())
        pid = await backend
        while not await other.fetchval(_WAITS, pid):  # noqa: ASYNC110 -- the database has no event
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # by then it has sent what the sockets take
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(NotConnected):
            await writing
