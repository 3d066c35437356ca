"""`tieout trace`: whatever name somebody has leads to the story, or to what it may have meant."""

import pytest

from tests.api.cli.desk import Desk


@pytest.fixture
def told(desk: Desk) -> Desk:
    """Give a desk with four orders, one of them with a name of its own kind."""
    desk.append(id="e9", order="NIGHT-77", what="ordered")
    assert desk("sync").code == 0
    return desk


def number(desk: Desk, key: str) -> str:
    transactions = desk.shown(f"trace '{key}'", "trace")["transactions"]
    assert len(transactions) == 1
    return str(transactions[0]["documents"][0]["number"])


@pytest.mark.parametrize("key", ["SO-1002", "so-1002", " SO-1002 ", "1002", "o-1002"])
def test_a_number_leads_to_its_story_and_so_does_a_unique_fragment(told: Desk, key: str) -> None:
    assert number(told, key) == "SO-1002"


def test_the_id_of_a_document_leads_to_its_story(told: Desk) -> None:
    handle = told.shown("trace NIGHT-77", "trace")["transactions"][0]["documents"][0]["id"]
    assert number(told, handle) == "NIGHT-77"
    listed = told.shown("transactions", "transactions")["transactions"]
    row = next(row for row in listed if row["number"] == "NIGHT-77")
    assert number(told, row["document_id"]) == "NIGHT-77"


def test_a_fragment_of_several_names_lists_them(told: Desk) -> None:
    document = told.shown("trace SO-10", "trace", code=1)
    assert document["transactions"] == []
    assert {c["value"] for c in document["candidates"]} == {"SO-1001", "SO-1002", "SO-1003"}
    answer = told("trace SO-10")
    assert answer.code == 1
    assert "'SO-10' is not one name. Did you mean one of these?" in answer.out
    for candidate in document["candidates"]:
        assert candidate["value"] in answer.out
        assert number(told, candidate["value"]) == candidate["value"]


@pytest.mark.parametrize(
    "key", ["NOBODY", "%", "_", "'", "[bold]", "ffffffffffffffffffffffffffffffff"]
)
def test_a_name_that_nobody_has_is_said_honestly(told: Desk, key: str) -> None:
    answer = told(f'trace "{key}"')
    assert answer.code == 1
    assert answer.out == f"Nothing is called '{key}', and nothing contains it.\n"
    assert told.shown(f'trace "{key}"', "trace", code=1)["candidates"] == []


@pytest.mark.parametrize("key", ["", "  "])
def test_no_name_is_not_a_name(told: Desk, key: str) -> None:
    answer = told(f"trace '{key}'")
    assert answer.code in (1, 2)
    assert answer.out + answer.err


def test_a_story_is_told_as_of_a_time(told: Desk) -> None:
    at = "trace SO-1001 --as-of 2026-01-05T12:00:00+01:00"
    document = told.shown(at, "trace")["transactions"][0]
    assert [s["status"] for s in document["steps"]] == ["DONE", "PENDING", "PENDING"]
    assert [e["type"] for e in document["events"]] == ["sales_order.ordered"]
