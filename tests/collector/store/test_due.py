""" "n business days" and the rest, in SQL, against a plain stepping from day to day.

The letter: the close of business of the n-th business day of the entity after the basis day; after
the cut-off counts as the next day.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector import clock
from collector.model.due import due_at
from collector.pipeline.publish import hours, publish
from collector.settings.definitions import Calendar, Settings
from collector.settings.load import Configuration
from collector.store.ingest import Connection
from tests.support.postgres import Database

CALENDARS: dict[str, dict[str, Any]] = {
    "berlin": {"timezone": "Europe/Berlin", "holidays": ["2025-01-01", "2025-04-18", "2025-04-21", "2025-12-25", "2025-12-26", "2026-01-01"]},
    "new-york": {"timezone": "America/New_York", "opens": "09:00", "closes": "17:30", "holidays": ["2025-07-04", "2025-11-27"]},
    "tokyo": {"timezone": "Asia/Tokyo", "holidays": ["2026-01-01", "2026-01-02", "2026-01-12", "2026-02-11"]},
    "cairo": {"timezone": "Africa/Cairo", "week": ["sun", "mon", "tue", "wed", "thu"], "closes": "16:00"},
    "early": {"timezone": "Europe/Berlin", "week": ["sat", "sun"], "opens": "00:30", "closes": "03:30"},
    "always": {"timezone": "Australia/Lord_Howe", "week": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "opens": "00:00", "closes": "23:59:59"},
    "kathmandu": {"timezone": "Asia/Kathmandu", "week": ["wed"], "holidays": ["2025-06-04", "2025-06-11", "2025-06-18"]},
}  # fmt: skip
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Case = tuple[str, datetime, str]


class Plain:
    """A calendar, read again from its definition."""

    def __init__(self, definition: dict[str, Any]) -> None:
        self.zone = ZoneInfo(definition["timezone"])
        self.week = definition.get("week", WEEK[:5])
        self.opens = time.fromisoformat(definition.get("opens", "08:00"))
        self.closes = time.fromisoformat(definition.get("closes", "18:00"))
        self.holidays = {date.fromisoformat(day) for day in definition.get("holidays", [])}

    def is_open(self, day: date) -> bool:
        return WEEK[day.weekday()] in self.week and day not in self.holidays

    def at(self, day: date, clock_time: time) -> datetime:
        return datetime.combine(day, clock_time, self.zone).astimezone(UTC)

    def days_from(self, day: date) -> Iterator[date]:
        while True:
            if self.is_open(day):
                yield day
            day += timedelta(1)

    def business_days(self, basis: datetime, n: int) -> datetime:
        local = basis.astimezone(self.zone)
        day = local.date()
        if local.time() > self.closes:
            day += timedelta(1)
        following = self.days_from(day if n == 0 else day + timedelta(1))
        for _ in range(n - 1):
            next(following)
        return self.at(next(following), self.closes)

    def at_period_end(self, instant: datetime) -> bool:
        """Whether its business day is one of the last three of the month: counted from the month's end."""
        local = instant.astimezone(self.zone)
        day = next(self.days_from(local.date() + timedelta(local.time() > self.closes)))
        first = date(day.year + day.month // 12, day.month % 12 + 1, 1)
        month = [first - timedelta(n) for n in range(1, 32)]
        return day in [d for d in month if d.month == day.month and self.is_open(d)][:3]

    def business_hours(self, basis: datetime, n: int) -> datetime:
        left = timedelta(hours=n)
        days = self.days_from(basis.astimezone(self.zone).date() - timedelta(1))
        while True:
            day = next(days)
            start, end = max(self.at(day, self.opens), basis), self.at(day, self.closes)
            if end - start >= left:
                return start + left
            left -= max(end - start, timedelta())

    def due(self, basis: datetime, rule: str) -> datetime:
        number, unit = rule.rstrip("s").split(" ", 1)
        n = int(number)
        if unit == "business day":
            return self.business_days(basis, n)
        if unit == "business hour":
            return self.business_hours(basis, n)
        return basis + n * {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}[unit]  # fmt: skip


DAYS = st.sampled_from([f"{n} business day{'s' * (n != 1)}" for n in (0, 1, 2, 3, 5, 10, 30)])
HOURS = st.sampled_from(
    [f"{n} business hour{'s' * (n != 1)}" for n in (0, 1, 2, 3, 4, 8, 10, 40, 100)]
)
ELAPSED = st.sampled_from(["0 minutes", "90 minutes", "24 hours", "1 day", "30 days"])
RULES = DAYS | HOURS | ELAPSED
INSTANTS = st.datetimes(datetime(2025, 1, 2), datetime(2026, 3, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 -- the zone follows
    lambda t: t.replace(microsecond=0)
)


@st.composite
def near_an_edge(draw: st.DrawFn) -> tuple[str, datetime]:
    """An instant at, just before or just after opening, closing or midnight, by the local clock."""
    name = draw(st.sampled_from(sorted(CALENDARS)))
    plain = Plain(CALENDARS[name])
    changes = [date(2025, 3, 9), date(2025, 3, 30), date(2025, 4, 6), date(2025, 10, 5), date(2025, 10, 26), date(2025, 11, 2)]  # fmt: skip
    day = draw(st.sampled_from(changes) | st.dates(date(2025, 1, 2), date(2026, 3, 1)))
    day += timedelta(draw(st.integers(-3, 3)))
    edge = draw(st.sampled_from([plain.opens, plain.closes, time(0)]))
    off = draw(st.sampled_from([-3600, -1, 0, 1, 3600]))
    return name, plain.at(max(day, date(2025, 1, 3)), edge) + timedelta(seconds=off)


def cases() -> list[Case]:
    found: list[Case] = []

    @settings(max_examples=1500, database=None)
    @given(st.tuples(st.sampled_from(sorted(CALENDARS)), INSTANTS) | near_an_edge(), RULES)
    @example(("berlin", datetime(2026, 1, 30, 16, 2, tzinfo=UTC)), "1 business day")
    @example(
        ("early", datetime(2025, 1, 3, 2, 30, 1, tzinfo=UTC)), "2 business hours"
    )  # before its first day
    def collect(of: tuple[str, datetime], rule: str) -> None:
        found.append((*of, rule))

    collect()
    return found


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database.dsn("tieout_app"))
    document = {
        "tieout": 1,
        "limits": {"earliest": "2025-01-01"},
        "entities": {name: {"name": name, "calendar": name} for name in CALENDARS},
        "calendars": CALENDARS,
    }
    configuration = Configuration(Settings.model_validate(document), Path("tieout.yaml"), {})
    await publish(connection, configuration, clock.now)
    yield connection
    await connection.close()


DUE = """
SELECT read.due_at(entity, basis, rule, 'infinity')
FROM unnest($1::text[], $2::timestamptz[], $3::text[]) WITH ORDINALITY c(entity, basis, rule, n) ORDER BY n
"""


async def test_the_database_and_a_stepping_from_day_to_day_agree(conn: Connection) -> None:
    tried = cases()
    found = await conn.fetch(DUE, *map(list, zip(*tried, strict=True)))
    expected = [Plain(CALENDARS[name]).due(basis, rule) for name, basis, rule in tried]
    wrong = [
        (*case, row[0], right)
        for case, row, right in zip(tried, found, expected, strict=True)
        if row[0] != right
    ]
    assert wrong == []


AT_PERIOD_END = """
SELECT read.at_period_end(c.calendar, instant)
FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY x(entity, instant, n)
JOIN read.calendars('infinity') c USING (entity) ORDER BY n
"""


async def test_the_last_three_business_days_of_a_month_are_those_counted_from_its_end(
    conn: Connection,
) -> None:
    tried = [(name, basis) for name, basis, _ in cases()]
    found = await conn.fetch(AT_PERIOD_END, *map(list, zip(*tried, strict=True)))
    expected = [Plain(CALENDARS[name]).at_period_end(basis) for name, basis in tried]
    assert {True, False} == set(expected)
    assert [row[0] for row in found] == expected


LETTER = [
    # the example of the catalogue: Friday 17:02, by Monday 18:00
    ("2026-01-30T17:02:00+01:00", "1 business day", "2026-02-02T18:00:00+01:00"),
    ("2026-01-29T18:00:00+01:00", "1 business day", "2026-01-30T18:00:00+01:00"),
    # after the cut-off of Thursday counts as Friday
    ("2026-01-29T18:00:01+01:00", "1 business day", "2026-02-02T18:00:00+01:00"),
    # after the cut-off of Friday counts as Saturday: the first business day after is Monday
    ("2026-01-30T18:00:01+01:00", "1 business day", "2026-02-02T18:00:00+01:00"),
    ("2026-01-31T12:00:00+01:00", "1 business day", "2026-02-02T18:00:00+01:00"),
    # after the cut-off of Sunday counts as Monday
    ("2026-02-01T18:00:01+01:00", "1 business day", "2026-02-03T18:00:00+01:00"),
    ("2026-01-30T17:00:00+01:00", "4 business hours", "2026-02-02T11:00:00+01:00"),
    ("2026-01-30T14:00:00+01:00", "4 business hours", "2026-01-30T18:00:00+01:00"),
    ("2026-01-30T19:00:00+01:00", "0 business hours", "2026-02-02T08:00:00+01:00"),
    ("2026-01-30T07:00:00+01:00", "0 business hours", "2026-01-30T08:00:00+01:00"),
    ("2026-01-30T18:00:00+01:00", "0 business hours", "2026-01-30T18:00:00+01:00"),
    ("2025-10-24T18:00:00+02:00", "10 business hours", "2025-10-27T18:00:00+01:00"),
    ("2025-03-29T12:00:00+01:00", "1 day", "2025-03-30T13:00:00+02:00"),
]


def test_the_model_and_a_stepping_from_day_to_day_agree() -> None:
    known = {name: hours(Calendar.model_validate(given)) for name, given in CALENDARS.items()}
    for name, basis, rule in cases():
        expected = Plain(CALENDARS[name]).due(basis, rule)
        assert due_at(known[name], basis, rule) == expected, (name, basis, rule)


async def test_the_letter_is_kept(conn: Connection) -> None:
    found = await conn.fetch(
        DUE,
        ["berlin"] * len(LETTER),
        [datetime.fromisoformat(basis) for basis, _, _ in LETTER],
        [rule for _, rule, _ in LETTER],
    )
    for (basis, rule, due), row in zip(LETTER, found, strict=True):
        expected = datetime.fromisoformat(due)
        assert row[0] == expected, (basis, rule)
        assert Plain(CALENDARS["berlin"]).due(datetime.fromisoformat(basis), rule) == expected


async def test_without_a_calendar_or_beyond_its_end_there_is_no_due_time(conn: Connection) -> None:
    due = "SELECT read.due_at($1, $2, '1 business day', 'infinity')"
    basis = datetime(2026, 1, 30, tzinfo=UTC)
    assert await conn.fetchval(due, "nowhere", basis) is None
    assert await conn.fetchval(due, None, basis) is None
    assert await conn.fetchval(due, "berlin", datetime(2046, 1, 30, tzinfo=UTC)) is None
