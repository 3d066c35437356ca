"""CSV and TSV: a record is a row, which may run over several lines inside quotes."""

import csv

from typing_extensions import override

from collector.connector import Record
from connectors.files.options import Layout
from connectors.files.parse import LineParser

QUOTED_LINES_MAX = 1000
"""Lines one row may run over; more is a quote that was never closed."""


class Delimited(LineParser):
    """Splits lines into fields; all values stay text.

    A line without a quote is split as it is; others go through the csv module. Rows without any
    value are passed over. A quote that is not closed within 1,000 lines or before the end makes
    its first line a fault, and reading goes on with the second.
    """

    def __init__(self, position: int, limit: int, layout: Layout) -> None:
        super().__init__(position, limit)
        self._layout = layout
        self._quote = layout.quote.encode(layout.encoding)
        self._newline = layout.newline.encode()
        self._open: list[bytes] = []

    @override
    def parse(self, start: int, lines: list[bytes]) -> list[Record]:
        records: list[Record] = []
        encoding, delimiter, fields = (
            self._layout.encoding,
            self._layout.delimiter,
            self._layout.fields,
        )
        quote, width = self._quote, len(fields)
        for line in lines:
            if self._open or (quote and quote in line) or b"\0" in line:
                self._quoted(start, line, records)
            else:
                try:
                    values = line.decode(encoding).rstrip("\r").split(delimiter)
                except UnicodeDecodeError:
                    records.append(self.undecodable(line, start, encoding))
                else:
                    if len(values) == width and any(values):
                        self.position += 1
                        body = dict(zip(fields, values, strict=False))
                        records.append(Record(self.position, body, line, None, start, len(line)))
                    else:
                        self._row(values, line, start, records)
            start += len(line) + 1
        return records

    def _quoted(self, start: int, line: bytes, records: list[Record]) -> None:
        """Take a line with quotes, or one that continues a row."""
        if not self._open:
            self.held = start
        self._open.append(line)
        raw = self._newline.join(self._open)
        if raw.count(self._quote) % 2 == 0 or not self._quote:
            first, self._open, self.held = self.held, [], -1
            self._parsed(raw, first, records)
        elif len(self._open) > QUOTED_LINES_MAX or len(raw) > self.limit:
            records += self._give_up()

    def _parsed(self, raw: bytes, start: int, records: list[Record]) -> None:
        layout = self._layout
        if b"\0" in raw:
            records.append(self.undecodable(raw, start, layout.encoding))
            return
        try:
            text = raw.decode(layout.encoding)
        except UnicodeDecodeError:
            records.append(self.undecodable(raw, start, layout.encoding))
            return
        reader = csv.reader(
            text.removesuffix("\r").splitlines(keepends=True),
            delimiter=layout.delimiter,
            quotechar=layout.quote,
        )
        try:
            rows = list(reader)
        except csv.Error as error:
            sentence = (
                f"Record {self.position + 1} at byte {start} is not CSV: {error}."
                " State `delimiter` and `quote`, or have the line corrected."
            )
            records.append(self.fault(raw, start, "WRONG_QUOTES", sentence))
            return
        if len(rows) == 1:
            self._row(rows[0], raw, start, records)
        elif rows:
            records.append(self._unclosed(raw, start))

    def _row(self, values: list[str], raw: bytes, start: int, records: list[Record]) -> None:
        """Make a record of a row, or a fault where it has not the columns of the header."""
        fields = self._layout.fields
        if not any(values):
            return
        if len(values) < len(fields) or any(values[len(fields) :]):
            sentence = (
                f"Record {self.position + 1} at byte {start} has {len(values)} columns, the header"
                f" has {len(fields)}. Have the row corrected, or state `delimiter`, `quote` or"
                " `header`."
            )
            records.append(self.fault(raw, start, "WRONG_COLUMNS", sentence))
            return
        self.position += 1
        body = dict(zip(fields, values, strict=False))
        records.append(Record(self.position, body, raw, None, start, len(raw)))

    def _unclosed(self, raw: bytes, start: int) -> Record:
        sentence = (
            f"Record {self.position + 1} at byte {start} opens a quote that is not closed."
            " Have the line corrected, or set `quote` to '' if nothing is quoted."
        )
        return self.fault(raw, start, "UNCLOSED_QUOTE", sentence)

    def _give_up(self) -> list[Record]:
        """Make the first line of an open row a fault, and read the others anew."""
        first, *others = self._open
        start, self._open, self.held = self.held, [], -1
        records = [self._unclosed(first, start)]
        return records + self.parse(start + len(first) + 1, others)

    @override
    def close(self) -> list[Record]:
        records: list[Record] = []
        while self._open:
            records += self._give_up()
        return records
