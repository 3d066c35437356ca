"""The Containerfile as far as it can be judged without a container engine: nothing here builds it."""

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
IGNORED = [
    line
    for line in (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


class Instruction(NamedTuple):
    """One instruction, in which stage it stands, its options apart from its words."""

    stage: int
    name: str
    options: dict[str, str]
    words: list[str]


def instructions() -> list[Instruction]:
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: list[Instruction] = []
    stage = -1
    for line in filter(None, map(str.strip, text.splitlines())):
        name, *words = line.split()
        stage += name == "FROM"
        options = dict(re.findall(r"--(\w+)=(\S+)", line)) if name == "COPY" else {}
        words = [word for word in words if name != "COPY" or not word.startswith("--")]
        found.append(Instruction(stage, name, options, words))
    return found


INSTRUCTIONS = instructions()
LAST = max(i.stage for i in INSTRUCTIONS)
SOURCES = [
    source
    for i in INSTRUCTIONS
    if i.name == "COPY" and "from" not in i.options
    for source in i.words[:-1]
]


def named(name: str, stage: int | None = None) -> list[Instruction]:
    return [i for i in INSTRUCTIONS if i.name == name and stage in {None, i.stage}]


def ignored(path: str) -> bool:
    """Tell whether the last line that matches a path, or a folder above it, keeps it out."""
    out = False
    for line in IGNORED:
        pattern = line.removeprefix("!")
        parts = path.split("/")
        heads = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        names = parts if pattern.startswith("**/") else heads
        if any(fnmatch(name, pattern.removeprefix("**/")) for name in names):
            out = not line.startswith("!")
    return out


def test_it_has_two_stages_on_one_base_that_is_pinned_by_tag() -> None:
    build, final = named("FROM")
    assert build.words[1:] == ["AS", "build"]
    assert build.words[0] == final.words[0]
    name, tag = final.words[0].split(":")
    assert name == "python"
    version = re.match(r"\d+\.\d+", tag)
    assert version is not None
    assert PROJECT["project"]["requires-python"] == f">={version[0]}"


def test_it_runs_as_a_numbered_user_who_is_not_root() -> None:
    (user,) = named("USER", LAST)
    uid, gid = user.words[0].split(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert INSTRUCTIONS.index(user) > INSTRUCTIONS.index(named("COPY", LAST)[-1])


def test_it_is_the_command() -> None:
    (entry,) = named("ENTRYPOINT", LAST)
    assert json.loads(" ".join(entry.words)) == ["tieout"]
    assert PROJECT["project"]["scripts"] == {"tieout": "api.cli:main"}


def test_it_fetches_nothing_but_pinned_packages() -> None:
    assert named("ADD") == []
    said = " ".join(word for run in named("RUN", 0) for word in run.words)
    installs = re.findall(r"pip .*?install.*?(?=&&|$)", said)
    assert len(installs) == 2
    for install in installs:
        assert "--no-cache-dir" in install
        assert re.search("--(constraint|requirement) requirements.lock", install)
    assert named("RUN", LAST) == []


def test_it_copies_what_is_there_and_every_package() -> None:
    assert [source for source in SOURCES if not (ROOT / source).exists()] == []
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(SOURCES)
    assert {i.options.get("from") for i in named("COPY", LAST)} == {"build"}


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    assert [source for source in SOURCES if ignored(source)] == []
    unwanted = [
        ".git/config",
        "tests/conftest.py",
        ".venv/bin/python",
        "docs",
        "api/__pycache__/x.pyc",
    ]
    assert [path for path in unwanted if not ignored(path)] == []
    seen = {path.name for path in ROOT.iterdir() if not ignored(path.name)}
    assert seen == {source for source in SOURCES if "/" not in source}
