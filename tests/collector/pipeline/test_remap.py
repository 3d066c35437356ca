"""A store whose records were mapped again is the store that had the new mapping from the beginning."""

import json
from pathlib import Path
from random import Random  # noqa: TID251 -- a test of its own seeds
from typing import Any

import pytest

from collector.errors import Refused
from collector.pipeline.link import Links
from collector.pipeline.retell import retell
from collector.store import streams
from collector.store.embedded import Server
from tests.support.changing import (
    CHANGES,
    FIRST,
    MAPPING,
    MARKED,
    Shop,
    as_from_the_beginning,
    but,
    fill,
    orders,
    told,
)
from tests.support.postgres import Database, fresh_database


@pytest.fixture
def shop(tmp_path: Path, database: Database) -> Shop:
    return Shop(tmp_path / "shop", database)


@pytest.mark.parametrize(
    "change", [pytest.param(c, marks=[] if c in FIRST else [pytest.mark.long]) for c in CHANGES]
)
async def test_a_changed_mapping_makes_the_store_that_had_it_from_the_beginning(
    shop: Shop, database: Database, change: str
) -> None:
    fill(shop, MAPPING, seed=len(change))
    await shop.read()
    before, known = await shop.content(), await shop.known()
    said = await shop.as_known(known)
    shop.configure(CHANGES[change])
    foreseen = await shop.diff()
    assert await shop.content() == before
    applied = await shop.apply()
    assert applied == foreseen
    await shop.replay()
    remapped, counted = await shop.content(), await shop.totals()
    assert await shop.rebuilt() == remapped
    assert await shop.as_known(known) == said
    again = await shop.diff()
    assert (again.records, again.transactions) == (0, 0)
    fresh = await as_from_the_beginning(shop, database)
    assert remapped == await fresh.content()
    assert counted == await fresh.totals()
    changed = (applied.added, applied.replaced, applied.withdrawn)
    assert any(changed) or change == "a new value"


@pytest.mark.long
async def test_mappings_follow_each_other_and_the_first_comes_back(
    shop: Shop, server: Server
) -> None:
    fill(shop, MAPPING)
    await shop.read()
    first, known = await shop.content(), await shop.known()
    said = await shop.as_known(known)
    steps = [
        "a column that often is empty",
        "another document number",
        "a rule more",
        "an identity less",
        "a column that often is empty",
        "a personal attribute",
    ]
    for change in steps:
        shop.configure(CHANGES[change])
        await shop.replay()
        await shop.apply()
        assert await shop.rebuilt() == await shop.content()
        async with fresh_database(server) as spare:
            fresh = await as_from_the_beginning(shop, spare)
            assert await fresh.content() == await shop.content()
    remapped = await shop.content()
    shop.configure(MAPPING)
    await shop.replay()
    await shop.apply()
    assert await shop.content() == first
    assert await shop.rebuilt() == first
    assert await shop.as_known(known) == said
    shop.configure(CHANGES[steps[-1]])
    await shop.apply()
    assert await shop.content() == remapped


