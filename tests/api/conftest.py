from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.till import Served, open_application, served, write
from tests.support.postgres import Database
from tests.support.store import DatabaseStore


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> AsyncIterator[Served]:
    """Serve the till, all its files read."""
    application = await open_application(DatabaseStore(database), write(tmp_path))
    async with served(application) as answering:
        yield answering
