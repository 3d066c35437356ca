import logging
from typing import Any

import httpx
import pytest

from api.errors import MEDIA_TYPE
from collector.errors import NotConnected, Permanent, Transient
from collector.store import totals
from tests.api.till import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")


def problem(found: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Check what every problem has; return it."""
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == MEDIA_TYPE
    body: dict[str, Any] = found.json()
    assert body["type"] == kind
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == found.request.url.path
    assert "Traceback" not in found.text
    return body


WRONG = [
    ("/v1/traces", {}, "key", "field required"),
    ("/v1/traces", {"key": ""}, "key", "at least 1 character"),
    ("/v1/traces", {"key": "x" * 201}, "key", "at most 200 characters"),
    ("/v1/traces", {"key": "a\0b"}, "key", "pattern"),
    ("/v1/traces", {"key": "1001", "as_off": "now"}, "as_off", "no such parameter"),
    ("/v1/traces", {"key": "1001", "as_of": "2026-01-31T00:00:00"}, "as_of", "with its offset"),
    ("/v1/traces", {"key": "1001", "as_of": "2026-01-31"}, "as_of", "with its offset"),
    ("/v1/traces", {"key": "1001", "as_of": "1767225600"}, "as_of", "with its offset"),
    ("/v1/traces", {"key": "1001", "as_of": "yesterday"}, "as_of", "with its offset"),
    ("/v1/traces", {"key": "1001", "as_of": "0001-01-01T00:00:00+14:00"}, "as_of", "1970"),
    ("/v1/coverage", {"as_known": "9999-12-31T23:59:59-12:00"}, "as_known", "2200"),
    ("/v1/transactions/7", {}, "document", "uuid"),
    ("/v1/flows/sales", {"as_known": "2026-01-31"}, "as_known", "with its offset"),
    ("/v1/controls/stuck_sales/runs", {"limit": "0"}, "limit", "greater than or equal to 1"),
    ("/v1/controls/stuck_sales/runs", {"limit": "501"}, "limit", "less than or equal to 500"),
    ("/v1/controls/stuck_sales/runs", {"limit": "many"}, "limit", "valid integer"),
    ("/v1/controls/stuck_sales/runs/0", {}, "run", "greater than or equal to 1"),
    ("/v1/controls/stuck_sales/runs/9223372036854775808", {}, "run", "less than"),
    ("/v1/exceptions", {"control": "a\0b"}, "control", "pattern"),
    ("/v1/bridge", {}, "period", "field required"),
    ("/v1/bridge", {"period": "2026-13"}, "period", "pattern"),
    ("/v1/bridge", {"period": "2026-01", "entity": "DE10"}, "entity", "no such parameter"),
    ("/v1/bridge/items", {"period": "2026-01"}, "cell", "field required"),
    ("/v1/bridge/items", {"period": "2026-01", "cell": "banked"}, "cell", "pattern"),
    ("/v1/bridge/items", {"period": "2026-01", "cell": "banked/mislaid"}, "cell", "pattern"),
]


@pytest.mark.parametrize(("path", "query", "parameter", "what"), WRONG)
async def test_a_wrong_parameter_is_named(
    reading: Served, path: str, query: dict[str, str], parameter: str, what: str
) -> None:
    found = await reading.client.get(path, params=query)
    body = problem(found, 422, "urn:tieout:problem:wrong-parameter")
    (error,) = body["errors"]
    assert error["parameter"] == parameter
    assert what in error["what"].lower()


async def test_a_plus_sign_that_became_a_space_is_explained(reading: Served) -> None:
    found = await reading.client.get("/v1/traces?key=1001&as_of=2026-01-31T00:00:00+01:00")
    assert "%2B01:00" in problem(found, 422, "urn:tieout:problem:wrong-parameter")["detail"]


async def test_what_is_not_there_is_404(reading: Served) -> None:
    for path in ("/", "/v1", "/v1/traces/", "/redoc", "/v2/traces", "/v1/%00"):
        problem(await reading.client.get(path), 404, "urn:tieout:problem:not-found")


async def test_a_method_that_is_not_there_is_405_with_those_that_are(reading: Served) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        found = await reading.client.request(method, "/v1/controls", content=b"{")
        problem(found, 405, "about:blank")
        assert found.headers["allow"] == "GET"


@pytest.mark.parametrize("cursor", ["x", "AAAA", "%%%", "ÄÖ", "A" * 100, "e30"])
async def test_a_cursor_of_somebody_elses_is_400(reading: Served, cursor: str) -> None:
    for path in ("/v1/controls/stuck_sales/runs", "/v1/exceptions", "/v1/coverage", "/v1/controls"):
        found = await reading.client.get(path, params={"cursor": cursor})
        problem(found, 400, "urn:tieout:problem:wrong-cursor")


async def test_an_error_nobody_foresaw_is_500_and_only_the_log_says_why(
    reading: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("SELECT secret FROM somewhere")

    monkeypatch.setattr(totals, "totals", broken)
    with caplog.at_level(logging.ERROR):
        found = await reading.client.get("/v1/coverage")
    problem(found, 500, "urn:tieout:problem:failed")
    assert "secret" not in found.text
    assert "SELECT secret FROM somewhere" in caplog.text
    assert found.headers["cache-control"] == "no-store"


async def test_an_error_of_the_database_is_500_without_its_sql(
    reading: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "_TOTALS", "SELECT nonsense FROM nowhere WHERE $1 > now()")
    found = await reading.client.get("/v1/coverage")
    problem(found, 500, "urn:tieout:problem:failed")
    assert "no" + "where" not in found.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotConnected("connection to host db.internal was refused"), 503),
        (Transient("The store took too long to answer."), 503),
        (Permanent("no good", detail="db.internal"), 500),
    ],
)
async def test_errors_of_ours_say_whether_to_try_again(
    reading: Served, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def raising(*_: object) -> None:
        raise error

    monkeypatch.setattr(totals, "totals", raising)
    found = await reading.client.get("/v1/coverage")
    assert found.status_code == status
    assert "db.internal" not in found.text
    assert ("retry-after" in found.headers) is (status == 503)
