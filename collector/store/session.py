"""The store, opened: connections as one of three roles, to the embedded server or to any other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Literal

import asyncpg

from collector.errors import NotConnected, Transient
from collector.store import embedded
from collector.store.ingest import Connection
from collector.store.migrate import migrate, missing

DATABASE_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""What a query can raise that is not ours."""

_LOSING = (
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,  # by what tidies up, where a COPY has not noticed yet that it is over
)
_FULL = (
    "The store's disk is full. What was committed stays; make room on it and try again: reading goes on "
    "from there."
)
_LOST = (
    "The connection to the store was lost: its server ended, or the network. What was committed stays; try "
    "again: reading goes on from there. Should it happen again, the server's log says why."
)

SESSION = {
    "TimeZone": "UTC",
    "application_name": "tieout",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
"""Settings of a session. One whose client vanished ends after a minute, with its locks, not after two hours."""

Role = Literal["tieout_owner", "tieout_app", "tieout_reader"]


class Store:
    """Where the store is and how to reach it as a role.

    `app` writes facts and reads everything but owns nothing; `reader` sees the schema `read` only.
    """

    def __init__(self, dsn: str | None, server: embedded.Server | None) -> None:
        self._dsn = dsn
        self._server = server

    @property
    def data_dir(self) -> Path | None:
        """The data folder of the embedded server; None with another server."""
        return self._server.data_dir if self._server is not None else None

    def dsn(self, role: Role) -> str:
        """Return the connection string of a role. It may hold a password: do not log it."""
        if self._server is not None:
            return self._server.dsn(role)
        assert self._dsn is not None  # noqa: S101 -- one of the two is there
        joint = "&" if "?" in self._dsn else "?"
        return f"{self._dsn}{joint}options=-c%20role%3D{role}"

    @property
    def owner_dsn(self) -> str:
        """The connection string of whoever owns the schema: of another server, the login as it is."""
        return self.dsn("tieout_owner") if self._server is not None else self._dsn or ""

    def connect(self, role: Role = "tieout_app") -> AbstractAsyncContextManager[Connection]:
        """Open one connection as a role; what it raises is said at `connected`."""
        return connected(self.dsn(role))

    async def revive(self) -> None:
        """Start the embedded server again if it died; another's server is left to its owner."""
        if self._server is not None:
            await asyncio.to_thread(self._server.revive)

    async def migrate(self) -> list[str]:
        """Apply missing migrations; return their names."""
        return await migrate(self.owner_dsn)

    async def missing_migrations(self) -> list[str]:
        """Return the names of the migrations that the database lacks."""
        async with self.connect() as conn:
            return await missing(conn)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    """Open one connection.

    Raises:
        NotConnected: the server cannot be reached or refuses the login, or the connection is lost
            while it is used.
        Transient: the server's disk is full.
    """
    try:
        conn = await asyncpg.connect(dsn, server_settings=SESSION)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise NotConnected(
            f"The store cannot be reached: {error}. Check `store.dsn`, or that the server runs."
        ) from error
    try:
        yield conn
    except asyncpg.DiskFullError as error:
        raise Transient(_FULL, detail=repr(error)) from error
    except DATABASE_ERRORS as error:
        if conn.is_closed() or isinstance(error, _LOSING):
            raise NotConnected(_LOST, detail=repr(error)) from error
        raise
    finally:
        await conn.close()


def embedded_store(server: embedded.Server) -> Store:
    """Make the store of a running embedded server."""
    return Store(None, server)


def remote_store(dsn: str) -> Store:
    """Make the store behind a connection string, whose login may take on the three roles."""
    return Store(dsn, None)
