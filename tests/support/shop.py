"""A small shop's invoices in JSON Lines: the source of tests that need a filled store."""

import json
from datetime import datetime, timedelta
from pathlib import Path

CONFIGURATION = """
tieout: 1
entities:
  DE10: {name: Lindenau GmbH, calendar: office}
calendars:
  office: {timezone: Europe/Berlin}
sources:
  erp:
    connector: files
    system: erp
    streams:
      invoices:
        read: {path: "invoices*.jsonl", format: jsonl, follow: true}
        complete: {covers: ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"], records: 12, by: the shop}
        mapping: invoices.yaml
  bank:
    connector: files
    system: bank
    streams:
      payments:
        read: {path: "payments*.jsonl", format: jsonl, follow: true}
        complete: {covers: ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"], by: the bank}
        retained_days: 30
        mapping: payments.yaml
  hr:
    connector: files
    system: hr
    streams:
      people:
        read: {path: people.jsonl, format: jsonl}
        complete: {covers: ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"], records: 2, by: the shop}
        mapping:
          key: id
          document: {type: person, number: id}
          occurred_at: {value: at, timezone: in value}
          events: [{rule: joined, type: person.joined}]
flows: [flow.yaml]
controls:
  nothing_stuck:
    check: stuck_transaction
    flows: [invoices]
    parameters: {owned: [received, approved, paid]}
  late_payments:
    check: stuck_transaction
    flows: [invoices]
    severity: medium
    parameters: {owned: []}
  never_run:
    check: stuck_transaction
    flows: [invoices]
alerts:
  cases: {to: webhook, url: "http://127.0.0.1:9/cases", secret: "${file:webhook.secret}"}
"""
MAPPING = """
key: id
document: {type: invoice, number: invoice}
occurred_at: {value: at, timezone: in value}
amount: {value: amount, currency: =EUR}
entity: entity
events:
  - rule: workflow
    type:
      value: what
      unknown: quarantine
      values:
        received: invoice.received
        approved: invoice.approved
        rejected: invoice.rejected
"""
PAYMENT_VALUES = """        paid: invoice.paid
        failed: invoice.failed
"""
FLOW = """
flow: invoices
title: Invoices, from receipt to payment
anchor: invoice
steps:
  - {name: received, title: Received, system: erp, done_by: [invoice.received]}
  - name: approved
    title: Approved
    system: erp
    after: received
    waits_for: supervisor
    done_by: [invoice.approved]
  - name: paid
    title: Paid
    system: bank
    after: approved
    due: 10 days
    done_by: [invoice.paid]
    failed_by: [invoice.failed]
ends:
  rejected: {by: [invoice.rejected]}
bridge: [received, approved, paid]
"""
INVOICES = [
    ("A-PAID", "received", 0),
    ("A-PAID", "approved", 2),
    ("B-MISSING", "received", 0),
    ("B-MISSING", "approved", 1),
    ("C-WAITING", "received", 3),
    ("D-REJECTED", "received", 4),
    ("D-REJECTED", "rejected", 5),
    ("E-LATE", "received", 1),
    ("E-LATE", "approved", 2),
    ("F-SHORTCUT", "received", 2),
    ("G-RECENT", "received", 20),
    ("G-RECENT", "approved", 24),
]
PAYMENTS = [("A-PAID", "paid", 5), ("E-LATE", "paid", 15), ("F-SHORTCUT", "paid", 6)]
START = datetime.fromisoformat("2026-01-05T08:00:00+00:00")
NOW = START + timedelta(days=27)


def line(invoice: str, what: str, day: float, entity: str = "DE10") -> str:
    """Write one record: what happened to an invoice, days after START."""
    return json.dumps(
        {
            "id": f"{invoice}/{what}",
            "invoice": invoice,
            "what": what,
            "at": (START + timedelta(days=day)).isoformat(),
            "amount": "1250.00",
            "entity": entity,
        }
    )


def write(folder: Path) -> Path:
    """Write the shop's files; return the path of its configuration.

    Of the two records on people, which no flow needs, one is broken.
    """
    (folder / "invoices.yaml").write_text(MAPPING)
    (folder / "payments.yaml").write_text(
        MAPPING.split("        received", maxsplit=1)[0] + PAYMENT_VALUES
    )
    (folder / "flow.yaml").write_text(FLOW)
    (folder / "tieout.yaml").write_text(CONFIGURATION)
    (folder / "webhook.secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    lines = [line(*record) for record in INVOICES]
    (folder / "invoices.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "people.jsonl").write_text(
        f'{{"id": 1, "at": "{START.isoformat()}"}}\n{{"id": broken\n'
    )
    (folder / "payments.jsonl").write_text("\n".join(line(*p) for p in PAYMENTS) + "\n")
    return folder / "tieout.yaml"
