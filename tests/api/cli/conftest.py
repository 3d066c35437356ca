from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from collector.store.embedded import Server
from tests.api.cli.desk import Desk, same_signals
from tests.support.postgres import Database, fresh_database


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    with same_signals():
        yield


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    """Give what `tieout init` writes, over a database of the test's own, nothing read yet."""
    return Desk(tmp_path).start().over(database.server.dsn("postgres", database.name))


@pytest.fixture
async def second_desk(server: Server, tmp_path: Path) -> AsyncIterator[Desk]:
    """Give another one, over a database of its own."""
    async with fresh_database(server) as database:
        dsn = database.server.dsn("postgres", database.name)
        yield Desk(tmp_path / "second").start().over(dsn)
