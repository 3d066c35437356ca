"""The coverage ledger: by stream and window both sides' totals, their difference, and what is not read.

A window is a day (UTC), the month that its days roll up to, or all that is asked for. What a source states
it states of a part (a file, a page), and a record that was not read has no time: both stand in each window
that holds all days of their part. What is stated of a part that reaches beyond the window asked for is left
out and counted (`parts_beyond`); what is not read may lie anywhere, and always counts in the whole.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from collector.store import ledger as store
from collector.store.ingest import Connection
from collector.store.ledger import Held, Quarantined
from collector.store.totals import Totals, totals
from collector.store.trailers import Statement

WHOLE = "all"
"""The window that is all that is asked for."""

_HASH_MODULUS = 2**128


class Stated(msgspec.Struct):
    """What the source states of `parts`, by the weakest grade, and what of it is missing here.

    None where it states nothing, or where what came in of it is not known. Differences are signed:
    stated less read.
    """

    grade: str = "A"
    parts: int = 0
    records: int | None = 0
    missing: int | None = 0
    amounts: Counter[str] = msgspec.field(default_factory=Counter)
    missing_amounts: Counter[str] | None = msgspec.field(default_factory=Counter)

    def add(self, statement: Statement) -> None:
        """Add what is stated of one part."""
        self.grade = max(self.grade, statement.grade)
        self.parts += 1
        self.records = _sum(self.records, statement.records)
        self.missing = _sum(self.missing, statement.missing)
        self.amounts.update(statement.amounts)
        if statement.missing_amounts is None:
            self.missing_amounts = None
        elif self.missing_amounts is not None:
            self.missing_amounts.update(statement.missing_amounts)


class Line(msgspec.Struct):
    """One window of a stream. Amounts are minor units by currency, `quarantined` records by reason.

    `hash_total` is the sum of the 128-bit hashes of the events' keys, modulo 2^128. `unread` is None where
    nobody knows how many records.
    """

    window: str
    events: int = 0
    amounts: Counter[str] = msgspec.field(default_factory=Counter)
    hash_total: int = 0
    stated: Stated | None = None
    quarantined: Counter[str] = msgspec.field(default_factory=Counter)
    unread: int | None = 0

    def add(self, held: Held) -> None:
        """Add events."""
        self.events += held.events
        self.hash_total = (self.hash_total + held.hash_sum) % _HASH_MODULUS
        if held.currency is not None and held.amounts:
            self.amounts[held.currency] += held.amount_minor

    def state(self, statement: Statement) -> None:
        """Add what the source states of a part."""
        self.stated = self.stated or Stated()
        self.stated.add(statement)


class Ledger(msgspec.Struct):
    """The lines of a stream by window, the whole last; and the parts whose totals are stated of more."""

    stream: str
    lines: list[Line]
    parts_beyond: int = 0

    def document(self) -> dict[str, Any]:
        """Return it as JSON takes it; a hash total is a text, for few read integers of 128 bits."""
        lines = [
            {**msgspec.to_builtins(line), "hash_total": str(line.hash_total)} for line in self.lines
        ]
        return {"stream": self.stream, "lines": lines, "parts_beyond": self.parts_beyond}


class Window(msgspec.Struct, frozen=True):
    """What is asked for: the days from `start` up to but not including `end`, of one entity or of all."""

    start: date
    end: date
    entity: str | None = None

    def holds(self, held: Held) -> bool:
        """Tell whether events lie in it."""
        return self.start <= held.day < self.end and self.entity in {None, held.entity}


async def ledgers(
    conn: Connection, streams: Sequence[str], window: Window, as_known: datetime
) -> list[Ledger]:
    """Return the ledgers of streams (`source/stream`), as known at K; of one that was never read a bare one."""
    known = {
        f"{source}/{name}": of for (source, name), of in (await totals(conn, as_known)).items()
    }
    rows, quarantined = defaultdict(list), defaultdict(list)
    for row in await store.held(conn, as_known, streams):
        rows[row.stream].append(row)
    for q in await store.quarantined(conn, as_known, streams):
        quarantined[q.stream].append(q)
    return [
        ledger(known[name], rows[name], quarantined[name], window)
        if name in known
        else Ledger(name, [Line(WHOLE, unread=None)])
        for name in streams
    ]


def ledger(
    of: Totals, rows: Iterable[Held], quarantined: Iterable[Quarantined], window: Window
) -> Ledger:
    """Lay out what is known of a stream."""
    lines: defaultdict[str, Line] = defaultdict(lambda: Line(WHOLE))
    inside: dict[str, set[str]] = {}
    beyond: set[str] = set()
    for row in rows:
        if not window.holds(row):
            beyond.add(row.part)
            continue
        around = _windows(row.day)
        inside[row.part] = inside.get(row.part, around) & around
        for name in around:
            lines[name].add(row)
    whole = {part: windows for part, windows in inside.items() if part not in beyond}
    for statement in of.trailers.statements:
        for name in whole.get(statement.part, ()):
            lines[name].state(statement)
    _enter_unread(lines, of, quarantined, whole)
    stated = {s.part for s in of.trailers.statements}
    return Ledger(
        f"{of.source}/{of.stream}", _in_order(lines), len(stated & beyond & inside.keys())
    )


def _enter_unread(
    lines: defaultdict[str, Line],
    of: Totals,
    quarantined: Iterable[Quarantined],
    windows: Mapping[str, set[str]],
) -> None:
    """Add what is not read to the windows of its part; where these are not known, to the whole."""
    for q in quarantined:
        for name in windows.get(q.part, {WHOLE}):
            lines[name].quarantined[q.reason] += q.records
    for broken in of.broken:
        for name in windows.get(broken.part, {WHOLE}):
            lines[name].unread = _sum(lines[name].unread, broken.unread)
    if not of.parts:
        lines[WHOLE].unread = None


def _windows(day: date) -> set[str]:
    return {day.isoformat(), f"{day:%Y-%m}", WHOLE}


def _in_order(lines: Mapping[str, Line]) -> list[Line]:
    """Return the lines in the order of their days, a month after its days, the whole last."""
    names = sorted({*lines, WHOLE}, key=lambda name: name.ljust(len("2026-01-31"), "~"))
    return [msgspec.structs.replace(lines.get(name, Line(name)), window=name) for name in names]


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b
