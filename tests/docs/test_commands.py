"""What README.md and docs/ say is so: their commands run, their outputs appear, their links lead somewhere.

A comment on the line before a fenced block says what the block is for:

    <!-- file: PATH -->  the block is the content of a file
    <!-- test -->        every `tieout` line in it is run, in order, in one folder a document
    <!-- output -->      what the last of these lines printed; a line of `…` stands for any lines
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from api.cli.root import cli
from collector.store.embedded import running
from tests.support.commands import commands_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "connectors").rglob("*.md"),
        *(ROOT / "control_checks").rglob("*.md"),
        *(ROOT / "helm").rglob("*.md"),
    ]
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
COMING: set[str] = set()
"""Named already and not written yet."""
EXIT_CODES_FINE = (0, 3, 4)
"""Fine, exceptions noted, could not conclude: none of them says that a document is wrong."""

_BLOCK = re.compile(
    r"^<!-- (?P<use>test|output|file: (?P<path>\S+)) -->\n+```\w*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_FENCED = re.compile(r"^```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"`([a-z_]+/[\w./-]*\w/?)(?:::\w+)?`")
_TIEOUT = re.compile(r"(?:^|`|&& |\$ |bin/)tieout ([^`\n|>#&]*)", re.MULTILINE)


class Block(NamedTuple):
    use: str
    path: str
    text: str


def blocks(path: Path) -> list[Block]:
    found = _BLOCK.finditer(path.read_text(encoding="utf-8"))
    return [Block(m["use"].split(":")[0], m["path"] or "", m["text"]) for m in found]


RUNNABLE = [n for n in NAMES if any(b.use == "test" for b in blocks(ROOT / n))]


def test_the_readme_is_run() -> None:
    assert "README.md" in RUNNABLE


@pytest.mark.parametrize("name", RUNNABLE)
def test_commands_run_and_print_what_the_document_shows(
    name: str, base: Path, tmp_path: Path
) -> None:
    printed = ""
    with running(base / "data"):  # the commands join it: one start and one stop instead of many
        for block in blocks(ROOT / name):
            if block.use == "file":
                (tmp_path / block.path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / block.path).write_text(block.text, encoding="utf-8")
            elif block.use == "test":
                for line in re.findall(r"^tieout .*$", block.text, re.MULTILINE):
                    printed = run(line, base / "data", tmp_path)
            else:
                shown, said = tidy(block.text), tidy(printed)
                assert re.fullmatch(pattern(shown), f"{said}\n"), (
                    f"shown:\n{shown}\nprinted:\n{said}"
                )


@pytest.mark.long
def test_the_demo_prints_what_the_readme_shows(base: Path, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.partition("make demo")[2].partition("```text\n")[2].partition("```")[0]
    printed = " ".join(run("tieout demo --no-serve", base / "data", tmp_path).split())
    wanted = re.escape(" ".join(shown.split())).replace("…", ".*")
    assert re.search(wanted, printed), f"shown:\n{shown}\nprinted:\n{printed}"


def run(line: str, data: Path, folder: Path) -> str:
    """Run one command as a shell would, with data folders of the test's own; return what it printed."""
    words = shlex.split(line, comments=True)[1:]
    if words[0] == "--data-dir":  # a second one
        words[1] = str(data.with_name(Path(words[1]).name))
    command = [str(Path(sys.executable).with_name("tieout")), "--data-dir", str(data), *words]
    done = subprocess.run(  # noqa: S603 -- our own command, with words of our own documents
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode in EXIT_CODES_FINE, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def tidy(text: str) -> str:
    """Blanks between words are layout, as are rules."""
    lines = (" ".join(line.replace("─", "").split()) for line in text.strip().splitlines())
    return "\n".join(line for line in lines if line)


def pattern(shown: str) -> str:
    lines = shown.splitlines()
    parts = [r"(?:.*\n)*" if line == "…" else re.escape(line) + r"\n" for line in lines]
    return "".join(parts)


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_lead_somewhere(name: str) -> None:
    text = _FENCED.sub("", (ROOT / name).read_text(encoding="utf-8"))
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


@pytest.mark.parametrize(
    "name", [n for n in NAMES if not n.startswith(("connectors", "control_checks"))]
)
def test_files_that_are_named_exist(name: str) -> None:
    named = set(_PATH.findall((ROOT / name).read_text(encoding="utf-8")))
    assert {path for path in named if not (ROOT / path).exists()} <= COMING


def anchors(path: Path) -> set[str]:
    """The names that a Markdown file's headings go by."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_that_is_mentioned_exists(name: str) -> None:
    for mentioned in _TIEOUT.findall((ROOT / name).read_text(encoding="utf-8")):
        unknown = check(mentioned.split())
        assert unknown is None, f"tieout {mentioned}: there is no {unknown}"


def check(words: list[str]) -> str | None:
    """Follow words through the tree of commands; return what is not there."""
    command: click.Command = cli
    known = options(command)
    rest: Iterator[str] = iter(words)
    for word in rest:
        if word.startswith("-"):
            name = word.split("=")[0].rstrip(".,;:)")
            if name not in known:
                return f"option {name} of {command.name}"
            if known[name] and "=" not in word:
                next(rest, None)
        elif isinstance(command, click.Group):
            name = word.rstrip(".,;:)")
            if name == "COMMAND" or not name:
                return None
            found = commands_of(command).get(name)
            if found is None:
                return f"command {name}"
            command = found
            known = options(command)
    return None


def options(command: click.Command) -> dict[str, bool]:
    """The options of a command, and whether each takes a value."""
    found = {"--help": False, "-h": False}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            for name in (*parameter.opts, *parameter.secondary_opts):
                found[name] = not parameter.is_flag
    return found


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert check(["--config", "x.yaml", "flow", "show", "orders", "--as-of", "now"]) is None
    assert check(["flow", "draw"]) == "command draw"
    assert check(["sync", "--fast"]) == "option --fast of sync"
    assert check(["drawbridge"]) == "command drawbridge"


def test_an_ellipsis_stands_for_any_lines() -> None:
    assert re.fullmatch(pattern("a\n…\nd"), "a\nb\nc\nd\n")
    assert re.fullmatch(pattern("a\n…"), "a\nb\n")
    assert re.fullmatch(pattern("a\nd"), "a\nb\nd\n") is None
