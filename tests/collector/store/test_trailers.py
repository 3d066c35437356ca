"""What a source states of a part is held against what was read of it last, in records and in amounts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import msgspec
import pytest

from collector.clock import now
from collector.model.event import Event
from collector.model.reference import Name, digest
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.completeness import coverage
from collector.store import ingest, streams, totals
from collector.store.ingest import Connection
from collector.store.trailers import Trailers
from tests.support.postgres import Database

AT = datetime(2026, 1, 5, tzinfo=UTC)
LATER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass
class Chunk:
    """One batch of a part: entry numbers (EUR 1.00 each), how many are passed over, what is stated."""

    part: str
    entries: range
    ignored: int = 0
    end: str | None = "intact"
    stated: dict[str, Any] | None = field(default=None)


def says(count: int | None, grade: str = "A", **amounts: str) -> dict[str, Any]:
    return {"grade": grade, "what": "the trailer", "count": count, "amounts": amounts}


def event(number: int) -> Event:
    return Event(
        event_id=digest("trailer", str(number)),
        revision=digest("content", str(number)),
        month=date(2026, 1, 1),
        position=number,
        occurred_at=AT,
        type="entry.booked",
        document=Name("entry", "", str(number)),
        references=(),
        sequence=None,
        amount_minor=100,
        currency="EUR",
        entity=None,
        body=msgspec.json.encode({"document": ("entry", "", str(number))}),
        personal=None,
    )


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database.dsn("tieout_app"))
    yield connection
    await connection.close()


async def read(
    conn: Connection, chunks: list[Chunk]
) -> tuple[Trailers, str, list[tuple[str, Any]]]:
    """Commit the chunks; return the trailers, the grade and the gaps of the stream."""
    stream = await streams.register(conn, "bank", "lines", "bank/lines")
    for chunk in chunks:
        part = await streams.part(conn, stream, chunk.part, chunk.part)
        events = [event(n) for n in chunk.entries]
        row = ingest.BatchRow(0, stream, part.id, chunk.part, "m", None, {"at": chunk.part})
        row.read, row.ignored = len(events) + chunk.ignored, chunk.ignored
        row.ending, row.stated = chunk.end, chunk.stated
        await commit(conn, batch_of(row, events), lambda _: 20, now, careful=True)
    known = (await totals.totals(conn, LATER))["bank", "lines"]
    complete = {"covers": [AT.isoformat(), LATER.isoformat()], "records": None, "by": "Treasury"}
    configuration = {"sources": {"bank": {"streams": {"lines": {"complete": complete}}}}}
    of = coverage(configuration, {("bank", "lines"): known})["bank", "lines"]
    return known.trailers, of.grade, [(gap.what, gap.records) for gap in of.gaps]


TABLE = {
    "agrees": ([Chunk("a", range(3), stated=says(3))], "A", []),
    "the weakest of its parts": (
        [Chunk("a", range(3), stated=says(3)), Chunk("b", range(3, 5), stated=says(2, "B"))],
        "B",
        [],
    ),
    "one part states nothing": (
        [Chunk("a", range(3), stated=says(3)), Chunk("b", range(3, 5))],
        "C",
        [],
    ),
    "too few": ([Chunk("a", range(3), stated=says(5))], "C", [("DIFFERS", 2)]),
    "too many": ([Chunk("a", range(3), stated=says(2))], "C", [("DIFFERS", 1)]),
    "over several chunks": (
        [Chunk("a", range(2), end=None), Chunk("a", range(2, 5), stated=says(5))],
        "A",
        [],
    ),
    "what the mapping passes over was read": (
        [Chunk("a", range(2), ignored=3, stated=says(5))],
        "A",
        [],
    ),
    "read again, known already": (
        [Chunk("a", range(3), stated=says(3)), Chunk("a", range(4), stated=says(4))],
        "A",
        [],
    ),
    "cut off first, whole then": (
        [Chunk("a", range(2), end="intact"), Chunk("a", range(5), stated=says(5))],
        "A",
        [],
    ),
    "a reading under way counts later": (
        [Chunk("a", range(3), stated=says(3)), Chunk("a", range(3, 4), end=None)],
        "A",
        [],
    ),
    "stated amidst is not of the part": (
        [Chunk("a", range(3), end=None, stated=says(9)), Chunk("a", range(3, 4))],
        "C",
        [],
    ),
    "the amount agrees": ([Chunk("a", range(3), stated=says(None, EUR="3.00"))], "A", []),
    "the amount differs": (
        [Chunk("a", range(3), stated=says(3, EUR="3.50"))],
        "C",
        [("DIFFERS", None)],
    ),
    "another currency is missing whole": (
        [Chunk("a", range(3), stated=says(3, EUR="3.00", JPY="7"))],
        "C",
        [("DIFFERS", None)],
    ),
    "an amount of records that were known is not held against it": (
        [Chunk("b", range(1)), Chunk("a", range(3), stated=says(3, EUR="3.00"))],
        "C",  # for b states nothing
        [],
    ),
    "no amount": ([Chunk("a", range(3), stated=says(None, EUR="three"))], "C", []),
}


@pytest.mark.parametrize(("chunks", "grade", "gaps"), TABLE.values(), ids=TABLE)
async def test_the_sources_totals_prove_or_disprove_that_all_was_read(
    conn: Connection, chunks: list[Chunk], grade: str, gaps: list[tuple[str, int | None]]
) -> None:
    _, found, differing = await read(conn, chunks)
    assert (found, differing) == (grade, gaps)


async def test_a_difference_is_signed_and_names_the_part_and_what_states_it(
    conn: Connection,
) -> None:
    chunks = [
        Chunk("a.xml", range(3), stated=says(5)),
        Chunk("b.xml", range(3, 4), stated=says(1, EUR="3.50")),
    ]
    trailers, _, _ = await read(conn, chunks)
    assert (trailers.parts, trailers.records) == (2, 6)
    assert [part.difference for part in trailers.differing] == [
        "a.xml states 5 records (the trailer), and 3 were read: 2 fewer.",
        "b.xml states EUR 3.50 (the trailer), and EUR 1.00 came in: a difference of EUR -2.50.",
    ]


async def test_as_known_before_a_reading_its_trailer_is_not_known(conn: Connection) -> None:
    await read(conn, [Chunk("a", range(3), stated=says(3))])
    between = await totals.last_recorded(conn, AT)
    await read(conn, [Chunk("a", range(4), stated=says(9))])
    known = (await totals.totals(conn, between))["bank", "lines"].trailers
    assert (known.parts, known.grade, known.records) == (1, "A", 3)
