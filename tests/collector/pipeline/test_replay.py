"""Quarantined records are mapped again a batch at a time; what was done is done, whatever happens then."""

from pathlib import Path
from typing import Any

import pytest

from collector.pipeline import replay
from collector.pipeline.commit import commit
from collector.pipeline.replay import Asked, Outcome, Replay
from tests.support.changing import MAPPING, MARKED, Shop, but, fill, told
from tests.support.postgres import Database

SENT = but(events=[told(sent="order.sent"), MARKED])


@pytest.fixture
async def shop(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop with a dozen records in quarantine, replayed four at a time."""
    monkeypatch.setattr(replay, "BATCH_RECORDS", 4)
    shop = Shop(tmp_path / "shop", database)
    fill(shop, MAPPING)
    await shop.read()
    return shop


async def replayed(shop: Shop, asked: Asked, told_of: list[int] | None = None) -> Outcome:
    app = shop.application
    async with shop.store.connect() as conn:
        work = Replay(conn, app.limit, app.clock, "tester")
        return await work.run(app.sources(), asked, None if told_of is None else told_of.append)


async def lying(shop: Shop) -> int:
    _, _, quarantined, *_ = (await shop.totals())["shop", "orders"]
    return int(quarantined)


async def test_what_was_interrupted_goes_on_where_it_was(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = await lying(shop)
    assert there > 8
    shop.configure(SENT)
    batches: list[object] = []

    async def third_time_unlucky(*given: Any, **named: Any) -> Any:  # noqa: ANN401 -- handed on
        batches.append(given)
        if len(batches) > 2:
            raise RuntimeError
        return await commit(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(replay, "commit", third_time_unlucky)
        with pytest.raises(RuntimeError):
            await replayed(shop, Asked())
    assert await lying(shop) == there - 8
    steps: list[int] = []
    assert (await replayed(shop, Asked(), steps)).replayed == there - 8 == sum(steps)
    assert max(steps) <= 4
    assert await lying(shop) == 0
    assert await shop.rebuilt() == await shop.content()


async def test_only_what_the_mapping_in_force_has_not_refused_is_tried(shop: Shop) -> None:
    there = await lying(shop)
    same = await replayed(shop, Asked())
    assert (same.replayed, same.refused, same.unchanged) == (0, 0, there)
    shop.configure(but(events=[told(gone="order.gone"), MARKED]))  # mends nothing
    tried = await replayed(shop, Asked())
    assert (tried.replayed, tried.refused, tried.unchanged) == (0, there, 0)
    again = await replayed(shop, Asked())
    assert (again.refused, again.unchanged) == (0, there)
    assert (await replayed(shop, Asked(force=True))).refused == there
    shop.configure(SENT)
    assert (await replayed(shop, Asked(reason="NO_TIME"))).replayed == 0
    assert (await replayed(shop, Asked(reason="UNKNOWN_VALUE"))).replayed == there


async def test_what_belongs_to_a_stream_that_is_gone_is_counted(shop: Shop) -> None:
    there = await lying(shop)
    path = shop.folder / "tieout.yaml"
    shop.configure(SENT)
    path.write_text(path.read_text().replace("      orders:", "      sales:"))
    outcome = await replayed(shop, Asked())
    assert (outcome.replayed, outcome.unconfigured) == (0, there)
