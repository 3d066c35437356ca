"""Follow every stream: read to its present end, wait, read on; one that fails stops no other."""

import asyncio
import logging
from typing import NamedTuple

from api.wiring import Application
from collector.errors import TieoutError
from collector.pipeline.ahead import Source
from collector.store.connection import DATABASE_ERRORS
from collector.store.pool import Pool, pooled
from control_checks.schedule import pause

POLL_S = 1.0
"""From the end of a pass to the next one of the same stream, unless its connector wants more."""
LIVELY_S = 0.3
"""The same after a pass that brought something: a line of a busy file is in the store within a second."""
BACKOFF_S_MAX = 60.0
QUERY_S_MAX = 300.0
"""A server that does not answer for so long, to one statement, is taken for gone."""
CONNECTIONS_MAX = 8
"""More streams than these take turns."""

_log = logging.getLogger(__name__)


class Pass(NamedTuple):
    """What came of reading a stream to its present end.

    Why that failed, all that is worth saying, for how many seconds the source asked to be left alone, and
    how many records it gave.
    """

    trouble: str = ""
    remarks: str = ""
    wait_s: float = 0.0
    read: int = 0


class Tail:
    """Follows all streams of a configuration. `failing` names those whose last pass failed."""

    def __init__(self, application: Application, poll_s: float = POLL_S) -> None:
        self._application = application
        self._poll_s = poll_s
        self.failing: set[str] = set()

    async def serve(self, stop: asyncio.Event) -> None:
        """Follow until told to stop; the batch under way is committed first."""
        sources = self._application.sources()
        size = max(1, min(len(sources), CONNECTIONS_MAX))
        pooling = pooled(self._application.store, size, query_s_max=QUERY_S_MAX)
        async with pooling as pool, asyncio.TaskGroup() as group:
            for source in sources:
                group.create_task(self._follow(source, pool, stop))

    async def _follow(self, source: Source, pool: Pool, stop: asyncio.Event) -> None:
        name = f"{source.source}/{source.stream}"
        failures, said = 0, ""
        while not stop.is_set():
            try:
                done = await self._once(source, pool, stop)
            except Exception as error:  # noqa: BLE001 -- a defect of one stream's code must not end the others
                _log.exception("Reading %s failed.", name)
                done = Pass(repr(error), repr(error))
            if done.remarks and done.remarks != said:
                _log.warning("%s: %s", name, done.remarks)
            said = done.remarks
            failures = failures + 1 if done.trouble else 0
            (self.failing.add if done.trouble else self.failing.discard)(name)
            poll_s = min(LIVELY_S, self._poll_s) if done.read and not failures else self._poll_s
            backoff_s = min(poll_s * 2 ** min(failures, 16), BACKOFF_S_MAX)
            await pause(stop, max(backoff_s, source.pause_s, done.wait_s))

    async def _once(self, source: Source, pool: Pool, stop: asyncio.Event) -> Pass:
        """Read a stream to its present end."""

        def progress(_part: str, _records: int, _size: int | None) -> None:
            if stop.is_set():
                raise _Stopped

        try:
            async with pool.connect() as conn:
                with self._application.collector(conn) as collector:
                    tally = await collector.sync(source, progress)
        except _Stopped:
            return Pass()
        except (TieoutError, *DATABASE_ERRORS) as error:
            return Pass(str(error), str(error))
        return Pass(tally.failed, " ".join(tally.remarks), tally.wait_s, tally.read)


class _Stopped(Exception):
    """Raised between two batches to end a pass."""
