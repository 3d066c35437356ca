"""Kinds of master data by configuration alone: a list, a rate by day, a manager over time, a vendor's block."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from collector.store.embedded import Server
from tests.api.cli.desk import Desk, same_signals
from tests.support.postgres import Database, fresh_database

CONFIGURATION = """\
tieout: 1
sources:
  erp:
    connector: files
    system: erp
    streams:
      centres:
        read: {path: "csks_*.csv", format: csv, file_name: 'csks_(?P<as_of>\\d{8})\\.csv'}
        complete: &whole {covers: ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"], by: the test}
        mapping:
          snapshot: {value: as_of, format: "%Y%m%d", timezone: UTC}
          key: KOSTL
          document: {type: cost_center, number: KOSTL}
          status: STATUS
          attributes: {name: KTEXT}
          events: [{rule: listed, type: cost_center.listed}]
      rates:
        read: {path: tcurr.csv, format: csv}
        complete: *whole
        mapping:
          key: "{PAIR}/{GDATU}/{ENTERED}"
          document: {type: exchange_rate, number: PAIR}
          occurred_at: {value: ENTERED, timezone: in value}
          valid: {from: GDATU, format: "%Y%m%d", timezone: UTC}
          attributes: {rate: UKURS}
          events: [{rule: entered, type: exchange_rate.entered}]
      vendors:
        read: {path: lfa1.csv, format: csv}
        complete: *whole
        mapping:
          key: "{LIFNR}/{AT}"
          document: {type: vendor, number: LIFNR}
          occurred_at: {value: AT, timezone: in value}
          status: SPERR
          events: [{rule: changed, type: vendor.changed}]
  hr:
    connector: files
    system: hr
    streams:
      managers:
        read: {path: "managers_*.csv", format: csv, file_name: 'managers_(?P<as_of>\\d{8})\\.csv'}
        complete: *whole
        mapping:
          snapshot: {value: as_of, format: "%Y%m%d", timezone: UTC}
          key: "{PERNR}/{BEGDA}"
          document: {type: employee, number: PERNR}
          valid: {from: BEGDA, last_day: ENDDA, format: "%Y%m%d", timezone: UTC}
          attributes: {manager: MANAGER}
          events: [{rule: listed, type: employee.listed}]
  expense:
    connector: files
    system: expense
    streams:
      taken:
        read: {path: taken.csv, format: csv}
        complete: *whole
        mapping:
          key: "{kind}/{code}/{at}"
          nulls: [""]
          document: {type: cost_center, number: code}
          occurred_at: {value: at, timezone: in value}
          status: status
          attributes: {name: name, rate: name, manager: name}
          events:
            - {rule: centre, type: cost_center.taken, when: [{value: kind, is: [centre]}]}
            - rule: rate
              type: exchange_rate.taken
              document: {type: exchange_rate, number: code}
              when: [{value: kind, is: [rate]}]
            - rule: employee
              type: employee.taken
              document: {type: employee, number: code}
              when: [{value: kind, is: [employee]}]
            - rule: vendor
              type: vendor.taken
              document: {type: vendor, number: code}
              when: [{value: kind, is: [vendor]}]
flows:
  - flow: centres
    title: Cost centres
    anchor: cost_center
    steps:
      - {name: owned, system: erp, done_by: [cost_center.listed]}
      - {name: consumed, system: expense, done_by: [cost_center.taken]}
  - flow: rates
    title: Exchange rates
    anchor: exchange_rate
    steps:
      - {name: owned, system: erp, done_by: [exchange_rate.entered]}
      - {name: consumed, system: expense, done_by: [exchange_rate.taken]}
  - flow: managers
    title: Who approves for whom
    anchor: employee
    steps:
      - {name: owned, system: hr, done_by: [employee.listed]}
      - {name: consumed, system: expense, done_by: [employee.taken]}
  - flow: vendors
    title: Vendors
    anchor: vendor
    steps:
      - {name: owned, system: erp, done_by: [vendor.changed]}
      - {name: consumed, system: expense, done_by: [vendor.taken]}
controls:
  centres: {check: stale_dimension, flows: [centres], parameters: {attributes: [status, name]}}
  rates: {check: stale_dimension, flows: [rates], parameters: {attributes: [rate], decimals: [rate]}}
  managers: {check: stale_dimension, flows: [managers], parameters: {attributes: [manager], due: 4 hours}}
  vendors: {check: stale_dimension, flows: [vendors], parameters: {attributes: [status]}}
"""
FILES = {
    "csks_20260102.csv": "KOSTL;STATUS;KTEXT\n4711;open;Sales\n4712;open;South\n4713;open;West\n",
    "csks_20260103.csv": "KOSTL;STATUS;KTEXT\n4711;open;Sales\n4712;open;South\n4713;open;West\n",
    "csks_20260104.csv": "KOSTL;STATUS;KTEXT\n4712;open;South\n4713;open;West End\n",
    # the rate of the 6th was mended on the 9th, that of the 7th is written with other digits
    "tcurr.csv": "PAIR;GDATU;UKURS;ENTERED\n"
    "EUR/USD;20260106;1.1722;2026-01-06T06:00:00Z\n"
    "EUR/USD;20260107;1.16880;2026-01-07T06:00:00Z\n"
    "EUR/USD;20260106;1.1723;2026-01-09T06:00:00Z\n",
    "managers_20260102.csv": "PERNR;BEGDA;ENDDA;MANAGER\n1001;20250101;99991231;2001\n1002;20250101;20260131;2001\n"
    "1003;20250101;99991231;2001\n",
    # 1001 has had another manager since the 5th; 1002's rows leave the first week of February to nobody
    "managers_20260110.csv": "PERNR;BEGDA;ENDDA;MANAGER\n1001;20250101;20260104;2001\n1001;20260105;99991231;2002\n"
    "1002;20250101;20260131;2001\n1002;20260208;99991231;2003\n1003;20250201;99991231;2004\n",
    "lfa1.csv": "LIFNR;SPERR;AT\n0000100200;open;2026-01-02T08:00:00Z\n0000100200;blocked;2026-01-05T08:00:00Z\n",
    "taken.csv": "kind;code;status;name;at\n"
    "centre;4711;open;Sales;2026-01-02T03:00:00Z\ncentre;4712;open;South;2026-01-02T03:00:00Z\n"
    "centre;4713;open;West;2026-01-02T03:00:00Z\n"
    "rate;EUR/USD;;1.1688;2026-01-07T07:00:00Z\nemployee;1001;;2001;2026-01-02T03:00:00Z\n"
    "employee;1002;;2001;2026-01-02T03:00:00Z\nemployee;1003;;2004;2026-01-02T03:00:00Z\nvendor;100200;open;;2026-01-02T09:00:00Z\n",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def of_the_module(server: Server) -> AsyncIterator[Database]:
    async with fresh_database(server) as database:
        yield database


@pytest.fixture(scope="module")
def desk(of_the_module: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("dimensions")
    (folder / "tieout.yaml").write_text(CONFIGURATION)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with same_signals():
        desk = Desk(folder).over(of_the_module.server.dsn("postgres", of_the_module.name))
        answer = desk("sync")
        assert answer.code == 0, answer
        yield desk


def shown(desk: Desk, kind: str, code: str, as_of: str) -> dict[str, Any]:
    found = desk.shown(f"dimension show {kind} {code} --as-of {as_of}", "dimension-show")
    return {holding["system"]: holding for holding in found["holdings"]}


def exceptions(desk: Desk, control: str, as_of: str) -> list[str]:
    found = desk(f"control run {control} --as-of {as_of} --json").document
    return [e["sentence"] for e in found["exceptions"]]


def test_codes_are_counted_by_who_has_them_and_what_differs(desk: Desk) -> None:
    found = desk.shown("dimension list --as-of 2026-01-08T00:00:00Z", "dimension-list")
    counts = {
        (d["kind"], p["system"]): (p["valid"], p["not_valid"], p["differing"])
        for d in found["dimensions"]
        for p in d["parties"]
    }
    assert counts == {
        ("cost_center", "erp"): (2, 1, None),  # 4711 is gone
        ("cost_center", "expense"): (3, 0, 2),  # 4711 is there, 4713 has its old name
        ("exchange_rate", "erp"): (1, 0, None),
        ("exchange_rate", "expense"): (1, 0, 0),
        ("employee", "hr"): (3, 0, None),
        ("employee", "expense"): (3, 0, 1),
        ("vendor", "erp"): (0, 1, None),
        ("vendor", "expense"): (1, 0, 1),
    }


def test_a_deletion_names_the_last_list_with_the_code_and_the_first_without(desk: Desk) -> None:
    held = shown(desk, "cost_center", "4711", "2026-01-05T00:00:00Z")
    (only,) = held["erp"]["values"]
    assert (held["erp"]["state"], held["erp"]["since"]) == ("deleted", "2026-01-04T00:00:00Z")
    assert (only["last_at"], only["gone_at"]) == ("2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z")
    assert (only["valid_from"], only["value"]) == (
        "2026-01-02T00:00:00Z",
        {"name": "Sales", "status": "open"},
    )
    assert held["expense"]["state"] == "value"
    assert exceptions(desk, "centres", "2026-01-05T02:00:00Z")[0] == (
        "Cost center 4711 was deleted in erp on Sun 4 Jan 2026 00:00 and is still open in expense "
        "26 hours later (limit 1 hour)."
    )


def test_a_rate_is_the_one_of_its_day_mended_later_and_compared_to_the_last_digit(
    desk: Desk,
) -> None:
    rates = {
        day: shown(desk, "exchange_rate", "eur/usd", f"2026-01-{day}T12:00:00Z")["erp"]["value"]
        for day in ("06", "07", "20")
    }
    assert rates == {
        "06": {"rate": "1.1723"},
        "07": {"rate": "1.16880"},
        "20": {"rate": "1.16880"},
    }
    values = shown(desk, "exchange_rate", "EUR/USD", "2026-01-08T00:00:00Z")["erp"]["values"]
    assert [(v["value"]["rate"], v["valid_from"][:10], v["valid_to"]) for v in values] == [
        ("1.1723", "2026-01-06", "2026-01-07T00:00:00Z"),
        ("1.16880", "2026-01-07", None),
    ]
    assert (
        shown(desk, "exchange_rate", "EUR/USD", "2026-01-08T00:00:00Z")["expense"]["differs"] == []
    )
    assert exceptions(desk, "rates", "2026-01-09T12:00:00Z") == []


def test_a_manager_is_the_one_of_the_row_that_the_last_list_has(desk: Desk) -> None:
    held = shown(desk, "employee", "1001", "2026-01-12T00:00:00Z")
    rows = [(v["value"]["manager"], v["valid_from"], v["valid_to"]) for v in held["hr"]["values"]]
    assert rows == [
        ("2001", "2025-01-01T00:00:00Z", "2026-01-05T00:00:00Z"),
        ("2002", "2026-01-05T00:00:00Z", None),
    ]
    assert held["expense"]["differs"] == ["manager"]
    assert exceptions(desk, "managers", "2026-01-12T00:00:00Z") == [
        (
            "Employee 1001 has the manager '2002' in hr since Sat 10 Jan 2026 00:00 and '2001' in expense "
            "48 hours later (limit 4 hours)."
        )
    ]


def test_a_row_that_the_next_list_no_longer_has_was_a_mistake(desk: Desk) -> None:
    values = shown(desk, "employee", "1003", "2026-01-08T00:00:00Z")["hr"]["values"]
    assert [(v["value"]["manager"], v["valid_from"], v["valid_to"]) for v in values] == [
        ("2004", "2025-02-01T00:00:00Z", None)
    ]


def test_a_gap_between_two_rows_is_told(desk: Desk) -> None:
    held = shown(desk, "employee", "1002", "2026-02-03T00:00:00Z")["hr"]
    assert (held["state"], held["value"]) == ("gap", None)
    assert held["gaps"] == [{"since": "2026-02-01T00:00:00Z", "until": "2026-02-08T00:00:00Z"}]
    printed = desk("dimension show employee 1002 --as-of 2026-02-03T00:00:00Z").out
    assert "No row is valid from 2026-02-01 00:00 until 2026-02-08 00:00 (UTC)." in printed


def test_a_blocked_vendor_that_is_still_open_there_is_found_whatever_its_zeros(desk: Desk) -> None:
    held = shown(desk, "vendor", "100200", "2026-01-06T00:00:00Z")
    assert [held[system]["number"] for system in ("erp", "expense")] == ["0000100200", "100200"]
    assert held["expense"]["differs"] == ["status"]
    assert exceptions(desk, "vendors", "2026-01-06T00:00:00Z") == [
        (
            "Vendor 0000100200 was blocked in erp on Mon 5 Jan 2026 08:00 and is still open in expense "
            "16 hours later (limit 1 hour)."
        )
    ]


def test_what_was_not_known_then_is_not_shown(desk: Desk) -> None:
    answer = desk("dimension show vendor 100200 --as-known 2026-01-01T00:00:00Z")
    assert (answer.code, answer.out) == (1, "Nobody has told anything of the vendor '100200'.\n")


def test_a_kind_that_nobody_watches_is_refused_with_those_there_are(desk: Desk) -> None:
    answer = desk("dimension show planet 9")
    assert answer.code == 2
    assert "Known: cost_center, employee, exchange_rate, vendor." in answer.err
