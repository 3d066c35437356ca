"""The wheel holds what the program needs and no more, and installs a `tieout` that works."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"api", "collector", "connectors", "control_checks", "dashboards"}
DATA = {".sql", ".yaml", ".json", ".jsonl"}
"""Endings of the files that a package reads beside its modules."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 -- our own
    (built,) = folder.glob("tieout-*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def tieout(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone in an empty environment; its dependencies are lent by this one."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=False)
    python = folder / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run(  # noqa: S603 -- our own program
        [*install, "--no-deps", "--no-index", "--disable-pip-version-check", wheel],
        check=True,
        capture_output=True,
    )
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (site / "lent.pth").write_text(f"{lent(folder.parent)}\n")
    return folder / "bin/tieout"


def lent(folder: Path) -> Path:
    """Make a folder of links to what is installed here, ours left out."""
    shelf = folder / "lent"
    shelf.mkdir(exist_ok=True)
    for found in Path(sysconfig.get_path("purelib")).iterdir():
        link = shelf / found.name
        if "tieout" not in found.name.lower() and found.suffix != ".pth" and not link.exists():
            link.symlink_to(found)
    return shelf


def run(tieout: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}  # noqa: TID251 -- handed on to a process
    return subprocess.run(  # noqa: S603 -- our own program
        [tieout, *words],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_holds_the_five_packages_and_nothing_else(names: set[str]) -> None:
    tops = {name.split("/", maxsplit=1)[0] for name in names}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == PACKAGES | {info}
    assert f"{info}/licenses/LICENSE" in names
    assert not {n for n in names if "/tests/" in n or "__pycache__" in n or "test_" in n}


def test_it_holds_every_file_that_stands_in_the_packages(names: set[str]) -> None:
    there = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in DATA | {".py"} and "__pycache__" not in path.parts
    }
    assert there <= names


@pytest.mark.parametrize(
    ("folder", "ending", "at_least"),
    [
        ("collector/store/migrations/", ".sql", 4),
        ("control_checks/checks/", "/query.sql", 4),
        ("api/demo/config/", "tieout.yaml", 1),
        ("api/demo/config/flows/", ".yaml", 2),
        ("api/demo/config/mappings/", ".yaml", 9),
        ("api/starter_files/", "tieout.yaml", 1),
        ("api/starter_files/", "orders.jsonl", 1),
        ("api/schemas/", ".schema.json", 22),
        ("dashboards/boards/", ".json", 1),
    ],
)
def test_it_holds_the_data_that_the_program_reads(
    names: set[str], folder: str, ending: str, at_least: int
) -> None:
    found = [name for name in names if name.startswith(folder) and name.endswith(ending)]
    assert len(found) >= at_least, found


def test_an_empty_environment_runs_it_and_not_the_packages_of_the_folder_it_is_run_in(
    tieout: Path, tmp_path: Path
) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    helped = run(tieout, tmp_path, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "Usage: tieout" in helped.stdout
    assert run(tieout, tmp_path, "--version").stdout.startswith("tieout, version ")
    started = run(tieout, tmp_path, "init")
    assert (started.returncode, started.stderr) == (0, "")
    checked = run(tieout, tmp_path, "config", "check", "--json")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert json.loads(checked.stdout) == {"problems": []}
    looked = run(tieout, tmp_path, "sync", "--dry-run")
    assert (looked.returncode, looked.stderr) == (0, "")
    assert "sales_order.ordered" in looked.stdout
    assert not (tmp_path / "api/__pycache__").exists()


def test_it_runs_from_where_it_was_installed(tieout: Path, tmp_path: Path) -> None:
    python = tieout.with_name("python")
    where = "import api, collector; print(api.__file__, collector.__file__, sep='\\n')"
    done = subprocess.run(  # noqa: S603 -- our own program
        [python, "-P", "-c", where], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    for line in done.stdout.split():
        assert Path(line).is_relative_to(tieout.parents[1])
