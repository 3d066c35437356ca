"""A mapping that is mended after its records were accepted: what that changes is said, and then done."""

import pytest

from tests.api.cli.desk import Desk

PAID = "                  paid: sales_order.paid"


@pytest.fixture
def read(desk: Desk) -> Desk:
    desk.change("        complete:", "        keep_raw: true\n        complete:")
    assert desk("sync").code == 0
    return desk


def told(desk: Desk) -> list[str]:
    (transaction,) = desk.shown("trace SO-1001", "trace")["transactions"]
    return [e["type"] for e in transaction["events"]]


def test_a_diff_names_the_transactions_and_changes_nothing(read: Desk) -> None:
    before = read("dump").out
    assert read.shown("mapping diff shop/orders", "mapping-diff")["records"] == 0
    read.change("sales_order.paid", "sales_order.settled")
    found = read.shown("mapping diff shop/orders", "mapping-diff")
    assert (found["records"], found["refused"], found["not_kept"]) == (7, 0, 0)
    assert found["changed"] == found["replaced"] == found["transactions"] == 1
    change = found["changes"][0]
    (was,), (now,) = change["before"], change["after"]
    assert was["id"] == now["id"]
    assert {s["type"] for s in was["documents"][0]["steps"]} - {
        s["type"] for s in now["documents"][0]["steps"]
    } == {"sales_order.paid"}
    assert read("dump").out == before
    said = read("mapping diff shop/orders").out
    assert "7 records mapped again" in said
    assert "- sales_order SO-1001: sales_order.paid, 2026-01-19 10:02, EUR 120.00" in said
    assert "+ sales_order SO-1001: sales_order.settled, 2026-01-19 10:02, EUR 120.00" in said
    assert "sales_order.paid" in told(read)


def test_what_is_applied_counts_from_then_on_and_what_was_known_stays(read: Desk) -> None:
    known = read.shown("coverage", "coverage")["as_known"]
    then = read(f"dump --as-of 2026-03-01T00:00:00Z --as-known {known}").out
    read.change("sales_order.paid", "sales_order.settled")
    foreseen = read.shown("mapping diff shop/orders", "mapping-diff")
    assert read.shown("mapping apply shop/orders", "mapping-apply") == foreseen
    assert "sales_order.settled" in told(read)
    assert "sales_order.paid" not in told(read)
    assert read(f"dump --as-of 2026-03-01T00:00:00Z --as-known {known}").out == then
    assert read.shown("mapping apply shop/orders", "mapping-apply")["records"] == 0
    assert "0 transactions now otherwise." in read("mapping apply shop/orders").out


def test_a_record_that_the_mapping_refuses_is_quarantined_and_comes_back(read: Desk) -> None:
    before = read("dump").out
    read.change(PAID, "                  payed: sales_order.paid")
    found = read.shown("mapping apply shop/orders", "mapping-apply")
    assert found["refused"] == found["withdrawn"] == 1
    (group,) = read.shown("quarantine list", "quarantine-list")["groups"]
    assert (group["reason"], group["records"]) == ("UNKNOWN_VALUE", found["refused"])
    read.change("                  payed: sales_order.paid", PAID)
    assert read.shown("quarantine replay", "quarantine-replay")["replayed"] == found["refused"]
    assert read.shown("mapping apply shop/orders", "mapping-apply")["changed"] == 0
    assert read("dump").out == before


def test_what_was_not_kept_is_said_by_number(desk: Desk) -> None:
    assert desk("sync").code == 0
    desk.change("sales_order.paid", "sales_order.settled")
    assert desk.shown("mapping diff shop/orders", "mapping-diff")["not_kept"] == 7
    assert "7 accepted records not in the store" in desk("mapping diff shop/orders").out


def test_a_stream_that_is_not_there_is_said(desk: Desk) -> None:
    answer = desk("mapping diff shop/nothing")
    assert (answer.code, answer.out) == (2, "")
    assert "There is no stream 'shop/nothing'" in answer.err
