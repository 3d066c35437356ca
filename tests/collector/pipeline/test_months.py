"""Documents whose events lie years apart: steps, and what a look-up by key finds, against sets written for this test."""

import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.clock import now
from collector.model.event import Event
from collector.model.reference import CONTEXT, Name, digest
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.dump import dump
from collector.pipeline.rebuild import rebuild
from collector.store import folds, ingest, rows, stories, streams
from tests.support.paths import assert_paths
from tests.support.postgres import Database

MONTHS = 96  # five years and three: some share their bit


class Fact(NamedTuple):
    """One revision of an event: which event, of a document and a type, in a month, and its amount."""

    key: int
    document: int
    type: str
    month: int
    amount: int


@st.composite
def facts(draw: st.DrawFn) -> list[Fact]:
    """Draw events, each of one document and type, some told again in another month with another amount."""
    told: list[Fact] = []
    for key in range(draw(st.integers(1, 8))):
        document, type_ = draw(st.integers(0, 1)), draw(st.sampled_from(["made", "paid"]))
        months = draw(st.sets(st.integers(0, MONTHS - 1), min_size=1, max_size=3))
        told += [Fact(key, document, type_, month, 10 * key + month) for month in months]
    return draw(st.permutations(told))


def event(world: str, fact: Fact) -> Event:
    """Make the event of a fact; no two are of the same instant."""
    month = date(2018 + fact.month // 12, fact.month % 12 + 1, 1)
    at = datetime(month.year, month.month, 2, tzinfo=UTC) + timedelta(hours=fact.key)
    document, references = (
        Name("doc", "", f"{world}-{fact.document}"),
        ((CONTEXT, Name("world", "", world)),),
    )
    return Event(
        digest("test", world, str(fact.key)), digest("content", repr(fact)), month, 1, at, f"doc.{fact.type}",
        document, references, None, fact.amount, "EUR", None,
        msgspec.json.encode({"document": document, "references": references}), None,
    )  # fmt: skip


def oracle(world: str, told: list[Fact]) -> dict[tuple[str, str], tuple[int, int]]:
    """Per document and type: how many events, and the amount of the last; of each event the last revision counts."""
    steps: dict[tuple[str, str], dict[int, Fact]] = defaultdict(dict)
    for fact in sorted(told, key=lambda f: (f.month, f.key)):
        of_step = steps[f"{world}-{fact.document}", f"doc.{fact.type}"]
        of_step.pop(fact.key, None)
        of_step[fact.key] = fact
    return {
        step: (len(events), next(reversed(events.values())).amount)
        for step, events in steps.items()
    }


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(database.dsn("tieout_app"))
    yield conn
    await conn.close()


worlds = itertools.count()


async def write(conn: asyncpg.Connection, events: list[Event]) -> None:
    stream = await streams.register(conn, "test", "test", "test")
    row = ingest.BatchRow(0, stream, None, "test", "m", None, None, read=len(events))
    await commit(conn, batch_of(row, events), lambda _kind: 20, now)


@given(data=st.data(), told=facts())
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_steps_and_stories_over_years(
    conn: asyncpg.Connection, data: st.DataObject, told: list[Fact]
) -> None:
    world = f"W{next(worlds):04d}"
    events = [event(world, fact) for fact in told]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=5)))
    for a, b in itertools.pairwise([0, *cuts, len(events)]):
        await write(conn, events[a:b])

    found = await conn.fetch(
        "SELECT r.value, s.type, s.n, s.amount_minor FROM tieout.step s"
        " JOIN tieout.reference r ON r.document = s.document AND r.role = 0 AND r.value LIKE $1 || '-%'",
        world,
    )
    assert {(r[0], r[1]): (r[2], r[3]) for r in found} == oracle(world, told)
    await assert_paths(conn)
    for document in {fact.document for fact in told}:
        key = f"{world}-{document}"
        rows_found = await stories.events_by_key(conn, key, None)
        wanted = [(e.event_id, e.amount_minor) for e in events if e.document.value == key]
        assert sorted((r.event_id.bytes, r.amount_minor) for r in rows_found) == sorted(wanted)
        assert await stories.events_by_key(conn, key, await ingest.last_seq(conn)) == rows_found


async def test_a_rebuild_changes_nothing_of_documents_over_years(conn: asyncpg.Connection) -> None:
    told = [Fact(key, key % 2, "made", month, key) for key, month in enumerate((0, 70, 3, 60, 95, 8, 0))]  # fmt: skip
    for fact in [*told, Fact(1, 1, "made", 10, 5)]:
        await write(conn, [event("years", fact)])
    before = [line async for line in dump(conn, [], None, now())]
    await rebuild(conn, lambda _kind: 20, now)
    assert [line async for line in dump(conn, [], None, now())] == before
    await assert_paths(conn)


async def test_an_event_that_no_step_has_seen_is_added_without_reading_what_was_before(
    conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    recomputed: set[tuple[int, str]] = set()
    recompute = folds.recompute_steps

    async def noted(conn: asyncpg.Connection, touched: set[tuple[int, str]]) -> None:
        recomputed.update(touched)
        await recompute(conn, touched)

    monkeypatch.setattr(folds, "recompute_steps", noted)
    bits: dict[int, int] = {}
    for key in range(40):  # keys of different bits
        bits.setdefault(event("seen", Fact(key, 0, "made", 0, 0)).event_id[-1] % 63, key)
    first, second, third, *_ = bits.values()
    await write(conn, [event("seen", Fact(first, 0, "made", 0, 1))])
    await write(conn, [event("seen", Fact(second, 0, "made", 30, 2))])
    await write(conn, [event("seen", Fact(third, 0, "made", 90, 3))])
    assert not recomputed
    await write(conn, [event("seen", Fact(second, 0, "made", 40, 4))])
    assert {type_ for _, type_ in recomputed} == {"doc.made"}
    assert await conn.fetchval("SELECT n FROM tieout.step") == 3


async def test_bits_are_those_of_the_schema(conn: asyncpg.Connection) -> None:
    months = [date(year, month, 1) for year in range(1999, 2031) for month in range(1, 13)]
    found = await conn.fetch(
        "SELECT m.month, (SELECT array_agg(o) FROM tieout.months_of(make_date(m.year, 1, 1), make_date(m.year + 4, 12, 1), m.bits) o)"
        " FROM unnest($1::date[], $2::int[], $3::bigint[]) m(month, year, bits)",
        months,
        [month.year - 2 for month in months],
        [rows.span(month).months for month in months],
    )
    assert [(month, [month]) for month in months] == [(row[0], row[1]) for row in found]
    ids = [bytes(15) + bytes([n]) for n in range(256)]
    found = await conn.fetch(
        "SELECT id, tieout.event_bit(id) FROM unnest($1::uuid[]) id", [UUID(bytes=i) for i in ids]
    )
    assert {row[0].bytes: row[1] for row in found} == {i: rows.EVENT_BITS[i[-1]] for i in ids}
