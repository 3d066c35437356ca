"""What a released version wrote becomes a store of today, with its data."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio

from collector.pipeline.dump import dump
from collector.store.backup import restore
from collector.store.embedded import Server
from collector.store.migrate import migrations
from collector.store.programs import incoming, program
from tests.support.postgres import Database, empty_database
from tests.support.store import DatabaseStore

WRITTEN = sorted((Path(__file__).parent / "upgrade").glob("*.backup"))
LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest_asyncio.fixture
async def empty(server: Server) -> AsyncIterator[Database]:
    async with empty_database(server) as database:
        yield database


def test_there_is_a_store_of_a_released_version() -> None:
    assert WRITTEN


async def schema(database: Database) -> bytes:
    """Return the schema as SQL, without the months that there are data of."""
    options = ("--schema-only", "--exclude-table=tieout.event_*", "--restrict-key=none")
    async with program("pg_dump", *options, dsn=database.dsn("tieout_owner")) as dumping:
        return await incoming(dumping).read()


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
async def test_a_store_of_an_older_version_is_migrated_with_its_data(
    file: Path, empty: Database, database: Database
) -> None:
    store = DatabaseStore(empty)
    loaded = await restore(store, file, lambda _: None)
    assert loaded.backup.migrations + loaded.applied == [name for name, _ in migrations()]
    assert await schema(empty) == await schema(database), (
        "before the first release: run `make upgrade-fixture`"
    )
    async with store.connect() as conn:
        found = [line async for line in dump(conn, [], None, LATER)]
        assert b"\n".join(found) + b"\n" == file.with_suffix(".jsonl").read_bytes()
        runs = await conn.fetch(
            "SELECT r.verdict, c.hash, c.body FROM tieout.control_run r"
            " JOIN tieout.coverage_certificate c ON c.hash = r.certificate"
        )
    assert len(runs) == 2
    assert all(sha256(run["body"].encode()).hexdigest() == run["hash"] for run in runs)
