"""One database for the tests of a module, in one event loop: each begins by emptying it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from collector.store.embedded import Server
from tests.support.postgres import Database, emptied, fresh_database


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(server: Server) -> AsyncIterator[Database]:
    async with fresh_database(server) as fresh:
        yield fresh


@pytest_asyncio.fixture(loop_scope="module")
async def database(shared: Database) -> Database:
    return await emptied(shared)
