"""Whether a part that should be a whole list was read as one: only then can what it lacks be gone.

A pass over the part has to begin with its first record and end intact; every record has to be mapped, by now or once it
is replayed, and to state the same instant; and there have to be as many as the list itself states, if it does.
"""

from datetime import date, datetime
from typing import NamedTuple

from collector.connector import End, Ending, Record
from collector.model.event import Event
from collector.model.words import counted
from collector.pipeline.mapping import CompiledMapping
from collector.pipeline.values import NotMapped
from collector.store.snapshots import Whole

REFUSED_MAX = 1_000
"""Rows that may be replayed one day, so that the list is whole then; of a list with more nothing is concluded."""

INSTANTS_MAX = 2
"""More need not be told apart: a list has one."""


class Listed(NamedTuple):
    """What a chunk tells of its list: its records, a row for each instant, and the totals that they state."""

    first: int
    read: int
    refused: list[bytes]
    rows: dict[datetime, tuple[bytes, date]]
    totals: set[str | None]


def listed(
    records: list[Record], events: list[Event], refused: list[bytes], mapping: CompiledMapping
) -> Listed:
    """Say what a chunk tells of its list; `refused` is the content of the records that cannot be mapped."""
    rows: dict[datetime, tuple[bytes, date]] = {}
    for event in events:
        if len(rows) < INSTANTS_MAX:
            rows.setdefault(event.occurred_at, (event.event_id, event.month))
    first = records[0].position if records else 0
    return Listed(first, len(records), refused, rows, {_total(r, mapping) for r in records})


def _total(record: Record, mapping: CompiledMapping) -> str | None:
    if mapping.total_of is None or record.body is None:
        return None
    try:
        return mapping.total_of(record.body) or "no total"
    except NotMapped:
        return "no total"


class Reading:
    """One pass over a part that should be a whole list; `lack` says in the end why it is none."""

    def __init__(self) -> None:
        self.lack = ""
        self._read = self._first = 0
        self._refused: list[bytes] = []
        self._rows: dict[datetime, tuple[bytes, date]] = {}
        self._totals: set[str] = set()

    def add(self, told: Listed) -> None:
        """Add a chunk."""
        self._first = self._first or told.first
        self._read += told.read
        self._refused += told.refused
        self._rows |= told.rows
        self._totals.update(total for total in told.totals if total is not None)

    def end(self, end: End, stated: int | None) -> Whole | None:
        """Return the fact that the list was read whole, but for rows in quarantine; None where it was not."""
        totals = self._totals | ({str(stated)} if stated is not None else set())
        lacks = {
            end.sentence or "its end was not read": end.ending is not Ending.INTACT
            or end.unread != 0,
            "it holds no rows": not self._read,
            "it was not read from its beginning": self._first > 1,
            "none of its rows can be mapped": not self._rows,
            "its rows state different instants": len(self._rows) > 1,
            "more rows are in quarantine than are kept in mind": len(self._refused) > REFUSED_MAX,
            f"it states {' and '.join(sorted(totals))} and holds {counted(self._read, 'row')}": bool(
                totals - {str(self._read)}
            ),
        }
        self.lack = next((why for why, so in lacks.items() if so), "")
        if self.lack:
            return None
        if self._refused:
            self.lack = (
                f"{counted(len(self._refused), 'row')} in quarantine could be any, until replayed"
            )
        ((event_id, month),) = self._rows.values()
        return Whole(event_id, month, self._read, self._refused)
