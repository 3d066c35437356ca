"""Documents that share no name are linked by rule where that is no guess; the rest a person decides."""

import json
from typing import Any

import pytest

from tests.api.cli.desk import Desk, conforms

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


def test_a_bank_line_without_a_number_finds_its_payment_and_everybody_can_see_why(
    books: Books,
) -> None:
    books.bank("B1", 6, "KOWALCZYK, A.")
    books.erp("P1", 5, "Anna Kowalczyk")
    books.erp("P2", 5, "Ben Kowalczyk")
    desk = books.desk
    assert desk("sync").code == 0
    assert desk.shown("link match --dry-run", "link-match")["rules"][0]["linked"] == 1

    assert books.match()["linked"] == 1

    found = desk.shown("transaction explain B1 P1", "transaction-explain")
    (decision,) = found["decisions"]
    evidence = decision["evidence"]
    assert decision["actor"] == f"rule bank_line {evidence['version']}"
    assert decision["reason"] == "score 95, the next one 50"
    assert (evidence["automatic"], evidence["score"]) == (True, 95)
    assert evidence["fields"]["counterparty ~ attributes.payee"] == 95
    assert [r["score"] for r in evidence["rivals"]] == [50]
    said = desk("transaction explain B1 P1").out
    assert f"decided by rule bank_line {evidence['version']}" in said
    assert "score 95: " in said
    assert "Kowalczyk" not in said  # of what is personal only how alike it is

    for row in map(json.loads, (before := desk("dump").out).splitlines()):
        conforms("dump", row)
    assert desk("rebuild").code == 0
    assert desk("dump").out == before
    assert desk("link cut B1 P1 --reason 'another payee'").code == 0
    (decision,) = desk.shown("link list", "link-list")["decisions"]
    assert decision["undone_by"] is not None


def test_what_several_may_be_is_suggested_and_a_person_decides(books: Books) -> None:
    books.bank("B1", 6, "KOWALCZYK, A.")
    books.bank("B2", 16, "DORN, A.")
    for number, day in (("P1", 4), ("P2", 5)):
        books.erp(number, day, "Anna Kowalczyk")
    for number, day in (("P3", 14), ("P4", 15)):
        books.erp(number, day, "Anton Dorn")
    assert books.match()["suggested"] == {"AMBIGUOUS": 2}
    desk = books.desk
    said = desk("link suggestions").out
    assert "bank_entry B1  bank_line: several may be meant" in said
    assert "1. payment P2  score 95, 1 day apart" in said
    assert "agrees: " in said
    assert desk.shown("link suggestions --limit 1", "link-suggestions")["has_more"] is True
    assert desk.shown("link suggestions --rule none", "link-suggestions")["items"] == []
    suggested = books.suggested()

    assert desk(f"link accept {suggested['B1']['id']} 2 --reason 'asked the payee'").code == 0
    assert desk(f"link reject {suggested['B2']['id']} --reason 'neither of them'").code == 0

    assert books.linked() == {("B1", "P1")}
    assert "Nothing is suggested." in desk("link suggestions").out
    again = desk(f"link accept {suggested['B1']['id']} 1 --reason again")
    assert (again.code, again.out) == (1, "")
    assert "There is no suggestion" in again.err
