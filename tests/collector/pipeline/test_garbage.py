"""What a batch was packed into is freed with the batch, not at some later collection of garbage."""

import gc
import weakref
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from collector.store import ingest
from tests.support import shop
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at, collect


async def test_nothing_of_a_batch_waits_for_the_garbage_collector(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams: list[weakref.ref[AsyncIterator[bytes]]] = []
    stream = ingest.stream

    def noted(conn: ingest.Connection, packed: Iterable[bytes]) -> AsyncIterator[bytes]:
        made = stream(conn, packed)
        streams.append(weakref.ref(made))
        return made

    monkeypatch.setattr(ingest, "stream", noted)
    gc.disable()
    try:
        await collect(DatabaseStore(database), shop.write(tmp_path), at(shop.NOW))
        assert len(streams) > 5
        assert [made for made in streams if made() is not None] == []
    finally:
        gc.enable()
