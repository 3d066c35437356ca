from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from collector.store.embedded import Server
from tests.api.till import Served, open_application, served, write
from tests.support.postgres import Database, fresh_database
from tests.support.store import DatabaseStore


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> AsyncIterator[Served]:
    """Serve the till, all its files read."""
    application = await open_application(DatabaseStore(database), write(tmp_path))
    async with served(application) as answering:
        yield answering


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reading(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """Serve the till to all tests of a module, which must only ask."""
    async with fresh_database(server) as database:
        folder = tmp_path_factory.mktemp("till")
        application = await open_application(DatabaseStore(database), write(folder))
        async with served(application) as answering:
            yield answering
