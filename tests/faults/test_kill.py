"""`kill -9` of the collector and of PostgreSQL in the middle of a batch: nothing is lost, nothing doubled."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below

import asyncpg
import pytest

from collector.store.cluster import DATABASE
from collector.store.connection import DATABASE_ERRORS
from collector.store.embedded import Server, running
from tests.faults.orders import Shop
from tests.support.campaigns import AS_WRITTEN, campaign

TIEOUT = Path(sys.executable).with_name("tieout")
KILLS, KILLS_LONG = 1, 20
BURST_LINES = 4_000
LATER_S_MAX = 0.1
PATIENCE_S = 120.0
WRITING = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity WHERE application_name = 'tieout' AND backend_xid IS NOT NULL
)
"""
READ = "SELECT coalesce(sum(read), 0) FROM tieout.batch"


class Agent:
    """`tieout run`, killed and started again."""

    def __init__(self, config: Path, data: Path) -> None:
        self._line: list[str | Path] = [TIEOUT, "--config", config, "--data-dir", data]
        self._line += ["run", "--only", "collector", "--port", "0"]
        self._said = data.with_name("said.log")
        self.start()

    @property
    def said(self) -> str:
        return self._said.read_text()[-4_000:]

    def start(self) -> None:
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(self._line, stdout=said, stderr=said)  # noqa: S603 -- our own program

    def kill(self) -> None:
        assert self.process.poll() is None, self.said
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0, self.said


@contextmanager
def agent(config: Path, data: Path) -> Iterator[Agent]:
    started = Agent(config, data)
    try:
        yield started
    except BaseException as error:
        error.add_note(started.said)
        raise
    finally:
        started.process.kill()
        started.process.wait()


def kill_server(data: Path) -> None:
    """Kill the postmaster and all that it started, as far as it is alive."""
    postmaster = (data / "pg/postmaster.pid").read_text().split()[0]
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for pid in (postmaster, *children):
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@asynccontextmanager
async def looking(server: Server, database: str = DATABASE) -> AsyncIterator[asyncpg.Connection]:
    """Look into the store over a connection of our own, as soon as there is one."""
    conn: asyncpg.Connection | None = None
    async with asyncio.timeout(PATIENCE_S):
        while conn is None:
            try:
                conn = await asyncpg.connect(server.dsn("postgres", database))
            except DATABASE_ERRORS:
                await asyncio.sleep(0.02)
    assert conn is not None
    try:
        yield conn
    finally:
        conn.terminate()


async def until_writing(server: Server, random: Random) -> None:
    """Wait until the collector has been in a transaction that writes, and still is, or is again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(*DATABASE_ERRORS):
                async with looking(server) as conn:
                    while not await conn.fetchval(WRITING):  # noqa: ASYNC110 -- the database has no event
                        await asyncio.sleep(0.002)
                    await asyncio.sleep(random.uniform(0, LATER_S_MAX))
                    if await conn.fetchval(WRITING):
                        return


async def until_read(server: Server, lines: int, database: str = DATABASE) -> None:
    """Wait until so many lines have been committed."""
    async with looking(server, database) as conn, asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(asyncpg.UndefinedTableError):  # the first agent makes it
                if await conn.fetchval(READ) >= lines:
                    return
            await asyncio.sleep(0.05)


async def kill_both(base: Path, kills: int, seed: int, hits: Counter[str]) -> None:
    """Kill collector and server so often each, in random order, while there is more to read."""
    random = Random(seed)  # noqa: S311 -- whom to kill when
    shop, data = Shop(base / "shop", seed), base / "data"
    victims = ["collector", "PostgreSQL"] * kills
    random.shuffle(victims)
    with running(data) as server, agent(shop.config, data) as collector:
        for victim in victims:
            shop.sell(BURST_LINES)
            await until_writing(server, random)
            if victim == "collector":
                collector.kill()
            else:
                kill_server(data)
            hits[f"kill -9 of {victim}"] += 1
        await until_read(server, shop.lines)
        collector.stop()
        async with looking(server) as conn:
            await shop.check(conn)
    hits["lines"] += shop.lines
    assert [hits[f"kill -9 of {victim}"] for victim in ("collector", "PostgreSQL")] == [kills] * 2


async def test_one_kill_each_loses_nothing_and_doubles_nothing(base: Path) -> None:
    await kill_both(base, KILLS, 1, Counter())


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200, 210))
async def test_two_hundred_kills_each_lose_nothing_and_double_nothing(
    base: Path, seed: int
) -> None:
    with campaign("`tieout run` and its PostgreSQL, killed amid a batch", AS_WRITTEN) as hits:
        await kill_both(base, KILLS_LONG, seed, hits)
