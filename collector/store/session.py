"""The store, opened: connections as one of three roles, to the embedded server or to any other."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal

from collector.store import embedded
from collector.store.connection import connected
from collector.store.ingest import Connection
from collector.store.migrate import migrate, missing

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


def embedded_store(server: embedded.Server) -> Store:
    """Make the store of a running embedded server."""
    return Store(None, server)


def remote_store(dsn: str) -> Store:
    """Make the store behind a connection string, whose login may take on the three roles."""
    return Store(dsn, None)
