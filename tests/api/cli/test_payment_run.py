"""A payment run pays a thousand claims in one sum: it links them, joins none, and each has its own share."""

import json

import asyncpg
import pytest

from tests.api.cli.desk import Desk
from tests.support.postgres import Database

CLAIMS = 1000
AT = "2026-01-0{}T10:00:00+01:00"
CONFIGURATION = """\
tieout: 1
sources:
  erp:
    connector: files
    system: erp
    streams:
      items:
        read: {path: in/items.jsonl, format: jsonl}
        mapping:
          key: "{claim}/{what}"
          document: {type: claim, number: claim}
          occurred_at: {value: at, timezone: in value}
          amount: {value: amount, currency: =EUR}
          references:
            - {kind: payment_run, role: group, value: run}
          events:
            - {rule: item, type: {value: what, unknown: quarantine, values: {approved: claim.approved}}}
  bank:
    connector: files
    system: bank
    streams:
      entries:
        read: {path: in/entries.jsonl, format: jsonl}
        mapping:
          key: "{run}/{what}"
          document: {type: payment_run, number: run}
          occurred_at: {value: at, timezone: in value}
          amount: {value: amount, currency: =EUR}
          events:
            - {rule: entry, type: {value: what, unknown: quarantine,
               values: {booked: payment_run.booked, reversed: payment_run.reversed}}}
flows:
  - flow: claims
    title: Claims
    anchor: claim
    steps:
      - {name: approved, title: Approved, system: erp, done_by: [claim.approved]}
      - {name: paid, title: Paid, system: bank, after: approved, via: [payment_run],
         done_by: [payment_run.booked], undone_by: [payment_run.reversed]}
"""


@pytest.fixture
def run(desk: Desk, database: Database) -> Desk:
    """Give a desk with a thousand claims of EUR 10.00 to 10.09, one more that is in no run, and the run's booking."""
    items = [
        {"claim": f"C-{n:04}", "what": "approved", "amount": f"10.0{n % 10}", "at": AT.format(5)}
        for n in range(CLAIMS)
    ]
    for item in items:
        item["run"] = "R-7"
    items.append({"claim": "C-9999", "what": "approved", "amount": "5.00", "at": AT.format(5)})
    write(desk, "items", items)
    booked = {"run": "R-7", "what": "booked", "amount": "10045.00", "at": AT.format(8)}
    write(desk, "entries", [booked])
    desk.config.write_text(CONFIGURATION)
    desk.over(database.server.dsn("postgres", database.name))
    assert desk("sync").code == 0
    return desk


def write(desk: Desk, name: str, records: list[dict[str, str]]) -> None:
    (desk.folder / "in").mkdir(exist_ok=True)
    text = "".join(json.dumps(record) + "\n" for record in records)
    (desk.folder / "in" / f"{name}.jsonl").write_text(text)


async def test_a_thousand_claims_in_one_run_stay_a_thousand_transactions(
    run: Desk, database: Database
) -> None:
    conn = await asyncpg.connect(database.dsn("postgres"))
    try:
        assert await conn.fetchval("SELECT count(DISTINCT component) FROM tieout.document") == (
            CLAIMS + 2  # the claim in no run, and the run itself
        )
        steps = await conn.fetch(
            "SELECT status, count(*) AS n, sum(amount_minor)::bigint AS minor"
            " FROM read.steps('claims', 'infinity', 'infinity') WHERE step = 'paid' GROUP BY status"
        )
    finally:
        await conn.close()
    assert {tuple(row) for row in steps} == {("DONE", CLAIMS, 1_004_500), ("PENDING", 1, 500)}


def test_a_claim_is_told_with_what_happened_to_its_run(run: Desk) -> None:
    (claim,) = run.shown("trace C-0003", "trace")["transactions"]
    (paid,) = [step for step in claim["steps"] if step["name"] == "paid"]
    assert (claim["status"], paid["status"]) == ("completed", "DONE")
    assert (paid["amount_minor"], paid["currency"]) == (1003, "EUR")
    assert [document["number"] for document in claim["documents"]] == ["C-0003"]
    own, lent = claim["events"]
    assert (own["type"], own["via"]) == ("claim.approved", None)
    assert (lent["type"], lent["via"]) == ("payment_run.booked", "payment_run R-7")
    assert lent["amount_minor"] == 1_004_500  # the event is told as the bank gave it
    assert "through payment_run R-7" in run("trace C-0003").out


def test_a_claim_in_no_run_and_one_before_the_booking_are_not_paid(run: Desk) -> None:
    for line in ("trace C-9999", f"trace C-0003 --as-of {AT.format(7)}"):
        (claim,) = run.shown(line, "trace")["transactions"]
        assert [step["status"] for step in claim["steps"]] == ["DONE", "PENDING"]
        assert [event["via"] for event in claim["events"]] == [None]


def test_the_number_of_the_run_leads_to_its_booking_and_to_its_claims(run: Desk) -> None:
    story = run.shown("trace R-7", "trace")
    assert [d["number"] for t in story["transactions"] for d in t["documents"]] == ["R-7"]
    assert [c["value"] for c in story["candidates"]] == [f"C-{n:04}" for n in range(20)]
    assert story["has_more"]
    shown = run("trace R-7").out
    assert "These name it as a group, each in a transaction of its own:" in shown
    assert "C-0019  (claim)" in shown
    assert "'R-7' leads to more; these are the first." in shown


def test_a_booking_that_is_reversed_leaves_every_claim_unpaid(run: Desk) -> None:
    with (run.folder / "in/entries.jsonl").open("a") as file:
        back = {"run": "R-7", "what": "reversed", "amount": "-10045.00", "at": AT.format(9)}
        file.write(json.dumps(back) + "\n")
    assert run("sync").code == 0
    (claim,) = run.shown("trace C-0003", "trace")["transactions"]
    assert [step["status"] for step in claim["steps"]] == ["DONE", "PENDING"]
    assert [event["type"] for event in claim["events"]] == [
        "claim.approved",
        "payment_run.booked",
        "payment_run.reversed",
    ]
