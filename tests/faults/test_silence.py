"""A network that falls silent in the middle of a batch: both ends think that the connection still stands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from api import tail
from api.wiring import Application, read_configuration
from collector import clock
from collector.store.session import remote_store
from tests.faults.orders import Shop
from tests.faults.test_kill import PATIENCE_S, looking, until_read
from tests.support.campaigns import AS_WRITTEN, campaign
from tests.support.postgres import Database

SILENCES = 3
BURST_LINES = 4_000
BYTES = 150_000
"""So many after a burst began the network falls silent."""
QUERY_S_MAX, NOTICED_S = 1.0, 0.5
KEEPALIVE = (
    b"tcp_keepalives_idle\x0030\x00tcp_keepalives_interval\x0010\x00tcp_keepalives_count\x003\x00"
)


class Network:
    """Between the collector and a server's socket. `silent` counts the connections that it swallowed.

    The server's end of such a connection is closed after a while, as keepalives would have it.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._left: int | None = None
        self._ways: set[asyncio.Task[None]] = set()
        self._swallowed: list[asyncio.StreamWriter] = []
        self.said = b""
        self.silent = 0

    def fall_silent_after(self, size: int) -> None:
        self._left = size

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._socket)
        answers = asyncio.create_task(self._answers(far_reader, writer))
        self._ways.add(answers)
        while block := await reader.read(16_384):
            self.said += block[: 1_000 - len(self.said)]
            if self._left is not None:
                self._left -= len(block)
                if self._left < 0:
                    self._left = None
                    self.silent += 1
                    answers.cancel()
                    self._swallowed.append(writer)
                    await asyncio.sleep(NOTICED_S)
                    break
            far_writer.write(block)
            await far_writer.drain()
        else:
            writer.close()
        far_writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(16_384):
            writer.write(block)
            await writer.drain()
        writer.close()

    async def close(self) -> None:
        for way in self._ways:
            way.cancel()
        for writer in self._swallowed:
            writer.close()
        await asyncio.gather(*self._ways, return_exceptions=True)


@asynccontextmanager
async def following(application: Application) -> AsyncIterator[None]:
    """Tail as `tieout run` does."""
    stop = asyncio.Event()
    task = asyncio.create_task(tail.Tail(application, poll_s=0.05).serve(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE_S)


@pytest.mark.long
async def test_a_collector_does_not_wait_for_ever_for_a_server_that_fell_silent(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "QUERY_S_MAX", QUERY_S_MAX)
    shop = Shop(tmp_path / "shop", 3)
    network = Network(database.server.socket_dir / f".s.PGSQL.{database.server.port}")
    listener = await asyncio.start_server(network.accept, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    password = database.server.passwords["postgres"]
    dsn = f"postgresql://postgres:{password}@127.0.0.1:{port}/{database.name}"
    application = Application(read_configuration(shop.config), remote_store(dsn), clock.now)
    await application.prepare()
    with campaign("a network to the store that falls silent", AS_WRITTEN) as hits:
        async with following(application):
            for silences in range(SILENCES):
                network.fall_silent_after(BYTES)
                shop.sell(BURST_LINES)
                await until_read(database.server, shop.lines, database.name)
                assert network.silent == silences + 1
        listener.close()
        await network.close()
        async with looking(database.server, database.name) as conn:
            await shop.check(conn)
        hits.update({"silences": network.silent, "lines": shop.lines})
    assert KEEPALIVE in network.said
