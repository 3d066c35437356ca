"""The only place that asks what time it is, so that a run can be replayed at another."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def now() -> datetime:
    """Return the present instant, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 -- this is the place


def stopwatch() -> Callable[[], float]:
    """Return a function that gives the seconds since this call, monotonic."""
    start = time.perf_counter()
    return lambda: time.perf_counter() - start
