"""The company as its five systems show it: four in files, the middleware in a tenant's data."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.demo import bank, erp, expense, hr, middleware
from api.demo.company import ENTITIES, Company

MIDDLEWARE = "middleware/logs.json"


@dataclass(frozen=True)
class Exports:
    """All files by their path, the records in each stream, and what is behind them."""

    files: Mapping[str, bytes]
    records: Mapping[str, int]
    books: erp.Books
    bookings: Sequence[bank.Booking]

    @property
    def shown(self) -> list[bank.Booking]:
        """What the bank shows record by record: entries, and the payments that it lists in one."""
        return [record for booking in self.bookings for record in bank.records(booking)]

    @property
    def housekeeping(self) -> int:
        """How many bank entries belong to no claim."""
        return sum(map(bank.is_housekeeping, self.bookings))

    @property
    def runs(self) -> int:
        """How many payment runs the bank booked in one sum without their payments."""
        return sum(map(bank.is_run, self.shown))

    @property
    def transfers(self) -> int:
        """How many transfers pay several claims each."""
        return sum(record.combined for record in self.shown)

    @property
    def lost(self) -> list[bank.Booking]:
        """The bank entries that the statements count and do not hold."""
        return [booking for booking in self.bookings if booking.is_lost]


def export(company: Company) -> Exports:
    """Show what happened as each system would: nothing in here says what is wrong."""
    books, messages = erp.book(company), erp.Messages(company)
    workers, changes = hr.workers(company), expense.records(company)
    shown, paid = expense.confirmations(company, books), expense.payments(company, books)
    items = expense.list_items(company.cost_centres)
    documents, states = erp.documents(books, messages), messages.rows()
    centres = erp.cost_centres(company.cost_centres)
    logs = middleware.logs(company)
    bookings = bank.bookings(company, books)
    files = {
        "hr/workers.csv": _csv(hr.COLUMNS, workers, ","),
        "erp/bkpf.csv": _csv(erp.DOCUMENT_COLUMNS, documents, ";"),
        "erp/interface.csv": _csv(erp.MESSAGE_COLUMNS, states, ";"),
        "erp/csks.csv": _csv(erp.COST_CENTRE_COLUMNS, centres, ";"),
        "expense/confirmations.json": expense.document("confirmations", shown),
        "expense/payments.json": expense.document("payments", paid),
        "expense/cost-centres.json": expense.document("items", items),
        MIDDLEWARE: middleware.document(logs),
        **{f"expense/{name}": text for name, text in expense.files(changes).items()},
        **{f"bank/{name}": text for name, text in bank.statements(bookings).items()},
    }
    records = {
        "hr/workers": len(workers),
        "expense/reports": len(changes),
        "expense/confirmations": len(shown),
        "expense/payments": len(paid),
        "expense/cost_centres": len(items),
        "erp/documents": len(documents),
        "erp/interface": len(states),
        "erp/cost_centres": len(centres),
        "middleware/messages": len(logs),
    }
    for entity in ENTITIES:
        own = [b for b in bookings if b.entity is entity and not b.is_lost]
        records[f"bank/{entity.code.lower()}"] = sum(len(bank.records(b)) for b in own)
    return Exports(files, records, books, bookings)


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, str]], delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
