"""`tieout readiness`: which records can be followed, what the others cost, and who must mend it."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.cli.desk import Desk, same_signals
from tests.support.postgres import Database, temporary_base

# ---------------------------------------------------------------------------------- the demo's company


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What the command finds of the demo's company, and what is true of it."""
    with temporary_base() as base, same_signals():
        assert Desk(base, base / "demo")("demo --no-serve --seed 5").code == 0
        company = base / "demo/company-5"
        found = Desk(company, base / "demo/store-5").shown("readiness", "readiness")
        yield found, json.loads((company / "truth.json").read_text())


def interface(found: dict[str, Any], stream: str) -> dict[str, Any]:
    (row,) = (r for r in found["interfaces"] if f"{r['source']}/{r['stream']}" == stream)
    return dict(row)


@pytest.mark.long
def test_it_finds_the_messages_that_name_no_report_and_the_header_to_set(
    demo: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    found, truth = demo
    row = interface(found, "middleware/messages")
    assert {row["interface"]: row["missing"]} == truth["untold"]["messages"]
    assert row["records"] == truth["records"]["middleware/messages"]
    assert row["usable"] == row["records"] - row["missing"]
    assert row["lost"] == {"documents": row["missing"], "amounts": {}}  # a message states no amount
    assert row["keys"] == [
        {"kind": "expense_report", "field": "ApplicationMessageId", "field_length": None}
    ]
    assert "SAP_ApplicationID" in row["mends"][0]["sentence"]


@pytest.mark.long
def test_it_finds_the_default_project_that_hundreds_of_claims_name(
    demo: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    found, truth = demo
    named = [(d["kind"], d["value"], d["documents"]) for d in found["defaults"]]
    assert named == [("project", truth["untold"]["default_project"], truth["untold"]["claims"])]


@pytest.mark.long
def test_postings_that_name_no_claim_and_those_that_nobody_knows_are_told_apart_with_their_money(
    demo: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    found, truth = demo
    row = interface(found, "erp/documents")
    for cost, kind in (("lost", "no_source"), ("unmatched", "broken_link")):
        planted = [claim for claim in truth["claims"].values() if claim["kind"] == kind]
        amounts: Counter[str] = Counter()
        for claim in planted:
            amounts[claim["currency"]] += claim["payable_minor"]
        assert row[cost] == {"documents": len(planted), "amounts": dict(amounts)}, cost
    assert row["missing"] == row["lost"]["documents"]
    assert "BKTXT" in row["mends"][0]["sentence"]


@pytest.mark.long
def test_nothing_else_of_the_company_is_called_into_question(
    demo: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    found, truth = demo
    assert sum(r["records"] for r in found["interfaces"]) == sum(truth["events"].values())
    asked = {"middleware/messages", "erp/documents"}
    for row in found["interfaces"]:
        if f"{row['source']}/{row['stream']}" not in asked:
            assert row["lost"]["documents"] == row["unmatched"]["documents"] == 0, row
            assert row["mends"] == []
            assert row["share"] == (None if row["source"] == "hr" else 1)
    assert interface(found, "hr/workers")["not_expected"] == truth["transactions"]["workers"]
    fees = sum(interface(found, f"bank/{e}")["not_expected"] for e in ("de10", "jp10", "kw10"))
    apart = ("bank_entries", "payment_runs", "transfers")
    assert fees == sum(truth["transactions"][what] for what in apart)


# ---------------------------------------------------------------------------------- a small world

CONFIGURATION = """
tieout: 1
limits: {max_documents: 2}
kinds:
  order: {max_documents: 3}
  ticket: {defaults: [NONE]}
  voucher: {normalise: [strip_zeros]}
  clerk: {}
sources:
  shop:
    connector: files
    system: shop
    streams:
      orders:
        read: {path: orders.jsonl, format: jsonl}
        mapping:
          key: id
          document: {type: order, number: id}
          occurred_at: {value: at, timezone: in value}
          events: [{rule: placed, type: order.placed}]
      vouchers:
        read: {path: vouchers.jsonl, format: jsonl}
        mapping:
          key: id
          document: {type: voucher, number: id}
          occurred_at: {value: at, timezone: in value}
          events: [{rule: made, type: voucher.made}]
  bus:
    connector: files
    system: bus
    streams:
      messages:
        read: {path: messages.jsonl, format: jsonl}
        mapping:
          key: id
          nulls: [UNKNOWN]
          document: {type: message, number: id}
          occurred_at: {value: at, timezone: in value}
          amount: {value: amount, currency: currency}
          references:
            - {kind: order, role: identity, value: order}
            - {kind: ticket, role: identity, value: ticket}
            - {kind: creditor_reference, role: identity, value: reference}
            - {kind: order, role: identity, value: text, field_length: 4}
            - {kind: clerk, role: context, value: clerk}
          attributes: {way: way.IntegrationFlowName}
          events: [{rule: sent, type: message.sent}]
flows:
  - flow: orders
    title: Orders
    anchor: order
    steps:
      - {name: placed, system: shop, done_by: [order.placed]}
      - {name: sent, system: bus, after: placed, done_by: [message.sent]}
"""
A, B, C = ({"IntegrationFlowName": name} for name in "ABC")
MESSAGES: list[dict[str, Any]] = [
    # joins; names an order that nobody knows; names nothing; a word for nothing
    {"way": A, "order": "O-1", "amount": "1"},
    {"way": A, "order": "O-7", "amount": "2"},
    {"way": A, "amount": "4"},
    {"way": A, "order": "UNKNOWN", "amount": "8"},
    # a default of its kind; wrong check digits; the field is full: O-20, or O-200; joins, though not by those
    {"way": B, "ticket": "NONE", "amount": "16", "currency": "JPY"},
    {"way": B, "reference": "RF18 5390 0754 7043", "amount": "32"},
    {"way": B, "text": "O-20", "amount": "512"},
    {"way": B, "text": "O-20", "order": "O-2", "amount": "64"},
    # over the limit of its kind; and once with a key of its own beside
    *({"way": C, "order": "DUMMY", "amount": "-128"} for _ in range(4)),
    {"order": "DUMMY", "ticket": "T-1", "amount": "256"},
]


def expected(**said: Any) -> dict[str, Any]:  # noqa: ANN401 -- any JSON
    nothing = {"documents": 0, "amounts": {}}
    counts = dict.fromkeys(("missing", "default", "invalid", "cut", "not_expected"), 0)
    return {
        "source": "bus",
        "stream": "messages",
        **counts,
        "lost": nothing,
        "unmatched": nothing,
        **said,
    }


EXPECTED = [
    expected(
        interface=None,
        records=1,
        usable=1,
        share=1,
        unmatched={"documents": 1, "amounts": {"EUR": 25_600}},
    ),
    expected(
        interface="A",
        records=4,
        usable=2,
        missing=2,
        share=0.5,
        lost={"documents": 2, "amounts": {"EUR": 1_200}},
        unmatched={"documents": 1, "amounts": {"EUR": 200}},
    ),
    expected(
        interface="B",
        records=4,
        usable=1,
        default=1,
        invalid=1,
        cut=1,
        share=0.25,
        lost={"documents": 3, "amounts": {"EUR": 54_400, "JPY": 16}},
    ),
    expected(
        interface="C",
        records=4,
        usable=0,
        default=4,
        share=0,
        lost={"documents": 4, "amounts": {"EUR": -51_200}},
    ),
    expected(source="shop", stream="orders", interface=None, records=2, usable=2, share=1),
    expected(
        source="shop",
        stream="vouchers",
        interface=None,
        records=1,
        usable=0,
        not_expected=1,
        share=None,
    ),
]
"""Counted by hand from MESSAGES."""


@pytest.fixture
def world(tmp_path: Path, database: Database) -> Desk:
    (tmp_path / "tieout.yaml").write_text(CONFIGURATION)
    orders = [{"id": f"O-{n}"} for n in (1, 2)]
    messages = [
        {"id": f"M-{n}", "currency": "EUR", "clerk": "SYSTEM" if n < 11 else "Ada", **message}
        for n, message in enumerate(MESSAGES)
    ]
    for name, records in (
        ("orders", orders),
        ("messages", messages),
        ("vouchers", [{"id": "00002"}]),
    ):
        lines = [json.dumps({"at": "2026-01-05T08:00:00Z", **record}) for record in records]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    desk = Desk(tmp_path).over(database.server.dsn("postgres", database.name))
    assert desk("sync").code == 0
    return desk


def test_each_record_counts_once_for_what_it_carries_and_each_document_for_what_it_costs(
    world: Desk,
) -> None:
    found = world.shown("readiness", "readiness")
    shown = [
        {k: v for k, v in r.items() if k not in ("keys", "mends")} for r in found["interfaces"]
    ]
    assert shown == EXPECTED
    assert [(d["value"], d["role"], d["documents"], d["limit"]) for d in found["defaults"]] == [
        ("SYSTEM", "context", 11, 2),
        ("DUMMY", "identity", 5, 3),
    ]


@pytest.mark.parametrize(
    ("key", "number"),
    [("RF18 5390 0754 7043", "M-5"), ("rf18539007547043", "M-5"), ("None", "M-4"), ("0002", "2")],
)
def test_what_joins_nothing_is_found_as_it_is_printed_and_as_it_is_stored(
    world: Desk, key: str, number: str
) -> None:
    (told,) = world.shown(f"trace '{key}'", "trace")["transactions"]
    assert [d["number"] for d in told["documents"]] == [number]


def test_a_field_of_no_known_system_is_named_with_who_must_fill_it(world: Desk) -> None:
    found = world.shown("readiness", "readiness")
    sentences = {m["sentence"] for r in found["interfaces"] for m in r["mends"]}
    assert "Have bus fill 'ticket' with the number of the ticket." in sentences


def test_people_read_the_same(world: Desk) -> None:
    said = world("readiness")
    assert said.code == 0
    for words in ("bus/messages", "25.00 %", "EUR -512.00", "JPY 16", "order DUMMY (identity)"):
        assert words in said.out


def test_an_empty_store_says_nothing_and_nothing_wrong(desk: Desk) -> None:
    assert desk("migrate").code == 0
    assert desk.shown("readiness", "readiness") == {
        "interfaces": [],
        "defaults": [],
        "has_more": False,
    }
