"""The ledger's lines against sums that this test makes of the same events, and what falls into which window."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded
from typing import Any

import asyncpg
import msgspec
import pytest

from collector.clock import now
from collector.model.event import Event
from collector.model.reference import Name, digest
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.ledger import WHOLE, Ledger, Line, Window, ledgers
from collector.store import ingest, streams, totals
from collector.store.ingest import Connection
from tests.support.postgres import Database
from tests.support.store import DatabaseStore, at, collect

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(9999, 1, 1, tzinfo=UTC)
QUARTER = Window(date(2026, 1, 1), date(2026, 4, 1))
STREAM = "bank/lines"


def event(
    number: int, day: float, amount: int, currency: str = "EUR", entity: str = "DE10"
) -> Event:
    occurred_at = START + timedelta(days=day)
    return Event(
        event_id=digest("ledger", str(number)),
        revision=digest("content", str(number), str(amount)),
        month=date(2026, 1, 1),
        position=number,
        occurred_at=occurred_at,
        type="entry.booked",
        document=Name("entry", "", str(number)),
        references=(),
        sequence=None,
        amount_minor=amount,
        currency=currency,
        entity=entity,
        body=msgspec.json.encode({"document": ("entry", "", str(number))}),
        personal=None,
    )


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database.dsn("tieout_app"))
    yield connection
    await connection.close()


async def read(
    conn: Connection, part: str, events: list[Event], stated: dict[str, Any] | None = None
) -> None:
    stream = await streams.register(conn, "bank", "lines", STREAM)
    known = await streams.part(conn, stream, part, part)
    row = ingest.BatchRow(0, stream, known.id, part, "m", None, {"at": part})
    row.read, row.ending, row.stated = len(events), "intact", stated
    await commit(conn, batch_of(row, events), lambda _: 20, now, careful=True)


async def lines(conn: Connection, window: Window = QUARTER, known: datetime = LATER) -> Ledger:
    (found,) = await ledgers(conn, [STREAM], window, known)
    return found


async def test_days_and_their_months_hold_the_sums_of_their_events(conn: Connection) -> None:
    random = Random(5)  # noqa: S311 -- no secret
    events = [
        event(
            n, random.uniform(0, 89.9), random.randint(-9_999, 9_999), random.choice(["EUR", "JPY"])
        )
        for n in range(300)
    ]
    for part in range(3):
        await read(conn, f"part-{part}", events[part::3])
    counts: Counter[str] = Counter()
    amounts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    hashes: Counter[str] = Counter()
    for e in events:
        day = e.occurred_at.date().isoformat()
        for window in (day, day[:7], WHOLE):
            counts[window] += 1
            amounts[window][e.currency or ""] += e.amount_minor or 0
            hashes[window] += int.from_bytes(e.event_id)
    found = {line.window: line for line in (await lines(conn)).lines}
    assert {w: line.events for w, line in found.items()} == counts
    assert {w: dict(line.amounts) for w, line in found.items()} == amounts
    assert {w: line.hash_total for w, line in found.items()} == {
        w: total % 2**128 for w, total in hashes.items()
    }
    of_batches = (await totals.totals(conn, LATER))["bank", "lines"]
    assert str(found[WHOLE].hash_total) == of_batches.hash_total


async def test_an_event_that_was_corrected_counts_once_as_known_then_and_now(
    conn: Connection,
) -> None:
    await read(conn, "a", [event(1, 3, 100)])
    before = await totals.last_recorded(conn, START)
    await read(conn, "b", [event(1, 4, 250)])
    whole = (await lines(conn)).lines[-1]
    assert (whole.events, whole.amounts) == (1, {"EUR": 250})
    then = (await lines(conn, known=before)).lines[-1]
    assert (then.events, then.amounts) == (1, {"EUR": 100})


def says(count: int | None, **amounts: str) -> dict[str, Any]:
    return {"grade": "A", "what": "the trailer", "count": count, "amounts": amounts}


def missing(line: Line) -> tuple[int | None, dict[str, int] | None]:
    assert line.stated is not None
    amounts = line.stated.missing_amounts
    return line.stated.missing, None if amounts is None else dict(amounts)


async def test_what_is_stated_of_a_part_stands_in_each_window_that_holds_the_part(
    conn: Connection,
) -> None:
    await read(conn, "day", [event(1, 1, 100), event(2, 1.5, 100)], says(3, EUR="3.00"))
    await read(conn, "month", [event(3, 2, 100), event(4, 9, 100)], says(2, EUR="2.00"))
    await read(conn, "quarter", [event(5, 2, 100), event(6, 50, 100)], says(4))
    found = {line.window: line for line in (await lines(conn)).lines}
    stated = {w: missing(line) for w, line in found.items() if line.stated}
    assert stated == {
        "2026-01-02": (1, {"EUR": 100}),
        "2026-01": (1, {"EUR": 100}),
        WHOLE: (3, None),  # of the third part no amount is stated
    }
    january = Window(date(2026, 1, 1), date(2026, 2, 1))
    within = await lines(conn, january)
    assert (missing(within.lines[-1]), within.parts_beyond) == ((1, {"EUR": 100}), 1)


async def test_what_is_stated_of_several_entities_is_said_of_none_of_them(
    conn: Connection,
) -> None:
    both = [event(1, 1, 100), event(2, 1, 100, entity="JP10")]
    await read(conn, "both", both, says(2))
    await read(conn, "japan", [event(3, 1, 100, entity="JP10")], says(5))
    japan = await lines(conn, Window(QUARTER.start, QUARTER.end, "JP10"))
    (day, *_) = japan.lines
    assert (day.events, missing(day), japan.parts_beyond) == (2, (4, None), 1)


CONFIGURATION = """\
tieout: 1
sources:
  bank:
    connector: files
    system: bank
    streams:
      lines:
        read: {path: "*.csv", format: csv}
        mapping:
          key: id
          document: {type: entry, number: id}
          occurred_at: {value: day, timezone: UTC}
          events: [{rule: booked, type: entry.booked}]
      never:
        read: {path: "never/*.csv", format: csv}
        mapping:
          key: id
          document: {type: entry, number: id}
          occurred_at: {value: day, timezone: UTC}
          events: [{rule: booked, type: entry.booked}]
"""


async def test_what_was_not_read_stands_with_its_part_and_is_unknown_where_nothing_was_read(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "tieout.yaml").write_text(CONFIGURATION)
    (tmp_path / "day.csv").write_text("id,day\n1,2026-01-05\n2,5.1.26\n")
    (tmp_path / "unknown.csv").write_text("id,day\n3,yesterday\n,2026-01-06\n")
    store = DatabaseStore(database)
    await collect(store, tmp_path / "tieout.yaml", at(datetime(2026, 2, 1, tzinfo=UTC)))
    async with store.connect() as conn:
        read_ones, never = await ledgers(conn, [STREAM, "bank/never"], QUARTER, LATER)
    found = {line.window: (line.events, sum(line.quarantined.values())) for line in read_ones.lines}
    assert found == {"2026-01-05": (1, 1), "2026-01": (1, 1), WHOLE: (1, 3)}
    assert read_ones.lines[-1].quarantined["NO_KEY"] == 1
    assert read_ones.lines[-1].unread == 0
    assert [(line.window, line.unread) for line in never.lines] == [(WHOLE, None)]
