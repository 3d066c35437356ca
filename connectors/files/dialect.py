"""Find out how a CSV file is written: delimiter, preamble, header."""

import csv
import re
from collections import Counter
from typing import Final

import msgspec

from connectors.files.options import FilesOptions, Header, Layout

DELIMITERS: Final = (",", ";", "\t", "|")
_ROWS_LOOKED_AT = 200
_CSV_SHARE_MIN = 0.8  # of the rows have the same number of fields; totals and preambles are few
_CSV_FIELDS_MIN = 3  # two fields are as well a sentence with a comma
_VALUE = re.compile(r"[+-]?[\d.,' ]*\d[%]?|\d{1,4}[-./:]\d{1,2}[-./:T ].*|\(?[€$£]?\s?[\d.,]+\)?")
_LOG_LINE = re.compile(
    r"\W{0,2}(\d{4}-\d\d-\d\d[ T]\d\d:\d\d|(TRACE|DEBUG|INFO|WARN|ERROR|FATAL)\b)"
)

Row = tuple[int, list[str]]
"""The number of the last line of the row, counted from 1, and its fields."""


def rows_of(text: str, delimiter: str, quote: str) -> list[Row]:
    """Parse the first rows of a sample; blank lines are left out."""
    reader = csv.reader(
        text.splitlines(keepends=True),
        delimiter=delimiter,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
    )
    rows: list[Row] = []
    try:
        for row in reader:
            if any(row):
                rows.append((reader.line_num, row))
            if len(rows) == _ROWS_LOOKED_AT:
                break
    except csv.Error:
        pass
    return rows


def width_of(rows: list[Row]) -> tuple[int, float]:
    """Return the usual number of fields and the share of rows that have it."""
    widths = Counter(len(row) for _, row in rows)
    if not widths:
        return 0, 0.0
    width, times = max(widths.items(), key=lambda item: (item[1], item[0]))
    return width, times / len(rows)


def delimiter_of(text: str, quote: str) -> str:
    """Return the delimiter that gives the most rows the same number of fields, more than one."""

    def fit(delimiter: str) -> tuple[bool, float, int]:
        width, share = width_of(rows_of(text, delimiter, quote))
        return width > 1, share if width > 1 else 0.0, width

    return max(DELIMITERS, key=fit)


def looks_like_csv(sample: bytes, name: str) -> bool:
    """Tell a table from prose and logs."""
    if re.search(r"\.(csv|tsv)(\.gz)?$", name, re.IGNORECASE):
        return True
    text = whole_lines(sample, "utf-8", "\n")
    if _LOG_LINE.match(text):
        return False
    width, share = width_of(rows_of(text, delimiter_of(text, '"'), '"'))
    return width >= _CSV_FIELDS_MIN and share >= _CSV_SHARE_MIN


def whole_lines(sample: bytes, encoding: str, newline: str) -> str:
    """Decode a sample up to its last line end (all of it where there is none)."""
    cut = sample.rfind(newline.encode()) + 1
    text = sample[: cut or len(sample)].decode(encoding, "replace").removeprefix("\ufeff")
    return text.replace("\r", "\n") if newline == "\r" else text


def csv_layout(sample: bytes, layout: Layout, options: FilesOptions) -> Layout:
    """Complete the layout with delimiter, quote, columns and where the data starts."""
    encoding = "utf-8" if layout.encoding == "utf-16" else layout.encoding
    text = whole_lines(sample, encoding, layout.newline)
    quote = '"' if options.quote is None else options.quote
    delimiter = options.delimiter or delimiter_of(text, quote)
    rows = rows_of(text, delimiter, quote)
    width, _ = width_of(rows)
    lines_before, names, stated = _header(rows, width, options.header)
    newline = layout.newline.encode()
    start = layout.start if not lines_before else _offset_after(sample, lines_before, newline)
    notes = layout.notes | {
        "delimiter": _spoken(delimiter) + ("" if options.delimiter else " (sniffed)"),
        "header": stated,
    }
    return msgspec.structs.replace(
        layout,
        start=start,
        delimiter=delimiter,
        quote=quote,
        fields=names,
        notes=notes,
    )


def _spoken(delimiter: str) -> str:
    return {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}.get(delimiter, delimiter)


def _offset_after(sample: bytes, lines: int, newline: bytes) -> int:
    offset = 0
    for _ in range(lines):
        end = sample.find(newline, offset)
        if end < 0:
            return len(sample)
        offset = end + len(newline)
    return offset


def _header(rows: list[Row], width: int, wanted: Header) -> tuple[int, list[str], str]:
    """Return how many lines precede the data, the column names, and what to state about it."""
    numbered = [f"column_{i}" for i in range(1, width + 1)]
    if isinstance(wanted, list):
        again = bool(rows) and [v.strip() for v in rows[0][1]] == wanted
        return rows[0][0] if again else 0, list(wanted), "column names as stated"
    if wanted is False:
        return 0, numbered, "none; columns are numbered"
    if wanted is not None and wanted is not True:
        line, names = next((r for r in rows if r[0] >= wanted), (wanted, numbered))
        return line, column_names(names), f"line {wanted} as stated"
    first = next((i for i, (_, row) in enumerate(rows) if len(row) == width), None)
    if first is None:
        return 0, numbered, "none; columns are numbered"
    line, row = rows[first]
    if wanted is True or is_header(row, [r for _, r in rows[first + 1 :]]):
        return line, column_names(row), f"line {line}" + ("" if wanted else " (sniffed)")
    before = rows[first - 1][0] if first else 0
    return before, numbered, "none (sniffed); columns are numbered"


def is_header(row: list[str], following: list[list[str]]) -> bool:
    """Tell whether the fields are names: none is empty in front, a number, a date or a repetition."""
    names = [value.strip() for value in row]
    filled = [name for name in names if name]
    if not filled or len(set(filled)) < len(filled) or any(map(is_value, filled)):
        return False
    return len(filled) * 2 > len(names) and row not in following


def is_value(text: str) -> bool:
    """Tell whether a text is a number, an amount, a date or a time."""
    return bool(_VALUE.fullmatch(text.strip()))


def column_names(row: list[str]) -> list[str]:
    """Return names that are neither empty nor repeated."""
    names: list[str] = []
    for i, value in enumerate(row, 1):
        name = value.strip() or f"column_{i}"
        times = 2
        while name in names:
            name = f"{value.strip()}_{times}"
            times += 1
        names.append(name)
    return names
