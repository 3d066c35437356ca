"""Documents that share no name are linked by rule where that is no guess; the rest a person decides."""

import json
from typing import Any

import pytest

from tests.api.cli.desk import Desk

CONFIG = """
tieout: 1
entities: {HQ: {name: Head office, calendar: work}}
calendars: {work: {timezone: Europe/Berlin}}
sources:
  bank:
    connector: files
    system: bank
    streams:
      lines:
        read: {path: bank.jsonl, format: jsonl}
        complete: {covers: ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"], by: Treasury}
        mapping:
          key: id
          occurred_at: {value: at, timezone: in value}
          document: {type: bank_entry, number: id}
          entity: =HQ
          amount: {value: amount, currency: currency}
          counterparty: name
          attributes: {remittance: text}
          references: [{kind: expense_report, role: identity, value: claim}]
          personal: [counterparty]
          events: [{rule: booked, type: bank_entry.booked}]
  erp:
    connector: files
    system: erp
    streams:
      payments:
        read: {path: erp.jsonl, format: jsonl}
        complete: {covers: ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"], by: Accounts payable}
        mapping:
          key: id
          occurred_at: {value: at, timezone: in value}
          document: {type: payment, number: id}
          entity: =HQ
          amount: {value: amount, currency: currency}
          attributes: {payee: name}
          references: [{kind: expense_report, role: identity, value: claim}]
          personal: [payee]
          events: [{rule: instructed, type: payment.instructed}]
links:
  bank_line:
    left: {events: [bank_entry.booked]}
    right: {events: [payment.instructed], sources: [erp]}
    within: {days_before: 4}
    similar:
      - {left: counterparty, right: attributes.payee, as: name}
"""


class Books:
    """What the bank and the ERP tell, a record at a time, and what became of it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def bank(self, id_: str, day: int, name: str, amount: str = "10.00", **more: str) -> None:
        self._tell(
            "bank", id=id_, at=f"2026-01-{day:02}T12:00:00Z", name=name, amount=amount, **more
        )

    def erp(self, id_: str, day: int, name: str, amount: str = "10.00", **more: str) -> None:
        self._tell(
            "erp", id=id_, at=f"2026-01-{day:02}T08:00:00Z", name=name, amount=amount, **more
        )

    def _tell(self, file: str, **record: str) -> None:
        with (self.desk.folder / f"{file}.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"currency": "EUR", **record}) + "\n")

    def match(self) -> dict[str, Any]:
        assert self.desk("sync").code == 0
        (rule,) = self.desk.shown("link match", "link-match")["rules"]
        return dict(rule)

    def linked(self) -> set[tuple[str, str]]:
        """Name the pairs of numbers that are one transaction by a link."""
        found = set()
        for d in self.desk.shown("link list", "link-list")["decisions"]:
            if d["action"] == "add" and d["undone_by"] is None:
                path = f"transaction explain {d['document']} {d['other']}"
                explained = self.desk.shown(path, "transaction-explain")
                number = {x["id"]: x["number"] for x in explained["documents"]}
                found.add((number[d["document"]], number[d["other"]]))
        return found

    def suggested(self) -> dict[str, Any]:
        """Return suggestions by the number of their document."""
        found = self.desk.shown("link suggestions", "link-suggestions")["items"]
        return {s["document"]["number"]: s for s in found}


@pytest.fixture
def books(desk: Desk) -> Books:
    store = desk.config.read_text().partition("\nstore:")[2]
    desk.config.write_text(f"{CONFIG}\nstore:{store}")
    return Books(desk)


def test_the_only_candidate_is_linked_with_all_that_the_rule_saw(books: Books) -> None:
    books.bank("B1", 6, "KOWALCZYK, A.")
    books.erp("P1", 5, "Anna Kowalczyk")
    books.erp("P2", 5, "Ben Kowalczyk")
    books.erp("P3", 5, "Anna Kowalczyk", currency="USD")

    assert books.match()["linked"] == 1
    assert books.linked() == {("B1", "P1")}
    assert books.suggested() == {}
