"""What the routes work with, and how they answer."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import msgspec
from fastapi import Depends, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from api.wiring import Application
from collector.pipeline.measure import Meter
from collector.pipeline.story import Stories
from collector.store.pool import Pool
from control_checks.runner import Engine

Check = Callable[[], str | None]
"""Asks whether something is ready; the answer is None, or a sentence without secrets or names."""


class Context(NamedTuple):
    """What every route can use.

    `probe` is a connection of readiness' own, so that load is no outage; `checks` by what they ask about.
    """

    application: Application
    engine: Engine
    stories: Stories
    meter: Meter
    pool: Pool
    probe: Pool
    checks: Mapping[str, Check]

    def now(self) -> datetime:
        """Return the present time."""
        return self.application.clock()


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


With = Annotated[Context, Depends(_context)]


def answer(document: Any) -> Response:  # noqa: ANN401 -- any JSON
    """Answer with JSON."""
    return Response(msgspec.json.encode(document), media_type="application/json")


EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _instant(value: object) -> datetime:
    """Take a time with its offset; a number or a time of no place would be a guess."""
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        parsed = None
    if parsed is None or parsed.utcoffset() is None:
        raise ValueError(
            "write a time with its offset, e.g. 2026-01-31T00:00:00Z or 2026-01-31T00:00:00%2B01:00"
        )
    if not EARLIEST <= parsed <= LATEST:
        raise ValueError(f"write a time between {EARLIEST.year} and {LATEST.year}")
    return parsed


Instant = Annotated[datetime, BeforeValidator(_instant)]
"""A time in a query: aware."""
