"""What SQL says of a population, Python says of each case: the two are held together over random events."""

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collector.clock import now
from collector.model.calendar import Hours, business_days
from collector.model.event import Event
from collector.model.reference import GROUP, IDENTITY, Name, content_id, digest
from collector.model.step import Group, Happening
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.steps import FlowSteps
from collector.settings.definitions import Flow
from collector.store import ingest, streams
from tests.support.postgres import Database

START = datetime(2026, 1, 28, 6, tzinfo=UTC)
HOURS = Hours(
    ZoneInfo("Europe/Berlin"),
    frozenset({"mon", "tue", "wed", "thu", "fri"}),
    time(8),
    time(18),
    frozenset(),
)
FLOW = Flow.model_validate(
    {
        "flow": "flow",
        "title": "Flow",
        "anchor": "report",
        "steps": [
            {
                "name": "submitted",
                "system": "a",
                "done_by": ["report.submitted"],
                "undone_by": ["report.withdrawn"],
            },
            {
                "name": "approved",
                "system": "a",
                "after": "submitted",
                "due": "2 business days",
                "waits_for": "boss",
                "done_by": ["report.approved"],
                "undone_by": ["report.submitted", "report.rejected"],
            },
            {
                "name": "posted",
                "system": "b",
                "after": "approved",
                "due": "4 business hours",
                "done_by": ["journal.posted"],
                "undone_by": ["journal.reversed"],
                "failed_by": ["journal.refused"],
                "skip_when": ["report.free"],
            },
            {
                "name": "paid",
                "system": "c",
                "after": "approved",
                "due": "3 days",
                "done_by": ["journal.paid", "run.booked"],
                "undone_by": ["journal.returned", "run.returned"],
                "failed_by": ["run.refused"],
                "skip_when": ["run.free"],
                "via": ["run"],
            },
            {
                "name": "told",
                "system": "c",
                "after": "paid",
                "due": "1 day",
                "done_by": ["run.booked"],
            },
        ],
        "ends": {
            "rejected": {"by": ["report.rejected"], "until": ["report.submitted"]},
            "withdrawn": {"by": ["report.withdrawn"], "until": ["report.submitted"]},
        },
    }
)
COMPILED = FlowSteps(FLOW, lambda _entity: HOURS)
REPORT = ["submitted", "approved", "rejected", "withdrawn", "free"]
JOURNAL = ["posted", "reversed", "refused", "paid", "returned"]
RUN = ["booked", "returned", "refused", "free"]


class Fact(NamedTuple):
    """An event of a case: about its report (document 0, 1), a journal (2, 3) or a payment run (4, 5).

    Runs are no one's: documents of every case may name them, in `runs`.
    """

    case: int
    document: int
    verb: str
    hour: int
    sequence: int | None
    amount: int | None
    currency: str
    runs: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        return ("report", "report", "journal", "journal", "run", "run")[self.document]


def _facts() -> st.SearchStrategy[list[Fact]]:
    what = st.one_of(
        st.tuples(st.sampled_from([0, 0, 0, 1]), st.sampled_from(REPORT)),
        st.tuples(st.sampled_from([2, 3]), st.sampled_from(JOURNAL)),
        st.tuples(st.sampled_from([4, 5]), st.sampled_from(RUN)),
    )
    one = st.tuples(
        st.integers(0, 2),
        what,
        st.integers(0, 200),
        st.one_of(st.none(), st.integers(0, 3)),
        st.one_of(st.none(), st.integers(-300, 300)),
        st.sampled_from(["EUR", "EUR", "JPY"]),
        st.sampled_from([(), (), (4,), (5,), (4, 5)]),
    ).map(lambda t: Fact(t[0], t[1][0], t[1][1], *t[2:]))
    return st.lists(one, min_size=1, max_size=16, unique=True)


def name(world: str, fact: Fact) -> Name:
    if fact.kind == "run":
        return run(world, fact.document)
    return Name(fact.kind, world, f"{fact.case}-{fact.document}")


def run(world: str, number: int) -> Name:
    return Name("run", world, f"R{number}")


def event(world: str, fact: Fact) -> Event:
    document = name(world, fact)
    references: tuple[tuple[int, Name], ...] = ()
    if fact.kind != "run":
        references = (
            (IDENTITY, Name("case", world, str(fact.case))),
            *((GROUP, run(world, number)) for number in fact.runs),
        )
    at = START + timedelta(hours=fact.hour)
    return Event(
        digest("steps", world, repr(fact)),
        digest("content", repr(fact)),
        date(at.year, at.month, 1),
        1,
        at,
        f"{fact.kind}.{fact.verb}",
        document,
        references,
        fact.sequence,
        fact.amount,
        fact.currency if fact.amount is not None else None,
        "HQ",
        msgspec.json.encode(
            {"document": document, "references": references, "message": f"at {fact.hour}"}
        ),
        None,
    )


def happening(world: str, fact: Fact, member: Fact | None = None) -> Happening:
    """Give a fact as an event of its own document, or as one that is lent to a member of the run."""
    made = event(world, fact)
    of = member or fact
    return Happening(
        of.document,
        of.kind,
        made.type,
        made.occurred_at,
        made.sequence,
        made.event_id,
        made.amount_minor,
        made.currency,
        made.entity,
        f"at {fact.hour}",
        Group(fact.document, fact.kind) if member else None,
    )


