"""What is said as known at K, on any later day, is what was said at K.

Each step of a random history (events, later revisions of them, what joins and what is cut apart) is followed
by a look at everything: that is what a store says that stopped there. At the end all looks are taken
again, as known at the time of each.
"""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.clock import now
from collector.errors import Permanent
from collector.model.event import Event
from collector.model.reference import GROUP, IDENTITY, Name, content_id, digest
from collector.model.story import Story
from collector.pipeline import correlate
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.dump import dump
from collector.pipeline.link import Links
from collector.pipeline.rebuild import rebuild
from collector.pipeline.story import Stories
from collector.settings.definitions import Settings
from collector.store import ingest, streams
from tests.support.postgres import Database, emptied

HOLDERS_MAX, COMPONENT_MAX = 3, 4
START = datetime(2026, 1, 30, tzinfo=UTC)
HALF, WHOLE = START + timedelta(hours=40), START + timedelta(hours=200)
KEYS = [str(n) for n in range(9)]
"""Numbers of documents, values and runs."""

CLAIMS, JOURNALS, RUNS = range(4), range(4, 7), range(7, 9)
SETTINGS = Settings.model_validate(
    {
        "tieout": 1,
        "flows": [
            {
                "flow": "flow",
                "title": "Flow",
                "anchor": "claim",
                "anchors_many": True,
                "steps": [
                    {"name": "submitted", "system": "a", "done_by": ["claim.made"]},
                    {
                        "name": "posted",
                        "system": "b",
                        "after": "submitted",
                        "due": "1 day",
                        "done_by": ["journal.made"],
                        "undone_by": ["journal.ended"],
                    },
                    {
                        "name": "paid",
                        "system": "c",
                        "after": "posted",
                        "due": "2 days",
                        "done_by": ["run.made"],
                        "failed_by": ["run.ended"],
                        "via": ["run"],
                    },
                ],
                "ends": {"withdrawn": {"by": ["claim.ended"]}},
            }
        ],
    }
)


class Fact(NamedTuple):
    """An event: of a document that holds values and names a run; told as the so manieth version of itself."""

    document: int
    type: str
    hour: int
    values: frozenset[int]
    run: int
    amount: int
    version: int

    @property
    def name(self) -> Name:
        kind = (
            "claim"
            if self.document in CLAIMS
            else "journal"
            if self.document in JOURNALS
            else "run"
        )
        return Name(kind, "", str(self.document))


class Decision(NamedTuple):
    """A person decides something or takes that back; or all that is derived is computed anew."""

    action: str
    one: int
    other: int


fact = st.builds(
    Fact,
    st.integers(0, 8),
    st.sampled_from(["made", "ended"]),
    st.integers(0, 90),  # over the end of a month
    st.frozensets(st.integers(0, 4), max_size=2),
    st.sampled_from(RUNS),
    st.integers(-500, 500),
    st.integers(0, 2),
)
decision = st.builds(
    Decision,
    st.sampled_from(["add", "cut", "ignore", "undo", "rebuild"]),
    st.integers(0, 8),
    st.integers(0, 8),
)
history = st.lists(
    st.one_of(st.lists(fact, min_size=1, max_size=4), decision), min_size=2, max_size=10
)


NAMES = """
SELECT d.document_id, n.name_id, n.role, s.document IS NULL AS alone
FROM read.documents($1) d LEFT JOIN read.names($1) n ON n.document = d.document
LEFT JOIN read.suspended($1) s ON s.document = d.document ORDER BY 1, 2, 3
"""


def limit(_kind: str) -> int:
    return HOLDERS_MAX


def event(told: Fact) -> Event:
    at = START + timedelta(hours=told.hour)
    references = [(IDENTITY, Name("value", "", str(v))) for v in sorted(told.values)]
    if told.document in CLAIMS:
        references.append((GROUP, Name("run", "", str(told.run))))
    return Event(
        digest("event", str(told.document), told.type),
        digest("content", repr(told)),
        date(at.year, at.month, 1),
        1,
        at,
        f"{told.name.kind}.{told.type}",
        told.name,
        tuple(references),
        None,
        told.amount,
        "EUR",
        None,
        msgspec.json.encode({"document": told.name, "references": references}),
        None,
    )


