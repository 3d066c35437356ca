"""The sandbox behaves as SAP documents its API; what it decides by itself is marked as such."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from connectors.sap_cloud_integration.sandbox import CLIENT_ID, CLIENT_SECRET, Message, Phase
from tests.connectors.cpi import DAY, HOUR, MINUTE, NOON, House, ended, house, unverified

FILTER = "LogEnd ge datetime'2026-03-01T11:00:00' and LogEnd lt datetime'2026-03-01T11:05:00'"


@pytest.fixture
def h() -> Iterator[House]:
    messages = [
        ended(f"M{i:02}", NOON - HOUR + 15 * timedelta(seconds=i), headers=[("po_number", "12345")])
        for i in range(25)
    ]
    with house(*messages, page_rows=10) as made:
        yield made


def token(h: House) -> str:
    answer = httpx.post(
        h.sandbox.token_url,
        data={"grant_type": "client_credentials"},
        auth=(CLIENT_ID, CLIENT_SECRET),
    )
    granted: str = answer.json()["access_token"]
    return granted


def ask(h: House, resource: str = "MessageProcessingLogs", **query: str | int) -> httpx.Response:
    written = "&".join(f"${name}={quote(str(value))}" for name, value in query.items())
    url = f"{h.sandbox.base_url}/{resource}?{written}"
    return httpx.get(url, headers={"Authorization": f"Bearer {token(h)}"})


def guids(answer: httpx.Response) -> list[str]:
    return [row["MessageGuid"] for row in answer.json()["d"]["results"]]


def test_a_window_is_filtered_ordered_counted_and_paged(h: House) -> None:
    answer = ask(h, filter=FILTER, orderby="LogEnd asc", inlinecount="allpages")
    assert guids(answer) == [f"M{i:02}" for i in range(10)]
    assert answer.json()["d"]["__count"] == "20"  # 11:00:00 to 11:04:45; a string
    following = answer.json()["d"]["__next"]
    assert "$skiptoken=" in following
    headers = {"Authorization": f"Bearer {token(h)}"}
    page = httpx.get(following, headers=headers)
    assert guids(page) == [f"M{i:02}" for i in range(10, 20)]
    assert "__next" not in page.json()["d"]


def test_a_row_has_the_vendor_s_shape(h: House) -> None:
    (row,) = ask(h, filter="MessageGuid eq 'M00'").json()["d"]["results"]
    assert row["LogEnd"] == "/Date(1772362800000)/"  # 2026-03-01T11:00:00Z
    assert row["__metadata"]["type"] == "com.sap.hci.api.MessageProcessingLog"
    assert "__deferred" in row["CustomHeaderProperties"]
    (row,) = ask(h, filter="MessageGuid eq 'M00'", expand="CustomHeaderProperties").json()["d"][
        "results"
    ]
    (header,) = row["CustomHeaderProperties"]["results"]
    assert (header["Name"], header["Value"]) == ("po_number", "12345")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"filter": "LogEnd ge datetime'2026-03-01T11:00:00Z'"}, "Invalid datetime literal"),
        ({"filter": "LogEnd ge datetime'2026-03-01T11:00:00+01:00'"}, "Invalid datetime literal"),
        ({"filter": "Nonsense eq 'a'"}, "Invalid filter expression"),
        ({"orderby": "Nonsense asc"}, "Invalid order by expression"),
        ({"skiptoken": "10-9"}, "Invalid value for $skiptoken"),
    ],
)
def test_what_it_does_not_know_is_refused_in_the_vendor_s_words(
    h: House, query: dict[str, str], message: str
) -> None:
    answer = ask(h, "MessageProcessingLogs", **query)
    assert answer.status_code == 400
    assert answer.json() == {
        "error": {"code": "Bad Request", "message": {"lang": "en", "value": message}}
    }


@unverified("combined_filters")
def test_or_is_refused(h: House) -> None:
    assert ask(h, filter="Status eq 'RETRY' or Status eq 'FAILED'").status_code == 400


@unverified("plus_is_no_blank")
def test_a_plus_is_no_blank(h: House) -> None:
    url = f"{h.sandbox.base_url}/MessageProcessingLogs?$filter=Status+eq+'FAILED'"
    headers = {"Authorization": f"Bearer {token(h)}"}
    assert httpx.get(url, headers=headers).status_code == 400


def test_top_and_skip_choose_rows(h: House) -> None:
    answer = ask(h, filter=FILTER, orderby="LogEnd desc", top=3, skip=1)
    assert guids(answer) == ["M18", "M17", "M16"]


def test_a_message_is_read_by_its_key_or_not_found(h: House) -> None:
    found: Any = ask(h, "MessageProcessingLogs('M07')").json()["d"]
    assert found["MessageGuid"] == "M07"
    assert ask(h, "MessageProcessingLogs('M99')").status_code == 404


def test_nothing_is_told_without_a_valid_token(h: House) -> None:
    url = f"{h.sandbox.base_url}/MessageProcessingLogs"
    assert httpx.get(url).status_code == 401
    headers = {"Authorization": f"Bearer {token(h)}"}
    assert httpx.get(url, headers=headers).status_code == 200
    h.time.pass_by(2 * HOUR)
    assert httpx.get(url, headers=headers).status_code == 401
    form = {"grant_type": "client_credentials"}
    assert httpx.post(h.sandbox.token_url, data=form).status_code == 401


@unverified("retention_by_start")
def test_a_message_is_dropped_after_thirty_days(h: House) -> None:
    h.time.pass_by(30 * DAY - HOUR - MINUTE)
    assert len(h.truth()) == 25
    h.time.pass_by(3 * MINUTE)
    assert 0 < len(h.truth()) < 25


@unverified("processing_has_no_end")
@unverified("empty_ids")
def test_a_message_that_runs_has_no_end_and_its_ids_may_be_empty(h: House) -> None:
    h.tenant.add(Message("RUNS", NOON - HOUR, [Phase(NOON - HOUR, "PROCESSING")]))
    (row,) = ask(h, filter="Status eq 'PROCESSING'").json()["d"]["results"]
    assert (row["LogEnd"], row["ApplicationMessageId"]) == (None, None)


@unverified("throttling")
@unverified("limit_by_clock")
def test_over_the_limit_it_asks_for_patience(h: House) -> None:
    h.tenant.requests_per_s = 2
    answers = [ask(h) for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429]
    assert answers[2].headers["Retry-After"] == "1"