def happenings(world: str, facts: list[Fact], case: int) -> list[Happening]:
    """List what a case sees: its own events, and those of the runs that its documents name."""
    own = [f for f in facts if f.case == case and f.kind != "run"]
    members = {(f.document, number): f for f in own for number in f.runs}
    lent = [
        happening(world, fact, member)
        for (_, number), member in members.items()
        for fact in facts
        if fact.document == number
    ]
    return [happening(world, f) for f in own] + lent


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.dsn("tieout_app"))
    days = list(business_days(HOURS, date(2025, 12, 1), date(2026, 6, 30)))
    await streams.add_business_days(connection, "days", days)
    document = {
        "flows": [FLOW.model_dump(mode="json")],
        "entities": {"HQ": {"calendar": "c"}},
        "calendars": {"c": {"timezone": "Europe/Berlin", "closes": "18:00:00", "days": "days"}},
    }
    await streams.publish(connection, "hash", document, now())
    yield connection
    await connection.close()


worlds = itertools.count()


@given(facts=_facts(), hour=st.integers(0, 260))
@example(  # two documents were paid by one run at one instant, and that came back
    facts=[
        Fact(0, 4, "booked", 33, 0, None, "EUR"),
        Fact(0, 4, "returned", 96, 1, None, "EUR"),
        Fact(0, 0, "approved", 3, 0, 61, "JPY"),
        Fact(0, 2, "posted", 8, None, -111, "EUR", (4,)),
        Fact(0, 3, "posted", 8, None, 253, "JPY", (4,)),
    ],
    hour=200,
)
@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_sql_and_python_say_the_same_of_every_step(
    conn: asyncpg.Connection, facts: list[Fact], hour: int
) -> None:
    world = str(next(worlds))
    stream = await streams.register(conn, "test", "test", "test")
    events = [event(world, f) for f in facts]
    row = ingest.BatchRow(0, stream, None, "test", "m", None, None, read=len(events))
    await commit(conn, batch_of(row, events), lambda _kind: 20, now)
    as_of = START + timedelta(hours=hour)
    documents = [_id(world, f) for f in facts if f.document < 2]

    found = await conn.fetch(
        "SELECT * FROM read.steps('flow', $1, 'infinity') s WHERE s.document_id = ANY($2)",
        as_of,
        documents,
    )
    told = {
        (r["document_id"].bytes, r["step"]): (
            r["state"],
            r["status"],
            r["basis_at"],
            r["due_at"],
            r["done_at"],
            r["failed_at"],
            r["failed_message"],
            r["amount_minor"],
            r["currency"],
        )
        for r in found
    }
    expected = {
        (content_id(Name("report", world, f"{case}-{c.anchor}")), s.name): (
            c.state,
            s.status,
            s.basis_at,
            s.due_at,
            s.done_at,
            s.failed_at,
            s.message,
            s.amount_minor,
            s.currency,
        )
        for case in {f.case for f in facts}
        for c in COMPILED.cases(happenings(world, facts, case), as_of)
        for s in c.steps
    }
    assert told == expected
    for asked in (["paid"], ["approved", "posted"]):
        some = await conn.fetch(
            "SELECT * FROM read.steps('flow', $1, 'infinity', p_steps => $3) s WHERE s.document_id = ANY($2)",
            as_of,
            documents,
            asked,
        )
        assert sorted(map(tuple, some), key=repr) == sorted(
            (tuple(r) for r in found if r["step"] in asked), key=repr
        )


PAID: list[tuple[list[tuple[int | None, str]], tuple[int | None, str | None]]] = [
    # payments of a claim of EUR 10.00; the amount and currency of the step `paid`
    ([], (1000, "EUR")),
    ([(400, "EUR")], (400, "EUR")),
    ([(400, "EUR"), (600, "EUR")], (1000, "EUR")),
    ([(900, "JPY")], (900, "JPY")),
    ([(None, "EUR")], (1000, "EUR")),
    ([(400, "EUR"), (900, "JPY")], (None, None)),
    ([(400, "EUR"), (0, "JPY")], (None, None)),
    ([(400, "EUR"), (None, "JPY")], (400, "EUR")),
]


async def test_a_step_done_in_several_currencies_has_no_amount(conn: asyncpg.Connection) -> None:
    for payments, expected in PAID:
        world = str(next(worlds))
        facts = [Fact(0, 0, "submitted", 1, None, 1000, "EUR")]
        facts += [Fact(0, 2 + n, "paid", 5, None, *money) for n, money in enumerate(payments)]
        stream = await streams.register(conn, "test", "test", "test")
        events = [event(world, f) for f in facts]
        row = ingest.BatchRow(0, stream, None, "test", "m", None, None, read=len(events))
        await commit(conn, batch_of(row, events), lambda _kind: 20, now)
        found = await conn.fetchrow(
            "SELECT amount_minor, currency FROM read.steps('flow', $1, 'infinity')"
            " WHERE document_id = $2 AND step = 'paid'",
            START + timedelta(hours=10),
            _id(world, facts[0]),
        )
        assert tuple(found) == expected, payments
        (case,) = COMPILED.cases([happening(world, f) for f in facts], START + timedelta(hours=10))
        assert (case.steps[3].amount_minor, case.steps[3].currency) == expected, payments


def _id(world: str, fact: Fact) -> UUID:
    return UUID(bytes=content_id(Name("report", world, f"{fact.case}-{fact.document}")))
