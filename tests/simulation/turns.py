"""Who goes next, and what befalls them: every await that touches the store is a turn that a seed hands out.

A collector under simulation works over a `Watched` connection. Before each statement it waits for its
turn; `Turns.conduct` gives one as soon as all collectors stand still: before a statement, or waiting for a
lock in the database, which the database itself says. So a seed decides the interleaving, and at
which of these points a connection is cut or a task cancelled, just before the statement or just after it.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random  # noqa: TID251 -- seeded by whoever makes the turns
from types import FrameType
from typing import Any, TypeVar

import asyncpg
from typing_extensions import override

from collector.store.connection import StoreConnection

T = TypeVar("T")

FAULTS = ("cut before", "cut after", "cancelled before", "cancelled after")
FAULTS_MAX = 8
"""Per campaign: it must come to an end."""
CHOSEN_SHARE = 0.2
"""Of the await points, those that a seed strikes at: also where one is rarely reached, some seed does."""
PATIENCE_S = 0.005
"""A statement that takes longer is asked whether it waits for somebody's lock."""
GONE_MS_MAX = 20_000
_BLOCKED = "SELECT cardinality(pg_blocking_pids($1)) > 0"
_TERMINATE = "SELECT pg_terminate_backend($1, $2)"


class Worker:
    """One collector under simulation. `struck` is the fault that its present life ended with."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.task: asyncio.Task[None] | None = None
        self.turn: asyncio.Future[None] | None = None
        self.backend: int = 0
        self.running = False
        self.blocked = False
        self.struck = ""


class Turns:
    """Hands out the turns of one campaign and injects its crashes."""

    def __init__(self, seed: str, admin: asyncpg.Connection) -> None:
        self._order = Random(f"order {seed}")  # noqa: S311 -- no secret
        self._seed = seed
        self._admin = admin
        self._asking = asyncio.Lock()
        self._changed = asyncio.Event()
        self._live: list[Worker] = []
        self.reached: Counter[str] = Counter()
        self.hit: Counter[tuple[str, str]] = Counter()
        self.waited = 0
        self.over = False
        self.trace: list[str] = []

    def enter(self, worker: Worker) -> None:
        self._live.append(worker)
        self._changed.set()

    def leave(self, worker: Worker) -> None:
        self._live.remove(worker)
        self._changed.set()

    async def conduct(self) -> None:
        """Give turns for as long as anybody lives."""
        while True:
            await self._quiet()
            if not self._live:
                return
            ready = [worker for worker in self._live if worker.turn is not None]
            if not ready:  # all wait for each other: the database will refuse one of them
                self._changed.clear()
                await self._changed.wait()
                continue
            chosen = self._order.choice(ready)
            turn, chosen.turn = chosen.turn, None
            assert turn is not None
            turn.set_result(None)

    async def _quiet(self) -> None:
        """Wait until nobody can do anything without a turn."""
        while True:
            self._changed.clear()
            busy = [w for w in self._live if w.turn is None and not w.blocked]
            if not busy:
                if await self._still_blocked():
                    return
                continue
            try:
                await asyncio.wait_for(self._changed.wait(), PATIENCE_S)
            except TimeoutError:
                for worker in busy:
                    worker.blocked = await self._waits(worker)
                    self.waited += worker.blocked

    async def _still_blocked(self) -> bool:
        """Ask again of those who waited for a lock: whoever moved last may have freed it."""
        for worker in self._live:
            worker.blocked = worker.blocked and await self._waits(worker)
        return not [w for w in self._live if w.turn is None and not w.blocked]

    async def _waits(self, worker: Worker) -> bool:
        """Say whether a worker's statement waits for somebody's lock."""
        if not worker.running:
            return False
        async with self._asking:
            waits = await self._admin.fetchval(_BLOCKED, worker.backend)
        return bool(waits) and worker.running

    async def take(self, worker: Worker, point: str, statement: Callable[[], Awaitable[T]]) -> T:
        """Wait for a turn, then run the statement, unless or until a fault befalls it."""
        if self.over:
            raise asyncpg.ConnectionDoesNotExistError("The campaign is over.")
        turn = worker.turn = asyncio.get_running_loop().create_future()
        self._changed.set()
        await turn
        fault = self._fault(worker, point)
        self.trace.append(f"{worker.name} {point} {fault}".rstrip())
        if fault.endswith("before"):
            await self._strike(worker, fault)
        worker.running = True
        try:
            result = await statement()
        finally:
            worker.running = worker.blocked = False
            self._changed.set()
        if fault.endswith("after"):
            await self._strike(worker, fault)
            raise asyncpg.ConnectionDoesNotExistError("The answer was lost.")
        return result

    def _fault(self, worker: Worker, point: str) -> str:
        """Decide whether this is where it happens: a seed chooses some points, and the how manieth time."""
        times = self.reached[point]
        self.reached[point] += 1
        random = Random(f"fault {self._seed} {point}")  # noqa: S311 -- no secret
        chosen = random.random() < CHOSEN_SHARE and times == random.choice((0, 0, 1, 3))
        if not chosen or worker.struck or self.hit.total() >= FAULTS_MAX:
            return ""
        worker.struck = random.choice(FAULTS)
        self.hit[worker.struck, point] += 1
        return worker.struck

    async def _strike(self, worker: Worker, fault: str) -> None:
        if fault.startswith("cancelled"):
            assert worker.task is not None
            worker.task.cancel()
            await asyncio.sleep(0)
        else:
            await self.terminate(worker)

    async def terminate(self, worker: Worker) -> None:
        """End a worker's session in the database, and wait until its locks are free."""
        async with self._asking:
            await self._admin.fetchval(_TERMINATE, worker.backend, GONE_MS_MAX)


class Watched(StoreConnection):
    """A connection each of whose statements is a turn."""

    worker: Worker
    turns: Turns

    async def _turn(self, what: str, statement: Callable[[], Awaitable[T]]) -> T:
        return await self.turns.take(self.worker, _point(what), statement)

    @override
    async def execute(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._turn(query, partial(super().execute, query, *args, **options))

    @override
    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._turn(query, partial(super().fetch, query, *args, **options))

    @override
    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._turn(query, partial(super().fetchrow, query, *args, **options))

    @override
    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._turn(query, partial(super().fetchval, query, *args, **options))

    @override
    async def copy_to_table(self, table: str, **options: Any) -> Any:
        return await self._turn(f"COPY {table}", partial(super().copy_to_table, table, **options))

    @override
    async def copy_records_to_table(self, table: str, **options: Any) -> Any:
        copy = partial(super().copy_records_to_table, table, **options)
        return await self._turn(f"COPY {table}", copy)


def _point(what: str) -> str:
    """Name the await point: the product's function, and what it asks if that is not said by its name."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and "/collector/" not in frame.f_code.co_filename:
        frame = frame.f_back
    word = what.split(maxsplit=1)[0].rstrip(";")
    if word == "COPY":
        return what
    place = frame.f_code.co_name if frame is not None else "?"
    return word if word in {"BEGIN", "COMMIT", "ROLLBACK"} else place
