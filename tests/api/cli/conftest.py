from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.store.embedded import running
from tests.api.cli.desk import Desk, same_signals
from tests.support.postgres import Database, temporary_base


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    with same_signals():
        yield


@pytest.fixture
def desk(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Give what `tieout init` writes, over a database of the test's own, nothing read yet."""
    monkeypatch.setenv("TIEOUT_TEST_DSN", database.server.dsn("postgres", database.name))
    return Desk(tmp_path).start()


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """Give a data folder whose embedded server is up for as long as the module runs."""
    with temporary_base() as folder, running(folder / "data") as server:
        yield server.data_dir


@pytest.fixture
def embedded(data_dir: Path, tmp_path: Path) -> Desk:
    """Give what `tieout init` writes, over the module's embedded server."""
    return Desk(tmp_path / "embedded", data_dir).start()
