"""How long a stream is left alone between two passes."""

import asyncio
from typing import Any

import pytest

from api import tail
from collector.connector import Redelivers
from collector.pipeline.ahead import Source


@pytest.mark.parametrize(
    ("read", "trouble", "source_asks_s", "pause_s", "waited_s"),
    [
        (0, "", 0.0, 0.0, 1.0),
        (1, "", 0.0, 0.0, 0.3),  # there may be more soon
        (1, "", 0.0, 60.0, 60.0),  # as its connector wants
        (1, "throttled", 0.0, 0.0, 2.0),
        (0, "throttled", 120.0, 60.0, 120.0),  # as its source asks
    ],
)
async def test_a_stream_is_left_alone_as_long_as_its_source_wants(
    monkeypatch: pytest.MonkeyPatch,
    read: int,
    trouble: str,
    source_asks_s: float,
    pause_s: float,
    waited_s: float,
) -> None:
    stop, waited = asyncio.Event(), []

    async def once(*_: object) -> tail.Pass:
        return tail.Pass(trouble, trouble, source_asks_s, read)

    async def pause(_: asyncio.Event, seconds: float) -> None:
        waited.append(seconds)
        stop.set()

    nothing: Any = None
    following = tail.Tail(nothing)
    monkeypatch.setattr(following, "_once", once)
    monkeypatch.setattr(tail, "pause", pause)
    source = Source("s", "t", "s/t", nothing, nothing, Redelivers.NEVER, False, pause_s)
    await following._follow(source, nothing, stop)
    assert waited == [waited_s]
    assert following.failing == ({"s/t"} if trouble else set())
