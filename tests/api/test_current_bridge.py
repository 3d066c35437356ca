"""`tieout run` keeps the bridge current while a file grows, and whoever asks sees what is unexplained."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.wiring import Application, read_configuration
from collector import clock
from control_checks import schedule
from control_checks.bridge import current
from tests.api.test_service import PATIENCE_S, answer, serving
from tests.api.till import START, append, booking, sale, write
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

HOP = {"flow": "sales", "from": "sold", "to": "banked", "from_system": "till", "to_system": "bank"}


def _write(folder: Path) -> Path:
    """Write the till, known up to now; what is overdue at the bank is left to controls that there are not."""
    path = write(folder, "bridge: {every: 0 minutes}\n")
    text = path.read_text().replace(", records: 4", "").replace("owned: []", "owned: [banked]")
    text = text.replace("severity: medium", "parameters: {owned: [banked]}")
    for until in ("2026-03-01", "2026-01-20"):
        text = text.replace(until, "2099-01-01")
    path.write_text(text)
    return path


async def residual(client: httpx.AsyncClient, period: str) -> dict[str, float]:
    """Return the items and the minor units that `/metrics` shows as unexplained of a month."""
    text = (await client.get("/metrics")).text
    labels = {**HOP, "period": period, "entity": "DE10", "currency": "EUR"}
    return {
        sample.name.removeprefix("tieout_conservation_residual_"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels == labels
    }


async def until(ask: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool]) -> Any:  # noqa: ANN401 -- whatever is asked for
    async with asyncio.timeout(PATIENCE_S):
        while not wanted(found := await ask()):  # noqa: ASYNC110 -- what is asked has no event
            await asyncio.sleep(0.05)
    return found


async def test_while_a_file_grows_the_metric_and_the_api_follow(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "BRIDGE_LOOK_S", 0.05)
    monkeypatch.setattr(current, "REST_FACTOR", 0)
    sold_at = clock.now() - timedelta(days=4)
    day, period = (sold_at - START) / timedelta(days=1), f"{sold_at:%Y-%m}"
    query = {"period": period, "flow": "sales"}
    application = Application(
        read_configuration(_write(tmp_path)), DatabaseStore(database), clock.now
    )
    async with serving(application) as client:
        await answer(client, "/v1/traces?key=1001", 200)
        append(tmp_path / "sales.jsonl", [sale("7001", day)])

        found = await until(lambda: residual(client, period), lambda shown: shown.get("count") == 1)
        assert found == {"count": 1, "minor_units": 1250}
        shown = (await client.get("/v1/bridge", params=query)).json()
        (row,) = shown["rows"]
        assert (row["unexplained_items"], row["unexplained_minor"]) == (1, 1250)
        assert {name: row[name] for name in HOP} == HOP
        cell = {**query, "cell": "banked/unexplained"}
        items = (await client.get("/v1/bridge/items", params=cell)).json()
        assert [item["number"] for item in items["items"]] == ["7001"]
        assert [items[at] for at in ("as_of", "as_known")] == [shown["as_of"], shown["as_known"]]

        append(tmp_path / "bookings.jsonl", [booking("7001", day + 1)])
        found = await until(lambda: residual(client, period), lambda shown: shown.get("count") == 0)
        assert found == {"count": 0, "minor_units": 0}
        later = (await client.get("/v1/bridge", params=query)).json()
        assert later["as_known"] > shown["as_known"]
        assert later["rows"][0]["cells"]["to"] == {"count": 1, "amount_minor": 1250}
        then = {**query, "as_of": shown["as_of"], "as_known": shown["as_known"]}
        assert (await client.get("/v1/bridge", params=then)).json() == shown, "as it was said then"
