"""The bridge over HTTP: what `tieout bridge` shows, from kept runs alone."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from control_checks.bridge.bridge import Bridge, prepared
from control_checks.bridge.current import keep_current
from tests.api.test_errors import problem
from tests.api.test_paging import walk
from tests.api.till import NOW, Served, append, booking, open_application, served, write
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

MONTH = "2026-01"
UNBANKED = ["1002", "2003", "2004"]


async def run(api: Served, as_of: datetime = NOW) -> Bridge:
    """Run the controls of the bridge, as the command does."""
    return await prepared(api.application.engine(), as_of, None, "test")


async def read(api: Served) -> None:
    async with api.application.store.connect() as conn:
        with api.application.collector(conn) as collector:
            for source in api.application.sources():
                await collector.sync(source)


def cells(document: dict[str, Any]) -> dict[str, tuple[int, int]]:
    (row,) = document["rows"]
    assert (row["flow"], row["from"], row["to"]) == ("sales", "sold", "banked")
    return {name: (cell["count"], cell["amount_minor"]) for name, cell in row["cells"].items()}


async def test_the_bridge_is_the_document_of_the_command(api: Served) -> None:
    ran = await run(api)
    found = await api.get("/v1/bridge", period=MONTH)
    assert cells(found) == {
        "from": (4, 5000),
        "to": (1, 1250),
        "exceptions:stuck_again": (3, 3750),
        "unexplained": (0, 0),
    }
    assert found == json.loads(msgspec.json.encode(await ran.document(MONTH)))
    as_of, as_known = ran.as_of.isoformat(), ran.as_known.isoformat()
    for more in ({"as_of": as_of}, {"as_known": as_known}, {"flow": "sales"}):
        assert await api.get("/v1/bridge", period=MONTH, **more) == found
    assert (await api.get("/v1/bridge", period="2025-12"))["rows"] == []


async def test_asking_runs_no_control_and_says_which_command_would(api: Served) -> None:
    for query in ({}, {"cell": "banked/unexplained"}):
        path = "/v1/bridge/items" if query else "/v1/bridge"
        found = await api.client.get(path, params={"period": MONTH, **query})
        said = problem(found, 409, "urn:tieout:problem:no-run")
        assert said["controls"] == ["stuck_sales", "stuck_again"]
        assert "`tieout bridge --period 2026-01`" in said["detail"]
    ran = await run(api)
    earlier = (NOW - timedelta(days=1)).isoformat()
    found = await api.client.get("/v1/bridge", params={"period": MONTH, "as_of": earlier})
    assert f"--as-of {earlier}" in problem(found, 409, "urn:tieout:problem:no-run")["detail"]
    kept = await api.get("/v1/controls/stuck_sales/runs")
    assert [shown["run"] for shown in kept["items"]] == [ran.runs[0].run]


async def test_a_control_that_was_changed_since_has_no_run(api: Served, tmp_path: Path) -> None:
    await run(api)
    path = tmp_path / "tieout.yaml"
    path.write_text(path.read_text().replace("severity: medium", "severity: high"))
    changed = await open_application(api.application.store, path)
    async with served(changed) as again:
        found = await again.client.get("/v1/bridge", params={"period": MONTH})
        assert problem(found, 409, "urn:tieout:problem:no-run")["controls"] == ["stuck_sales"]


async def test_what_is_read_later_shows_once_the_controls_have_run_on_it(
    api: Served, tmp_path: Path
) -> None:
    before = await run(api)
    shown = await api.get("/v1/bridge", period=MONTH)
    append(tmp_path / "bookings.jsonl", [booking("1002", 2)])
    await read(api)
    assert await api.get("/v1/bridge", period=MONTH) == shown, "as known when the controls ran"
    now = {"as_known": (NOW + timedelta(seconds=1)).isoformat()}
    found = await api.client.get("/v1/bridge", params={"period": MONTH, **now})
    assert problem(found, 409, "urn:tieout:problem:no-run")
    await run(api)
    later = await api.get("/v1/bridge", period=MONTH)
    assert cells(later)["to"] == (2, 2500)
    assert cells(later)["exceptions:stuck_again"] == (2, 2500)
    then = {"as_known": before.as_known.isoformat()}
    assert await api.get("/v1/bridge", period=MONTH, **then) == shown


async def test_without_a_time_the_bridge_is_the_one_that_is_kept_and_says_as_of_when(
    api: Served, tmp_path: Path
) -> None:
    engine = api.application.engine()
    kept = {of.period: of for of in await keep_current(engine)}[MONTH]
    ran = await run(api)  # at a later T
    assert ran.as_of > kept.as_of
    shown = await api.get("/v1/bridge", period=MONTH)
    assert shown == json.loads(msgspec.json.encode(kept.document))
    found = await api.get("/v1/bridge/items", period=MONTH, cell="banked/from")
    assert [found["as_of"], found["as_known"]] == [shown["as_of"], shown["as_known"]]
    at_t = await api.get("/v1/bridge", period=MONTH, as_of=ran.as_of.isoformat())
    assert datetime.fromisoformat(at_t["as_of"]) == ran.as_of
    control = engine.checks["stuck_transaction"]
    engine.checks = {**engine.checks, "stuck_transaction": control._replace(query="SELECT x")}
    append(tmp_path / "bookings.jsonl", [booking("1002", 2)])
    await read(api)
    await keep_current(engine)
    for query in ({}, {"cell": "banked/from"}):
        path = "/v1/bridge/items" if query else "/v1/bridge"
        answered = await api.client.get(path, params={"period": MONTH, **query})
        said = problem(answered, 409, "urn:tieout:problem:not-computed")
        assert "stuck_sales did not run: " in said["detail"]
    then = {"as_of": shown["as_of"], "as_known": shown["as_known"]}
    assert await api.get("/v1/bridge", period=MONTH, **then) == shown


async def test_the_items_of_a_cell_lead_to_their_transactions(api: Served) -> None:
    ran = await run(api)
    query = {"period": MONTH, "cell": "banked/exceptions:stuck_again"}
    found = await api.get("/v1/bridge/items", **query, entity="DE10", currency="EUR")
    assert [item["number"] for item in found["items"]] == UNBANKED
    assert [(item["nth"], item["of"]) for item in found["items"]] == [(1, 3), (2, 3), (3, 3)]
    assert datetime.fromisoformat(found["as_known"]) == ran.as_known
    for item in found["items"]:
        assert (item["amount_minor"], item["reason"]) == (1250, "WAITING_FOR_SYSTEM(bank)")
        story = await api.get(f"/v1/transactions/{item['document']}")
        assert item["number"] in {d["number"] for d in story["documents"]}
    for narrowed in ({"entity": "JP10"}, {"currency": "USD"}):
        assert (await api.get("/v1/bridge/items", **query, **narrowed))["items"] == []


async def test_a_walk_over_the_items_shows_the_time_of_its_first_page(api: Served) -> None:
    await run(api)
    query = {"period": MONTH, "cell": "banked/from"}
    first = await api.get("/v1/bridge/items", limit=1, **query)
    await run(api, NOW + timedelta(hours=1))
    for size in (1, 2, 4):
        listed = await walk(api, "/v1/bridge/items", size, **query)
        assert [item["number"] for item in listed] == ["1001", *UNBANKED]
    met, page = first["items"], first
    while page["next"]:
        page = await api.get("/v1/bridge/items", limit=1, cursor=page["next"], **query)
        assert (page["as_of"], page["as_known"]) == (first["as_of"], first["as_known"])
        met += page["items"]
    assert [item["number"] for item in met] == ["1001", *UNBANKED]
    other = {**query, "cell": "banked/to", "cursor": first["next"]}
    found = await api.client.get("/v1/bridge/items", params=other)
    assert problem(found, 400, "urn:tieout:problem:wrong-cursor")


async def test_a_flow_or_step_that_is_not_there_is_404_with_those_that_are(api: Served) -> None:
    await run(api)
    found = await api.client.get("/v1/bridge", params={"period": MONTH, "flow": "sale"})
    assert problem(found, 404, "urn:tieout:problem:not-found")["flows"] == ["sales"]
    query = {"period": MONTH, "cell": "sold/from"}
    found = await api.client.get("/v1/bridge/items", params=query)
    assert problem(found, 404, "urn:tieout:problem:not-found")["steps"] == ["banked"]


async def test_of_several_flows_the_items_are_those_of_the_one_that_is_named(
    database: Database, tmp_path: Path
) -> None:
    path = write(tmp_path)
    text = path.read_text()
    flow = text.partition("flows:\n")[2].partition("controls:")[0]
    path.write_text(
        text.replace("controls:", flow.replace("flow: sales", "flow: sales_again") + "controls:")
    )
    application = await open_application(DatabaseStore(database), path)
    async with served(application) as api:
        await run(api)
        query = {"period": MONTH, "cell": "banked/from"}
        found = await api.client.get("/v1/bridge/items", params=query)
        (error,) = problem(found, 422, "urn:tieout:problem:wrong-parameter")["errors"]
        assert error["what"] == "name one of sales, sales_again"
        listed = await walk(api, "/v1/bridge/items", 1, flow="sales_again", **query)
        assert {(item["flow"], item["of"]) for item in listed} == {("sales_again", 4)}
        whole = await api.get("/v1/bridge", period=MONTH)
        assert [row["flow"] for row in whole["rows"]] == ["sales", "sales_again"]
        one = await api.get("/v1/bridge", period=MONTH, flow="sales_again")
        assert [row["flow"] for row in one["rows"]] == ["sales_again"]
        assert one["runs"] == {}
        await keep_current(application.engine())
        for query in ({}, {"flow": "sales"}):
            kept = await api.get("/v1/bridge", period=MONTH, **query)
            times = {"as_of": kept["as_of"], "as_known": kept["as_known"]}
            assert kept == await api.get("/v1/bridge", period=MONTH, **query, **times)