async def test_what_was_interrupted_goes_on_where_it_was(
    shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shop, MAPPING)
    await shop.read()
    shop.configure(CHANGES["another amount column"])
    foreseen = await shop.diff()

    done: list[object] = []

    async def once(*arguments: Any) -> None:  # noqa: ANN401 -- handed on
        if done:
            raise RuntimeError
        done.append(arguments)
        await retell(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("collector.pipeline.remap.retell", once)
        with pytest.raises(RuntimeError):
            await shop.apply()
    rest = await shop.apply()
    assert 0 < rest.records < foreseen.records
    assert await shop.rebuilt() == await shop.content()
    fresh = await as_from_the_beginning(shop, database)
    assert await fresh.content() == (await shop.content())


async def test_nothing_is_written_again_that_comes_out_as_it_was(shop: Shop) -> None:
    fill(shop, MAPPING)
    await shop.read()
    events = "SELECT count(*) FROM tieout.event"
    async with shop.store.connect() as conn:
        before = await conn.fetchval(events)
    shop.configure(but(events=[told(gone="order.gone"), MARKED]))  # a value that never comes
    report = await shop.apply()
    assert report.records > 0
    assert (report.changed, report.transactions) == (0, 0)
    async with shop.store.connect() as conn:
        assert await conn.fetchval(events) == before
        assert await conn.fetchval("SELECT count(*) FROM tieout.supersession") == 0


async def test_records_that_are_not_kept_are_counted_and_stay_as_they_were(shop: Shop) -> None:
    fill(shop, MAPPING)
    shop.configure(MAPPING, keep_raw=False)
    await shop.read()
    before = await shop.content()
    accepted, ignored, *_ = (await shop.totals())["shop", "orders"]
    shop.configure(CHANGES["another amount column"])
    report = await shop.apply()
    assert (report.records, report.not_kept, report.not_known) == (0, accepted, ignored)
    assert await shop.content() == before


async def test_a_file_with_columns_is_mapped_again_by_its_columns(
    shop: Shop, database: Database
) -> None:
    fill(shop, MAPPING)
    (shop.folder / "orders-1.jsonl").unlink()
    records = [
        json.loads(line) for line in (shop.folder / "orders-2.jsonl").read_text().splitlines()
    ]
    lines = [";".join(records[0]), *(";".join(map(str, r.values())) for r in records)]
    (shop.folder / "orders.csv").write_text("\n".join(lines) + "\n")
    shop.configure(MAPPING, form="csv")
    await shop.read()
    shop.configure(CHANGES["another amount column"], form="csv")
    assert (await shop.apply()).replaced > 0
    await shop.replay()
    remapped = await shop.content()
    assert remapped == await (await as_from_the_beginning(shop, database)).content()


async def test_a_stream_that_is_being_read_is_left_alone(shop: Shop) -> None:
    fill(shop, MAPPING)
    await shop.read()
    shop.configure(CHANGES["no amount"])
    async with shop.store.connect() as other:
        stream = await streams.register(other, "shop", "orders", "shop/orders")
        ident = next(iter(await streams.parts(other, stream)))
        assert await streams.lease(other, stream, ident)
        with pytest.raises(Refused, match="is being read by another process"):
            await shop.apply()
        await streams.release(other, stream, ident)
    assert (await shop.apply()).replaced > 0


async def test_a_collector_that_goes_on_forgets_what_was_taken_back(shop: Shop) -> None:
    """Its memory says that an order has an invoice's number; the order lost it, and is told it again."""
    fill(shop, MAPPING)
    app = shop.application
    async with shop.store.connect() as conn:
        with app.collector(conn) as collector:
            for source in app.sources():
                await collector.sync(source)
            shop.configure(CHANGES["an identity less"])
            await shop.apply()
            shop.configure(MAPPING)
            lines = (shop.folder / "orders-1.jsonl").read_text().splitlines()
            again = [{**json.loads(line), "id": f"again {n}"} for n, line in enumerate(lines)]
            shop.write("orders-3.jsonl", again)
            for source in shop.application.sources():
                await collector.sync(source)
    assert await shop.content() == await shop.rebuilt()


async def test_a_link_of_a_document_that_comes_back_holds_again(shop: Shop) -> None:
    shop.configure(MAPPING)
    records = orders(Random(0), 9)  # noqa: S311 -- a test's own data
    a, b = (
        {**r, "order": name, "case": f"C{name}", "invoice": "", "what": "made"}
        for r, name in zip(records, "AB", strict=False)
    )
    shop.write("orders-1.jsonl", [a, b])
    shop.write("payments.jsonl", [])
    await shop.read()
    app = shop.application
    async with shop.store.connect() as conn:
        await Links(conn, app.limit, app.clock, "tester").add("A", "B", "one business")
    linked = await shop.content()
    shop.configure(CHANGES["another document number"])
    report = await shop.apply()
    assert [len(side) for side in (report.changes[0].before, report.changes[0].after)] == [1, 2]
    assert [d.number for t in report.changes[0].after for d in t.documents] in (
        ["CA", "CB"],
        ["CB", "CA"],
    )
    assert report.transactions == 1
    assert await shop.rebuilt() == await shop.content()
    shop.configure(MAPPING)
    await shop.apply()
    assert await shop.content() == linked
    assert await shop.rebuilt() == linked