class Store:
    """A store with a history, looked at after each of its steps."""

    def __init__(self, conn: asyncpg.Connection, stream: int) -> None:
        self._conn = conn
        self._stream = stream
        self.links = Links(conn, limit, now, "a person")
        self._stories = Stories(SETTINGS)

    async def live(self, step: list[Fact] | Decision) -> None:
        if isinstance(step, Decision):
            await self._decide(step)
            return
        row = ingest.BatchRow(0, self._stream, None, "part", "m", None, None, read=len(step))
        await commit(self._conn, batch_of(row, [event(f) for f in step]), limit, now)

    async def _decide(self, step: Decision) -> None:
        one, other = (content_id(Fact(n, "", 0, frozenset(), 0, 0, 0).name).hex() for n in step[1:])
        try:
            if step.action == "add":
                await self.links.add(one, other, "seen")
            elif step.action == "cut":
                await self.links.cut(one, other, "seen")
            elif step.action == "ignore":
                await self.links.ignore("value", str(step.other % 5), "a dummy")
            elif step.action == "rebuild":
                await rebuild(self._conn, limit, now)
            else:
                newest = await self._conn.fetchval("SELECT max(id) FROM tieout.link_standing")
                await self.links.undo(newest or 0, "mistaken")
        except Permanent:
            return

    async def last_known(self) -> datetime:
        known: datetime = await self._conn.fetchval(
            "SELECT max(recorded_at) FROM tieout.commit_log"
        )
        return known

    async def look(self, as_known: datetime | None = None) -> dict[str, Any]:
        """Return everything that is said, as known at a time or now."""
        said: dict[str, Any] = {"names": await self._conn.fetch(NAMES, as_known or now())}
        for as_of in (HALF, WHOLE):
            dumped = dump(self._conn, ["flow"], as_of, as_known or now())
            said[f"dump {as_of}"] = [line async for line in dumped]
            for key in KEYS:
                story = await self._stories.tell(self._conn, key, as_of, as_known)
                said[f"{key} {as_of}"] = _sorted(story)
        return said


def _sorted(story: Story) -> dict[str, Any]:
    """Leave the order of documents out: it is that in which rows are found."""
    told: dict[str, Any] = msgspec.to_builtins(story)
    for transaction in told["transactions"]:
        transaction["documents"].sort(key=itemgetter("id"))
    return told


@pytest.fixture
async def conn(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncpg.Connection]:
    monkeypatch.setattr(correlate, "COMPONENT_DOCUMENTS_MAX", COMPONENT_MAX)
    opened = await asyncpg.connect(database.dsn("tieout_app"))
    yield opened
    await opened.close()


EXAMPLES = settings(
    max_examples=10,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(steps=history)
@EXAMPLES
async def test_what_was_said_at_any_time_is_said_as_known_then_ever_after(
    database: Database, conn: asyncpg.Connection, steps: list[list[Fact] | Decision]
) -> None:
    await _hold(database, conn, steps)


@pytest.mark.long
@given(steps=history)
@settings(EXAMPLES, max_examples=500, derandomize=False)
async def test_what_was_said_in_five_hundred_histories_is_said_as_known_then_ever_after(
    database: Database, conn: asyncpg.Connection, steps: list[list[Fact] | Decision]
) -> None:
    await _hold(database, conn, steps)


async def _hold(
    database: Database, conn: asyncpg.Connection, steps: list[list[Fact] | Decision]
) -> None:
    await emptied(database)
    await streams.publish(conn, "hash", SETTINGS.model_dump(mode="json", by_alias=True), now())
    store = Store(conn, await streams.register(conn, "source", "stream", "space"))
    looks: dict[datetime, Any] = {}
    for step in steps:
        await store.live(step)
        looks[await store.last_known()] = await store.look()
    for as_known, looked in looks.items():
        assert await store.look(as_known) == looked
