"""One connection to the store: what it is set to, and what its errors mean to who uses it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from collector.errors import NotConnected, Transient

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
    asyncpg.InternalClientError,
    ConnectionError,
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


class StoreConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """A connection whose COPY ends with it.

    Once a socket takes no more, asyncpg waits for leave to send the next piece. asyncio does not give it where the
    connection is lost, and the COPY would wait for ever.
    """

    def __init__(self, protocol: asyncio.Protocol, *rest: Any) -> None:  # noqa: ANN401 -- asyncpg's own
        super().__init__(protocol, *rest)
        self.add_termination_listener(lambda _: protocol.resume_writing())


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection, and close it.

    Raises:
        NotConnected: the server cannot be reached or refuses the login, or the connection is lost
            while it is used.
        Transient: the server's disk is full.
    """
    try:
        conn = await asyncpg.connect(dsn, server_settings=SESSION, connection_class=StoreConnection)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise NotConnected(
            f"The store cannot be reached: {error}. Check `store.dsn`, or that the server runs."
        ) from error
    try:
        yield conn
    except asyncpg.DiskFullError as error:
        raise Transient(_FULL, detail=repr(error)) from error
    except DATABASE_ERRORS as error:
        if conn.is_closed() or _is_lost(error):
            raise NotConnected(_LOST, detail=repr(error)) from error
        raise
    finally:
        try:
            await conn.close()
        except asyncpg.InternalClientError:  # a COPY has not noticed yet that it is over
            conn.terminate()


def _is_lost(error: BaseException | None) -> bool:
    """Tell whether an error is, or came up while one was handled, that a connection is lost.

    What tidies up after that one fails in its own way where a COPY has not noticed yet that it is over.
    """
    while error is not None and not isinstance(error, _LOSING):
        error = error.__context__
    return error is not None
