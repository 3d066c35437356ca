from collections.abc import Mapping
from pathlib import Path

import pytest

from api.demo import Truth, create
from tests.api.demo.outside import Case, Rules, read

SEED = 7


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("demo") / "lindenau"
    create(place, SEED)
    return place


@pytest.fixture(scope="session")
def truth(folder: Path) -> Truth:
    return create(folder, SEED)


@pytest.fixture(scope="session")
def cases(folder: Path) -> Mapping[str, Case]:
    return read(folder)


@pytest.fixture(scope="session")
def rules(folder: Path) -> Rules:
    return Rules(folder)
