"""Names by a part of them: the same as reading every name, whether their index has come so far or not."""

from datetime import UTC, datetime
from random import Random  # noqa: TID251 -- seeded below

import asyncpg
import msgspec

from collector.clock import now
from collector.model.reference import IDENTITY, Name
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.story import Stories
from collector.store import fragments, ingest, streams
from collector.store.stories import CANDIDATES_MAX
from tests.support.ledger import Item, Ledgers, limit
from tests.support.postgres import Database

ALL = 10_000
LATER = datetime(2100, 1, 1, tzinfo=UTC)


async def found(conn: asyncpg.Connection, fragment: str, seq: int | None = None) -> set[str]:
    rows = await fragments.find(conn, fragment, ALL, seq)
    return {row["value"] for row in rows}


async def test_a_fragment_finds_the_names_that_contain_it(database: Database) -> None:
    random = Random(11)  # noqa: S311 -- which names
    conn = await asyncpg.connect(database.dsn())
    ledgers = Ledgers(conn)
    names = [
        "".join(random.choices("abAB01é-_%\\' ", k=random.randrange(3, 9))) for _ in range(400)
    ]
    names += ["2026/000123", "2026/000124", "SO-48213", "x", "100%", "a_b", "a\\b"]
    for n in range(0, len(names), 40):
        told = names[n : n + 40]
        await ledgers.tell(*(Item("left", name, 0, "", value=name[::-1]) for name in told))
        if n < 300 and random.random() < 0.3:
            await fragments.extend(conn)
    every = {*names, *(name[::-1] for name in names)}
    asked = [name[a : a + random.randrange(1, 6)] for name in names for a in (0, 2)]
    asked = [*dict.fromkeys(asked), "%", "_", "\\", "'", "zz", "0001", "SO-4", "00%", "a_"]
    for fragment in filter(None, asked):
        wanted = {name for name in every if fragment.lower() in name.lower()}
        assert await found(conn, fragment) == wanted, fragment
    assert await fragments.extend(conn) < fragments.BATCHES
    for fragment in filter(None, asked):
        wanted = {name for name in every if fragment.lower() in name.lower()}
        assert await found(conn, fragment) == wanted, fragment
    assert await fragments.extend(conn) == 0
    count = await conn.fetchval("SELECT count(*) FROM tieout.searchable_name")
    assert count == len({(name.casefold(), name.lower()) for name in every})
    await conn.close()


async def test_a_name_that_was_not_known_yet_is_not_found(database: Database) -> None:
    conn = await asyncpg.connect(database.dsn())
    ledgers = Ledgers(conn)
    await ledgers.tell(Item("left", "INV-2026-1", 0, ""))
    then = await ingest.last_seq(conn)
    await ledgers.tell(Item("left", "INV-2026-2", 0, ""))
    for _ in range(2):
        assert await found(conn, "2026-", then) == {"INV-2026-1"}
        assert await found(conn, "2026-") == {"INV-2026-1", "INV-2026-2"}
        await fragments.extend(conn)
    await conn.close()


async def test_one_at_a_time_keeps_it_up(database: Database) -> None:
    conn, other = [await asyncpg.connect(database.dsn()) for _ in range(2)]
    await Ledgers(conn).tell(Item("left", "INV-1", 0, ""))
    async with other.transaction():
        await other.execute("SELECT upto FROM tieout.searchable FOR UPDATE")
        assert await fragments.extend(conn) == 0
    assert await fragments.extend(conn) == 1
    await conn.close()
    await other.close()


async def test_a_name_is_never_looked_for_by_its_trigrams(database: Database) -> None:
    """Whatever statistics make the planner believe: a batch of names that took this way took minutes."""
    conn, owner = [await asyncpg.connect(database.dsn(role)) for role in ("tieout_app", "postgres")]
    await owner.execute("DROP INDEX tieout.searchable_name_hash")
    for what in ("seqscan", "hashjoin", "mergejoin"):
        await conn.execute(f"SET enable_{what} = off")
    await Ledgers(conn).tell(*(Item("left", f"INV-{n}", 0, "") for n in range(100)))
    assert await fragments.extend(conn) == 1
    await conn.fetchval("SELECT pg_stat_force_next_flush()")
    await conn.close()
    scans = (
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'searchable_name_trigrams'"
    )
    assert await owner.fetchval(scans) == 0
    await owner.close()


async def test_a_fragment_of_too_many_names_gives_the_first_of_them(database: Database) -> None:
    conn = await asyncpg.connect(database.dsn())
    ledgers = Ledgers(conn)
    names = [f"INV-{n:05}" for n in range(fragments.NAMES_MAX + 200)]
    await ledgers.tell(*(Item("left", name, 0, "") for name in names))
    for _ in range(2):
        rows = await fragments.find(conn, "NV-0", ALL, None)
        assert len({row["value"] for row in rows}) == fragments.NAMES_MAX
        assert len(await fragments.find(conn, "NV-0", 7, None)) == 7
        await fragments.extend(conn)
    await conn.close()


async def test_a_transaction_whose_names_fill_the_list_is_not_taken_for_the_only_one(
    database: Database,
) -> None:
    conn = await asyncpg.connect(database.dsn())
    ledgers = Ledgers(conn)
    events = []
    for n in range(CANDIDATES_MAX + 4):  # a chain: each shares a name with the next
        names = [Name("chain", "", f"c{k}") for k in (n, n + 1)]
        event = ledgers.event(Item("left", f"F-{n:02}", 0, ""))
        events.append(
            msgspec.structs.replace(event, references=tuple((IDENTITY, name) for name in names))
        )
    events.append(ledgers.event(Item("left", "F-another", 0, "")))
    row = ingest.BatchRow(
        0, await streams.register(conn, "test", "test", "test"), None, "test", "m", None, None
    )
    await commit(conn, batch_of(row, events), limit, now)
    await fragments.extend(conn)
    stories = Stories(ledgers.configuration({}).settings)
    story = await stories.tell(conn, "F-", LATER)
    assert (story.transactions, len(story.candidates), story.has_more) == ([], CANDIDATES_MAX, True)
    (alone,) = (await stories.tell(conn, "F-a", LATER)).transactions
    assert [d.number for d in alone.documents] == ["F-another"]
    (whole,) = (await stories.tell(conn, "F-07", LATER)).transactions
    assert len(whole.documents) == CANDIDATES_MAX + 4
    await conn.close()
