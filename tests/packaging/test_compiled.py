"""What every record passes through is compiled; the sources do the same without."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

from tests.support.compiled import outdated
from tests.support.scripts import script

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "collector", "connectors", "control_checks", "dashboards")
PURE = (
    "tests/collector/model",
    "tests/collector/pipeline/test_mapping.py",
    "tests/collector/pipeline/test_prepare.py",
    "tests/collector/pipeline/test_steps.py",
)
"""Tests of compiled modules that ask no database."""


@pytest.fixture(scope="module")
def compiled() -> Any:  # noqa: ANN401 -- a script as a module
    return script("compiled.py")


def run(folder: Path, *words: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    here = {k: v for k, v in os.environ.items() if not k.startswith("PY")}  # noqa: TID251 -- handed on to a process
    return subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, *words],
        cwd=folder,
        env=here | settings,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_listed_module_is_compiled_and_loaded_so(compiled: Any) -> None:  # noqa: ANN401
    assert not compiled.lack(), f"`make native` needs {compiled.lack()}"
    assert compiled.is_current(), "run `make native`"
    for source in compiled.MODULES:
        name = source.removesuffix(".py").replace("/", ".")
        __import__(name)
        assert str(sys.modules[name].__file__).endswith(EXTENSION_SUFFIXES[0])


def test_no_listed_module_defines_what_the_compiler_would_change(compiled: Any) -> None:  # noqa: ANN401
    for source in compiled.MODULES:
        tree = ast.parse((ROOT / source).read_text(encoding="utf-8"))
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        bases = {ast.unparse(base) for node in classes for base in node.bases}
        assert "msgspec.Struct" not in bases, source
        assert not [node.name for node in classes if node.keywords], source


def test_the_sources_pass_the_same_tests_uncompiled(tmp_path: Path) -> None:
    for name in (*PACKAGES, "tests"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    where = "import collector.pipeline.mapping as m, collector.store.rows as r; print(m.__file__, r.__file__)"
    loaded = run(tmp_path, "-c", where, PYTHONPATH=str(tmp_path)).stdout.split()
    assert [Path(path).suffix for path in loaded] == [".py", ".py"]
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not long and not bench", *PURE]
    done = run(tmp_path, *words, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stdout[-4000:]


def test_a_wheel_can_carry_them(compiled: Any, tmp_path: Path) -> None:  # noqa: ANN401
    build = ["-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    built = run(ROOT, *build, HATCH_BUILD_HOOK_ENABLE_CUSTOM="1")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("tieout-*.whl")
    assert not wheel.name.endswith("-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    where = "import collector.pipeline.mapping as m; print(m.__file__)"
    loaded = run(tmp_path / "site", "-c", where).stdout.strip()
    assert loaded.startswith(str(tmp_path))
    assert loaded.endswith(EXTENSION_SUFFIXES[0])


def test_a_source_that_changed_since_is_told(tmp_path: Path) -> None:
    source, built = tmp_path / "rows.py", tmp_path / f"rows{EXTENSION_SUFFIXES[0]}"
    source.touch()
    built.touch()
    os.utime(source, (1_000, 1_000))
    os.utime(built, (2_000, 2_000))
    assert outdated([tmp_path]) == []
    os.utime(source, (3_000, 3_000))
    assert outdated([tmp_path]) == [source]
