"""A bounded pool of connections: for many short questions, or for streams that take turns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from collector.errors import NotConnected, Transient
from collector.store.connection import SESSION, StoreConnection
from collector.store.ingest import Connection
from collector.store.session import Role, Store

CLOSE_S_MAX = 5.0
"""How long a pool that closes waits for connections in use before it cuts them."""

_UNREACHABLE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.OperatorInterventionError,  # shut down, crashed, starting up; a cancelled query goes first
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidCatalogNameError,
)


class Pool:
    """Connections as one role, made when needed, at most `size` at a time."""

    def __init__(self, pool: asyncpg.Pool, wait_s_max: float | None) -> None:
        self._pool = pool
        self._wait_s_max = wait_s_max

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """Lend a connection; one that broke while it lay idle is replaced.

        Raises:
            NotConnected: the server cannot be reached, or went away during the work.
            Transient: no connection became free in time, or a query took too long.
        """
        try:
            async with self._pool.acquire(timeout=self._wait_s_max) as conn:
                yield conn
        except (TimeoutError, asyncpg.QueryCanceledError) as error:
            raise Transient("The store took too long to answer.", detail=repr(error)) from error
        except _UNREACHABLE as error:
            raise NotConnected(f"The store cannot be reached: {error}") from error


@asynccontextmanager
async def pooled(
    store: Store,
    size: int,
    *,
    role: Role = "tieout_app",
    wait_s_max: float | None = None,
    query_s_max: float | None = None,
) -> AsyncIterator[Pool]:
    """Open a pool; nothing connects before the first use, so the server may still be down.

    `wait_s_max` bounds the wait for a connection, `query_s_max` each query; None: no bound.
    """
    pool = await asyncpg.create_pool(
        store.dsn(role),
        min_size=0,
        max_size=size,
        command_timeout=query_s_max,
        server_settings=SESSION,
        connection_class=StoreConnection,
    )
    try:
        yield Pool(pool, wait_s_max)
    finally:
        try:
            await asyncio.wait_for(pool.close(), CLOSE_S_MAX)
        except (TimeoutError, *_UNREACHABLE):
            pool.terminate()
