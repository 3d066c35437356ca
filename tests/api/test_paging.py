from typing import Any

import pytest

from tests.api.till import KEY, NOW, SECOND_KEY, Served


async def run(api: Served, control: str = "stuck_sales") -> int:
    ran = await api.application.engine().run(control, NOW, None, trigger="command", actor="test")
    return ran.run


async def walk(api: Served, path: str, limit: int, **query: str) -> list[Any]:
    items: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = await api.get(path, limit=limit, **query, **cursor)
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next"] is None:
            return items
        assert len(page["items"]) == limit
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_a_walk_meets_every_run_once_while_new_ones_arrive(api: Served, limit: int) -> None:
    numbers = [await run(api) for _ in range(7)]
    path, met, cursor = "/v1/controls/stuck_sales/runs", [], None
    while True:
        page = await api.get(path, limit=limit, **({"cursor": cursor} if cursor else {}))
        met += [item["run"] for item in page["items"]]
        await run(api)
        cursor = page["next"]
        if cursor is None:
            break
    assert met == numbers[::-1]


async def test_a_walk_of_the_exceptions_shows_one_state_while_new_runs_arrive(api: Served) -> None:
    first = await run(api, "stuck_again")
    page = await api.get("/v1/exceptions", limit=1)
    met = page["items"]
    while page["next"] is not None:
        await run(api, "stuck_again")
        page = await api.get("/v1/exceptions", limit=1, cursor=page["next"])
        met += page["items"]
    assert [e["subject"] for e in met] == ["1002", "2003", "2004"]
    assert {e["run"] for e in met} == {first}


async def test_every_listing_is_the_same_in_pages_of_any_size(api: Served) -> None:
    number = await run(api, "stuck_again")
    await run(api)
    listings = [
        "/v1/controls",
        "/v1/coverage",
        "/v1/exceptions",
        f"/v1/controls/stuck_again/runs/{number}/exceptions",
    ]
    for path in listings:
        whole = (await api.get(path))["items"]
        assert len(whole) > 1
        assert await walk(api, path, 1) == whole
        assert await walk(api, path, 2) == whole


async def test_a_cursor_answers_its_own_question_for_its_own_key_only(api: Served) -> None:
    for _ in range(3):
        await run(api)
        await run(api, "stuck_again")
    cursor = (await api.get("/v1/controls/stuck_sales/runs", limit=1))["next"]
    path = "/v1/controls/stuck_sales/runs"
    other = "/v1/controls/stuck_again/runs"
    middle = len(cursor) // 2
    flipped = cursor[:middle] + ("A" if cursor[middle] != "A" else "B") + cursor[middle + 1 :]
    asked = [
        (path, cursor, KEY, 200),
        (path, cursor, SECOND_KEY, 400),
        (other, cursor, KEY, 400),
        (path, flipped, KEY, 400),
        (path, cursor[:-4], KEY, 400),
    ]
    for where, given, key, status in asked:
        found = await api.client.get(
            where, params={"cursor": given}, headers={"Authorization": f"Bearer {key}"}
        )
        assert found.status_code == status, (where, given, key)
    listed = (await api.get("/v1/exceptions", limit=1, control="stuck_again"))["next"]
    found = await api.client.get("/v1/exceptions", params={"cursor": listed})
    assert found.status_code == 400


async def test_a_cursor_can_stand_in_a_url_as_it_is(api: Served) -> None:
    for _ in range(3):
        await run(api)
    cursor = (await api.get("/v1/controls/stuck_sales/runs", limit=1))["next"]
    found = await api.client.get(f"/v1/controls/stuck_sales/runs?limit=1&cursor={cursor}")
    assert found.status_code == 200
