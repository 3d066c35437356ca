"""Fixtures for every test. One embedded server serves the session and all of its workers."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from collector.store.embedded import Server
from tests.support.compiled import outdated
from tests.support.postgres import (
    Database,
    fresh_database,
    new_base,
    shared_server,
    temporary_base,
)

BASE = pytest.StashKey[Path]()

# How long an example takes says how busy the machine is.
settings.register_profile("tieout", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tieout")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test modules that were compiled before they were changed."""
    packages = [config.rootpath / name for name in ("collector", "connectors")]
    if changed := outdated(packages):
        pytest.exit(f"{changed[0]} changed after it was compiled: `make native`, or `make pure`", 4)


def _base(config: pytest.Config) -> Path:
    """Return the session's folder, made at first use; workers are told of it."""
    if BASE not in config.stash:
        told = getattr(config, "workerinput", {}).get("tieout_base")
        config.stash[BASE] = Path(told) if told else new_base()
    return config.stash[BASE]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 -- pytest-xdist ships no types
    """Tell pytest-xdist's worker where the shared server's data is."""
    node.workerinput["tieout_base"] = str(_base(node.config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder: after the last worker, and by whoever made it."""
    if BASE in config.stash and not hasattr(config, "workerinput"):
        shutil.rmtree(config.stash[BASE], ignore_errors=True)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Join the one embedded server of this session."""
    measures = any(item.get_closest_marker("bench") for item in request.session.items)
    with shared_server(_base(request.config), as_shipped=measures) as joined:
        yield joined


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    """Give a migrated database of the test's own: `database.dsn("tieout_app")`."""
    async with fresh_database(server) as fresh:
        yield fresh


@pytest.fixture
def base() -> Iterator[Path]:
    """Give a folder for data folders that a server started by root can enter."""
    with temporary_base() as folder:
        yield folder
