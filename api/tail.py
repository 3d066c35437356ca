"""Follow every stream: read to its present end, wait, read on; one that fails stops no other."""

import asyncio
import logging

from api.wiring import Application
from collector.errors import TieoutError
from collector.pipeline.ahead import Source
from collector.store.connection import DATABASE_ERRORS
from collector.store.pool import Pool, pooled
from control_checks.schedule import pause

POLL_S = 1.0
"""From the end of a pass to the next one of the same stream, unless its connector wants more."""
BACKOFF_S_MAX = 60.0
QUERY_S_MAX = 300.0
"""A server that does not answer for so long, to one statement, is taken for gone."""
CONNECTIONS_MAX = 8
"""More streams than these take turns."""

_log = logging.getLogger(__name__)


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
            wait_s = 0.0
            try:
                trouble, remarks, wait_s = await self._once(source, pool, stop)
            except Exception as error:  # noqa: BLE001 -- a defect of one stream's code must not end the others
                _log.exception("Reading %s failed.", name)
                trouble = remarks = repr(error)
            if remarks and remarks != said:
                _log.warning("%s: %s", name, remarks)
            said = remarks
            failures = failures + 1 if trouble else 0
            (self.failing.add if trouble else self.failing.discard)(name)
            backoff_s = min(self._poll_s * 2 ** min(failures, 16), BACKOFF_S_MAX)
            await pause(stop, max(backoff_s, source.pause_s, wait_s))

    async def _once(
        self, source: Source, pool: Pool, stop: asyncio.Event
    ) -> tuple[str, str, float]:
        """Read a stream to its present end.

        Returns why that failed, all that is worth saying, and for how many seconds the source asked
        to be left alone.
        """

        def progress(_part: str, _records: int, _size: int | None) -> None:
            if stop.is_set():
                raise _Stopped

        try:
            async with pool.connect() as conn:
                with self._application.collector(conn) as collector:
                    tally = await collector.sync(source, progress)
        except _Stopped:
            return "", "", 0.0
        except (TieoutError, *DATABASE_ERRORS) as error:
            return str(error), str(error), 0.0
        return tally.failed, " ".join(tally.remarks), tally.wait_s


class _Stopped(Exception):
    """Raised between two batches to end a pass."""
