"""Raw bodies and personal fields go at their configured age; facts stay, and a trace says what went."""

import json
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from collector import clock
from collector.errors import Misconfigured
from collector.pipeline.dump import dump
from collector.store import retention
from collector.store.ingest import Connection
from tests.support.postgres import Database
from tests.support.shop import START
from tests.support.store import DatabaseStore, at, collect

FIRST, SECOND = 3, 2
"""Orders recorded on day 0 and on day 20."""
CONFIGURATION = """
tieout: 1
sources:
  shop:
    connector: files
    system: shop
    streams:
      orders:
        read: {{path: "orders*.jsonl", format: jsonl}}
        keep_raw: true
        mapping:
          key: id
          document: {{type: order, number: id}}
          occurred_at: {{value: at, timezone: in value}}
          actor: by
          personal: [actor]
          events: [{{rule: made, type: order.made}}]
retention: {retention}
"""


async def filled(database: Database, folder: Path, retention_: str) -> DatabaseStore:
    """Read a file on day 0 and another one on day 20."""
    store = DatabaseStore(database)
    (folder / "tieout.yaml").write_text(CONFIGURATION.format(retention=retention_))
    for day, numbers in ((0, range(FIRST)), (20, range(FIRST, FIRST + SECOND))):
        lines = [{"id": f"O{n}", "at": START.isoformat(), "by": f"person {n}"} for n in numbers]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"orders-{day}.jsonl").write_text(text)
        await collect(store, folder / "tieout.yaml", at(START + timedelta(days=day)))
    return store


async def left(conn: Connection) -> tuple[int, int]:
    """Count the raw bodies and the personal fields that are still there."""
    row = await conn.fetchrow(
        "SELECT (SELECT count(*) FROM tieout.raw_record), (SELECT count(*) FROM tieout.personal)"
    )
    return row[0], row[1]


async def test_nothing_is_erased_and_no_trace_is_left_where_no_age_is_configured(
    database: Database, tmp_path: Path
) -> None:
    store = await filled(database, tmp_path, "{}")
    async with store.connect() as conn:
        assert await retention.erase_due(conn, clock.now()) == 0
        assert await left(conn) == (5, 5)
        assert await conn.fetchval("SELECT count(*) FROM tieout.erasure") == 0


async def test_each_kind_goes_at_its_own_age_since_recording_and_the_facts_stay(
    database: Database, tmp_path: Path
) -> None:
    store = await filled(database, tmp_path, "{raw_days: 10, personal_days: 25}")
    async with store.connect() as conn:
        before = [line async for line in dump(conn, [], None, clock.now())]
        for days, expected in (
            (9, (5, 5)),
            (11, (2, 5)),
            (24, (2, 5)),
            (26, (2, 2)),
            (31, (0, 2)),
            (46, (0, 0)),
        ):
            await retention.erase_due(conn, START + timedelta(days=days))
            assert await left(conn) == expected, days
        assert [line async for line in dump(conn, [], None, clock.now())] == before
        assert before
        traces = await conn.fetch(
            "SELECT what, recorded_until, erased FROM tieout.erasure WHERE erased > 0 ORDER BY id"
        )
    assert [tuple(t) for t in traces] == [
        ("raw", START + timedelta(days=1), 3),
        ("personal", START + timedelta(days=1), 3),
        ("raw", START + timedelta(days=21), 2),
        ("personal", START + timedelta(days=21), 2),
    ]


async def test_one_erasure_is_bounded_and_the_rest_is_due_at_once_not_a_day_later(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await filled(database, tmp_path, "{raw_days: 10}")
    monkeypatch.setattr(retention, "ROWS_MAX", 2)
    now = START + timedelta(days=15)
    async with store.connect() as conn:
        assert await retention.erase_due(conn, now) == 2
        assert await left(conn) == (3, 5)
        assert await retention.erase_due(conn, now) == 1
        await retention.erase_due(conn, now + timedelta(hours=23))
        assert await conn.fetchval("SELECT count(*) FROM tieout.erasure") == 2
        assert await retention.erase_due(conn, START + timedelta(days=40)) == 2
        assert await left(conn) == (0, 5)


async def test_the_application_erases_only_by_the_function_and_only_what_is_old_enough(
    database: Database, tmp_path: Path
) -> None:
    store = DatabaseStore(database)
    path = tmp_path / "tieout.yaml"
    path.write_text(CONFIGURATION.format(retention="{raw_days: 1, personal_days: 1}"))
    line = {"id": "O1", "at": START.isoformat(), "by": "person 1"}
    (tmp_path / "orders.jsonl").write_text(json.dumps(line) + "\n")
    await collect(store, path, clock.now)
    async with store.connect() as conn:
        for table in ("raw_record", "personal", "erasure"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(f"DELETE FROM tieout.{table}")  # noqa: S608 -- names of ours
        await retention.erase_due(
            conn, clock.now() + timedelta(days=1_000)
        )  # a clock that runs ahead
        assert await left(conn) == (1, 1)
        assert await conn.fetchval("SELECT tieout.erase('event', now(), 1)") == 0
        assert await conn.fetchval("SELECT count(*) FROM tieout.event") == 1


async def test_an_age_is_a_whole_number_of_days(database: Database, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"retention\.raw_days"):
        await filled(database, tmp_path, "{raw_days: 0}")
