"""A sweep finds what a cursor lost and what the source no longer has, and concludes nothing that it did not see."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.wiring import Application, read_configuration
from collector.pipeline.completeness import known_coverage
from collector.pipeline.dump import dump
from collector.pipeline.publish import publish
from collector.pipeline.rebuild import rebuild
from collector.pipeline.sweep import Span, Swept
from collector.store import totals
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at

NOW = datetime(2026, 2, 20, tzinfo=UTC)
ALL = Span(None, NOW)
CONFIGURATION = """\
tieout: 1
sources:
  shop:
    connector: files
    system: shop
    streams:
      orders:
        read: {path: "*.jsonl", format: jsonl, follow: true}
        sweep_every: 1 day
        mapping:
          key: id
          document: {type: order, number: id}
          occurred_at: {value: at, timezone: in value}
          events: [{rule: placed, type: order.placed}]
"""


def order(number: int, note: str = "as it was") -> str:
    """Write one record, as long as every other: what is exchanged moves nothing."""
    record = {"id": f"{number:04}", "at": f"2026-01-{1 + number % 28:02}T08:00:00Z", "note": note}
    return json.dumps(record) + "\n"


class Shop:
    """A tailed file of orders, and a store that has read it."""

    def __init__(self, database: Database, folder: Path, text: str = CONFIGURATION) -> None:
        self.folder = folder
        self.store = DatabaseStore(database)
        self.now = NOW
        (folder / "tieout.yaml").write_text(text)
        self.application = Application(
            read_configuration(folder / "tieout.yaml"), self.store, lambda: self.now
        )

    def has(self, orders: Iterable[str], file: str = "orders.jsonl") -> None:
        """Write the file in place: it stays the one that it was."""
        (self.folder / file).write_text("".join(orders))

    async def read(self) -> int:
        """Read on; return how many records were new."""
        async with self.store.connect() as conn:
            await publish(conn, self.application.configuration, at(NOW))
            with self.application.collector(conn) as collector:
                (source,) = self.application.sources()
                return (await collector.sync(source)).accepted

    async def sweep(self, window: Span = ALL) -> Swept:
        async with self.store.connect() as conn:
            (source,) = self.application.sources()
            return await self.application.sweep(conn, source, window)

    async def dumped(self) -> list[bytes]:
        async with self.store.connect() as conn:
            known = await totals.last_recorded(conn, NOW)
            return [line async for line in dump(conn, [], None, known)]


def figures(swept: Swept) -> tuple[int, int, int, int, int]:
    of = swept.sweep
    return of.listed, of.found, of.changed, of.deleted, of.returned


@pytest.fixture
async def shop(database: Database, tmp_path: Path) -> Shop:
    shop = Shop(database, tmp_path)
    shop.has(order(n) for n in range(200))
    assert await shop.read() == 200
    return shop


BEFORE_AND_AFTER = [order(n) for n in range(200)]


def exchanged(**places: str) -> list[str]:
    """Return the orders with some exchanged, by their place: n120=..."""
    lines = list(BEFORE_AND_AFTER)
    for place, line in places.items():
        lines[int(place[1:])] = line
    return lines


async def test_where_nothing_was_lost_a_sweep_changes_nothing_but_that_it_was(shop: Shop) -> None:
    before = await shop.dumped()
    swept = await shop.sweep()
    assert (swept.sweep.whole, swept.sweep.remark, figures(swept)) == (True, "", (200, 0, 0, 0, 0))
    assert await shop.dumped() == before
    assert await shop.read() == 0


async def test_what_was_exchanged_behind_the_cursor_is_read_in_and_what_is_gone_is_marked(
    shop: Shop,
) -> None:
    shop.has(exchanged(n120=order(900), n130=order(130, note="mended...")))
    assert await shop.read() == 0  # the cursor lies behind it
    swept = await shop.sweep()
    assert figures(swept) == (200, 1, 1, 1, 0)
    assert swept.documents == ["order 0120"]
    rows = [json.loads(line) for line in await shop.dumped()]
    assert len([r for r in rows if r["row"] == "event"]) == 202  # 120 and the old 130 are kept
    assert len([r for r in rows if r["row"] == "deleted"]) == 1
    assert figures(await shop.sweep()) == (200, 0, 0, 0, 0)  # told once
    assert await shop.read() == 0


async def test_what_comes_again_is_marked_too_and_no_mark_is_changed(shop: Shop) -> None:
    shop.has(exchanged(n120=order(900)))
    await shop.sweep()
    shop.has(BEFORE_AND_AFTER)
    assert figures(await shop.sweep()) == (200, 0, 0, 1, 1)  # 900 is gone, 120 is back
    async with shop.store.connect() as conn:
        kinds = await conn.fetch("SELECT kind FROM tieout.deletion ORDER BY seq, kind")
        assert [r["kind"] for r in kinds] == ["deleted", "deleted", "returned"]
        before = [line async for line in dump(conn, [], None, NOW + timedelta(days=9))]
        await rebuild(conn, shop.application.limit, at(NOW))
    assert await shop.dumped() == before


async def test_coverage_knows_the_last_sweep_as_of_when_it_was(shop: Shop) -> None:
    async def known(as_known: datetime) -> tuple[bool, int] | None:
        async with shop.store.connect() as conn:
            in_force = await totals.configuration(conn, as_known)
            assert in_force is not None
            last = (await known_coverage(conn, in_force, as_known))["shop", "orders"].sweep
            return None if last is None else (last.whole, last.deleted)

    async def last_recorded() -> datetime:
        async with shop.store.connect() as conn:
            return await totals.last_recorded(conn, NOW)

    never = await last_recorded()
    await shop.sweep()
    once = await last_recorded()
    shop.has(exchanged(n120=order(900)))
    await shop.sweep()
    assert [await known(t) for t in (never, once, await last_recorded())] == [
        None,
        (True, 0),
        (True, 1),
    ]


async def test_of_a_window_only_what_happened_in_it_is_judged(shop: Shop) -> None:
    shop.has(exchanged(n119=order(900), n120=order(901)))
    day = datetime(2026, 1, 1 + 120 % 28, tzinfo=UTC)
    swept = await shop.sweep(Span(day, day + timedelta(days=1)))
    assert (swept.sweep.found, swept.documents) == (2, ["order 0120"])


async def test_a_record_without_a_key_could_be_any_so_nothing_is_concluded(shop: Shop) -> None:
    blank = order(120).replace('"0120"', '"    "')
    shop.has(exchanged(n120=blank, n130=order(900)))
    swept = await shop.sweep()
    assert (swept.sweep.whole, figures(swept)[1:]) == (False, (1, 0, 0, 0))
    assert "1 record of orders.jsonl cannot be read or have no key" in swept.sweep.remark


async def test_a_file_that_is_gone_says_nothing_about_its_records(shop: Shop) -> None:
    shop.has([order(n) for n in range(300, 400)], "second.jsonl")
    assert await shop.read() == 100
    (shop.folder / "second.jsonl").unlink()
    assert figures(await shop.sweep()) == (200, 0, 0, 0, 0)


async def test_what_may_stand_in_a_file_that_was_not_read_whole_is_not_gone(shop: Shop) -> None:
    shop.has([order(n) for n in range(300, 400)], "second.jsonl")
    assert await shop.read() == 100
    shop.has(exchanged(n120=order(900)))
    (shop.folder / "second.jsonl").write_text('{"id": broken\n' + order(120))
    swept = await shop.sweep()
    assert (swept.sweep.whole, swept.sweep.deleted) == (False, 0)


async def test_what_a_source_drops_by_age_is_not_taken_for_deleted(
    database: Database, tmp_path: Path
) -> None:
    days = (NOW - datetime(2026, 1, 21, 8, tzinfo=UTC)).days  # kept is what happened from then on
    text = CONFIGURATION.replace("sweep_every: 1 day", f"retained_days: {days}")
    shop = Shop(database, tmp_path, text)
    shop.has(BEFORE_AND_AFTER)
    assert await shop.read() == 200
    shop.has(exchanged(n115=order(900), n137=order(901)))  # of 4 and of 26 January
    assert (await shop.sweep()).documents == ["order 0137"]


async def test_a_sweep_is_due_as_often_as_configured(shop: Shop) -> None:
    async with shop.store.connect() as conn:
        assert len(await shop.application.sweep_due(conn)) == 1
        assert await shop.application.sweep_due(conn) == []
        shop.now = NOW + timedelta(hours=25)
        assert len(await shop.application.sweep_due(conn)) == 1


RULES = """
          events:
            - {rule: open, type: order.placed, when: [{value: note, is: [as it was]}]}
            - {rule: closed, type: order.closed, when: [{value: note, is: [as it is.]}]}
"""


@pytest.mark.parametrize(
    ("events", "gone"),
    [
        (RULES, 1),
        ("          events: [{rule: placed, type: order.placed, discriminators: [note]}]\n", 1),
        ("          events: [{rule: placed, type: order.placed}]\n", 1),
    ],
    ids=["by rule", "by discriminator", "by key"],
)
async def test_a_record_that_means_something_else_by_now_is_not_gone(
    database: Database, tmp_path: Path, events: str, gone: int
) -> None:
    before = "          events: [{rule: placed, type: order.placed}]\n"
    assert before in CONFIGURATION
    shop = Shop(database, tmp_path, CONFIGURATION.replace(before, events))
    shop.has(BEFORE_AND_AFTER)
    await shop.read()
    broken = order(110).replace("2026-01-27T08", "2026-99-99T08")
    shop.has(exchanged(n110=broken, n120=order(120, note="as it is."), n130=order(900)))
    swept = await shop.sweep()
    assert swept.sweep.whole
    assert (swept.sweep.deleted, swept.documents) == (gone, ["order 0130"])
