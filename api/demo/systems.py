"""The company as its four systems show it in files."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.demo import bank, erp, expense, hr
from api.demo.company import Company


@dataclass(frozen=True)
class Exports:
    """All files by their path, the records in each stream, and what no claim accounts for."""

    files: Mapping[str, bytes]
    records: Mapping[str, int]
    housekeeping: int


def export(company: Company) -> Exports:
    """Show what happened as each system would: nothing in here says what is wrong."""
    books = erp.book(company)
    workers, changes = hr.workers(company), expense.records(company)
    documents, messages = erp.documents(books), erp.messages(company)
    bookings = bank.bookings(company, books)
    files = {
        "hr/workers.csv": _csv(hr.COLUMNS, workers, ","),
        "erp/bkpf.csv": _csv(erp.DOCUMENT_COLUMNS, documents, ";"),
        "erp/interface.csv": _csv(erp.MESSAGE_COLUMNS, messages, ";"),
        **{f"expense/{name}": text for name, text in expense.files(changes).items()},
        **{f"bank/{name}": text for name, text in bank.statements(bookings).items()},
    }
    records = {
        "hr/workers": len(workers),
        "expense/reports": len(changes),
        "erp/documents": len(documents),
        "erp/interface": len(messages),
        "bank/statements": len(bookings),
    }
    return Exports(files, records, sum(map(bank.is_housekeeping, bookings)))


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, str]], delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
