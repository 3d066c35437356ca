"""A proxy on loopback that cuts and delays connections half-way, as a seed decides; it counts what it did."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded by whoever makes a proxy
from threading import Thread

BLOCK_BYTES = 65_536
DELAY_S_MAX = 0.05
DELAYED_SHARE = 0.05

Target = tuple[str, int] | Path
"""An address, or a server's socket file."""


class Proxy:
    """Forwards connections to a target. While `cutting`, each is cut after so many bytes at most.

    The cut comes in the middle of what either side sends: that much of a block still arrives.
    """

    def __init__(self, target: Target, seed: int, bytes_max: int) -> None:
        self._target = target
        self._random = Random(seed)  # noqa: S311 -- when to cut
        self._bytes_max = bytes_max
        self.cutting = True
        self.port = 0
        self.faults: Counter[str] = Counter()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        ends = [writer]
        pumps: list[asyncio.Task[None]] = []
        try:
            there, away = await self._connect()
            ends.append(away)
            left = [self._random.randrange(1, self._bytes_max) if self.cutting else -1]
            pumps += (
                asyncio.create_task(self._pump(reader, away, left)),
                asyncio.create_task(self._pump(there, writer, left)),
            )
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for end in ends:
                end.transport.abort()  # reset, not closed in good order
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: list[int]
    ) -> None:
        """Forward one direction; `left` bytes may pass, both directions together, or any if negative."""
        while block := await source.read(BLOCK_BYTES):
            if self.cutting and self._random.random() < DELAYED_SHARE:
                self.faults["delayed"] += 1
                await asyncio.sleep(self._random.uniform(0, DELAY_S_MAX))
            if 0 <= left[0] <= len(block):
                sink.write(block[: left[0]])
                await sink.drain()
                self.faults["cut"] += 1
                return
            left[0] -= len(block) if left[0] > 0 else 0
            sink.write(block)
            await sink.drain()


@contextlib.contextmanager
def proxied(target: Target, *, seed: int, bytes_max: int) -> Iterator[Proxy]:
    """Run a proxy in a thread of its own, so that it serves whoever blocks, too."""
    proxy = Proxy(target, seed, bytes_max)
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="proxy")
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(_listen(proxy), loop).result()
        yield proxy
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(proxy: Proxy) -> asyncio.Server:
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    return server


async def _end(server: asyncio.Server) -> None:
    """Stop listening, and let go of connections that nobody has closed."""
    server.close()
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.sleep(0)  # what was aborted is closed in the loop's next round
