import httpx
import pytest

from api.auth import OPEN
from api.routes import ROUTERS
from tests.api.till import KEY, SECOND_KEY, Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = sorted(
    {getattr(route, "path", "") for router in ROUTERS for route in router.routes}
    | {"/docs", "/openapi.json", "/nowhere", "/healthz/", "//healthz", "/%68ealthz/.."}
)


async def ask(reading: Served, path: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=reading.url) as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize("path", PATHS)
async def test_only_health_answers_without_a_key(reading: Served, path: str) -> None:
    found = await ask(reading, path, {})
    if path in OPEN:
        assert found.status_code == 200
    else:
        assert found.status_code == 401
        assert found.headers["content-type"] == "application/problem+json"
        assert found.headers["www-authenticate"] == 'Bearer realm="tieout"'
        assert found.json()["type"] == "urn:tieout:problem:no-key"


@pytest.mark.parametrize("key", [KEY, SECOND_KEY])
@pytest.mark.parametrize(
    "form", ["Authorization: Bearer {}", "authorization: bEARER {}", "X-API-Key: {}"]
)
async def test_every_key_opens_in_either_header(reading: Served, key: str, form: str) -> None:
    name, _, value = form.format(key).partition(": ")
    assert (await ask(reading, "/v1/controls", {name: value})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"Authorization": "Bearer"},
        {"X-API-Key": KEY.upper()},
        {"X-API-Key": ""},
        {"Authorization": "Bearer wrong", "X-API-Key": KEY},
        {"Cookie": f"X-API-Key={KEY}"},
    ],
)
async def test_anything_else_does_not(reading: Served, headers: dict[str, str]) -> None:
    assert (await ask(reading, "/v1/controls", headers)).status_code == 401


async def test_a_key_in_the_query_is_none(reading: Served) -> None:
    assert (await ask(reading, f"/v1/controls?api_key={KEY}", {})).status_code == 401
