"""One history, told as changes, as whole lists or as rows with a validity, in any order, has one value at any time."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random  # noqa: TID251 -- Hypothesis hands one out, seeded
from typing import Any, NamedTuple

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.clock import now
from collector.connector import End, Ending, Record
from collector.pipeline.ahead import map_records
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.lists import Reading, listed
from collector.pipeline.mapping import CompiledMapping
from collector.settings.mapping import Mapping
from collector.store import ingest, streams
from tests.support.postgres import Database, emptied

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 8
CODES, FILLERS = "ABC", "WXYZ"
"""Those that come and go, and as many others that stay that no list ever loses more than half."""

MAPPINGS: dict[str, dict[str, Any]] = {
    "changes": {
        "key": "{code}/{at}",
        "occurred_at": {"value": "at", "timezone": "in value"},
    },
    "lists": {"key": "code", "snapshot": {"value": "at", "timezone": "in value"}},
    "rows": {
        "key": "{code}/{from}",
        "occurred_at": {"value": "at", "timezone": "in value"},
        "valid": {"from": "from", "until": "to", "timezone": "in value"},
    },
}
FLOW = {
    "flow": "centres",
    "title": "Centres",
    "anchor": "centre",
    "steps": [{"name": name, "system": name, "done_by": [f"centre.{name}"]} for name in MAPPINGS],
    "ends": {},
}

History = list[dict[str, str]]
"""What each code's value is, day by day; a code that is not there has none."""


class Batch(NamedTuple):
    """Records of one stream that are read together."""

    stream: str
    records: list[dict[str, str]]


def day(n: int) -> datetime:
    return START + timedelta(days=n)


histories = st.lists(
    st.dictionaries(st.sampled_from(CODES), st.sampled_from(["Sales", "Service"])),
    min_size=DAYS,
    max_size=DAYS,
)


def told(history: History) -> Iterator[Batch]:
    """Tell a history in the three ways."""
    before: dict[str, str] = {}
    for n, values in enumerate(history):
        at = day(n).isoformat()
        changed = [code for code in CODES if values.get(code) != before.get(code)]
        for code in changed:
            value = values.get(code, "deleted")
            yield Batch("changes", [{"code": code, "name": value, "at": at}])
        if changed or not n:
            rows = dict.fromkeys(FILLERS, "Filler") | values
            yield Batch("lists", [{"code": c, "name": v, "at": at} for c, v in rows.items()])
        before = values
    for code in CODES:
        for first, last, value in spans(history, code):
            until = "" if last == DAYS else day(last).isoformat()
            row = {"code": code, "name": value, "from": day(first).isoformat(), "to": until}
            yield Batch("rows", [row | {"at": START.isoformat()}])


def spans(history: History, code: str) -> Iterator[tuple[int, int, str]]:
    """List from which day until which a code has which value."""
    first = 0
    for n in range(1, DAYS + 1):
        value = history[first].get(code)
        if n == DAYS or history[n].get(code) != value:
            if value is not None:
                yield first, n, value
            first = n


def gone(history: History) -> list[tuple[str, int, int, int | None]]:
    """List deletions: code, the last list that has it, the first that lacks it, the next that has it."""
    lists = [n for n in range(DAYS) if not n or history[n] != history[n - 1]]
    found = []
    for code in CODES:
        has = [code in history[n] for n in lists]
        for i in range(1, len(lists)):
            if has[i - 1] and not has[i]:
                again = next(
                    (n for n, there in zip(lists[i:], has[i:], strict=True) if there), None
                )
                found.append((code, lists[i - 1], lists[i], again))
    return found


class Reader:
    """Reads one history into an empty store, and says what it has understood."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self.conn = conn

    async def read(self, batch: Batch) -> None:
        """Read a batch: every one is a part of its own."""
        name = batch.stream
        given = MAPPINGS[name] | {
            "document": {"type": "centre", "number": "code"},
            "attributes": {"name": "name"},
            "events": [{"rule": "told", "type": f"centre.{name}"}],
        }
        mapping = CompiledMapping(Mapping.model_validate(given), name, date(2000, 1, 1))
        records = [Record(n, row) for n, row in enumerate(batch.records, 1)]
        events, refused, _ = map_records(records, mapping, now())
        assert not refused
        reading = Reading()
        reading.add(listed(records, events, [], mapping))
        stream = await streams.register(self.conn, name, name, name)
        made = batch_of(ingest.BatchRow(0, stream, None, name, "m", None, None), events)
        made.whole = reading.end(End(Ending.INTACT), None) if mapping.snapshot else None
        await commit(self.conn, made, lambda _kind: 20, now)

    async def values(self) -> dict[str, History]:
        """Return each way's answer, as a history is written: of the middle of each day."""
        rows = await self.conn.fetch(
            "SELECT v.step, t.n, r.value AS code, v.value ->> 'name' AS name, v.rivals"
            " FROM unnest($1::timestamptz[]) WITH ORDINALITY t(at, n)"
            " CROSS JOIN LATERAL read.dimension_at('centres', t.at, 'infinity', 'infinity') v"
            " JOIN tieout.reference r ON r.document = v.document AND r.role = 0"
            " WHERE v.state = 'value'",
            [day(n) + timedelta(hours=12) for n in range(DAYS)],
        )
        found: dict[str, History] = {name: [{} for _ in range(DAYS)] for name in MAPPINGS}
        for row in rows:
            assert row["rivals"] is None
            if row["code"] in CODES and row["name"] != "deleted":
                found[row["step"]][row["n"] - 1][row["code"]] = row["name"]
        return found

    async def gone(self) -> list[tuple[str, int, int, int | None]]:
        """Return what is told as deleted, as `gone` does."""
        rows = await self.conn.fetch(
            "SELECT line, last_at, gone_at, again_at FROM tieout.unlisted(read.seq_at('infinity'), 'infinity')"
            " ORDER BY line, gone_at"
        )
        return [
            (line, _n(last), _n(first), again and _n(again)) for line, last, first, again in rows
        ]


def _n(instant: datetime) -> int:
    return (instant - START).days


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(database.dsn("tieout_app"))
    yield conn
    await conn.close()


EXAMPLES = settings(
    max_examples=6,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(history=histories, order=st.randoms(use_true_random=False))
@EXAMPLES
async def test_changes_lists_and_rows_in_any_order_say_the_same_at_any_time(
    database: Database, conn: asyncpg.Connection, history: History, order: Random
) -> None:
    await _hold(database, conn, history, order)


@pytest.mark.long
@given(history=histories, order=st.randoms(use_true_random=False))
@settings(EXAMPLES, max_examples=300, derandomize=False)
async def test_three_hundred_histories_say_the_same_at_any_time(
    database: Database, conn: asyncpg.Connection, history: History, order: Random
) -> None:
    await _hold(database, conn, history, order)


async def _hold(
    database: Database, conn: asyncpg.Connection, history: History, order: Random
) -> None:
    await emptied(database)
    await streams.publish(conn, "one", {"flows": [FLOW]}, now())
    reader, batches = Reader(conn), list(told(history))
    order.shuffle(batches)
    for batch in batches:
        await reader.read(batch)
    assert await reader.values() == dict.fromkeys(MAPPINGS, history)
    assert await reader.gone() == gone(history)
