"""`--help` teaches: every command has an example that can be typed."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from api.cli.listing import MODULES
from api.cli.root import cli
from tests.api.cli.desk import COMMON, HTTP, NOTICE, Desk, schemas
from tests.support.commands import commands_of
from tests.support.postgres import Database


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path), command
    if isinstance(command, click.Group):
        for name, inner in commands_of(command).items():
            yield from walk(inner, (*path, name))


COMMANDS = dict(walk(cli))
LEAVES = {
    name: c
    for name, c in COMMANDS.items()
    if not isinstance(c, click.Group) or (c.invoke_without_command and c is not cli)
}
SHOWN_OTHERWISE = {
    "bridge-items": "bridge",
    "control-run-all": "control run",
    "sync-dry-run": "sync",
    "dump": "dump",
}
"""Schemas beside the one that bears a command's name."""


def examples(command: click.Command) -> list[str]:
    lines = (command.epilog or "").partition("Example:\n")[2].splitlines()
    return [
        part.strip() for line in lines for part in re.split(r"&&| > \S+|#.*", line) if part.strip()
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_it_does_and_gives_an_example(name: str) -> None:
    done = CliRunner().invoke(cli, [*name.split(), "--help"], prog_name="tieout")
    assert done.exit_code == 0
    text = done.stdout
    assert "Example:" in text
    assert "\b" not in text
    assert f"Usage: tieout {name}".rstrip() in text
    assert COMMANDS[name].help


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_can_be_typed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("exports/payments.csv", "exports/invoices.xml", "other.yaml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    found = examples(COMMANDS[name])
    assert found
    for line in found:
        program, *words = shlex.split(line)
        assert program == "tieout"
        leaf, context = parse(words)
        assert leaf.startswith(name), line
        context.close()


def parse(words: list[str]) -> tuple[str, click.Context]:
    """Parse a command line as click does, and run nothing."""
    context = cli.make_context("tieout", list(words))
    path: list[str] = []
    command: click.Command = cli
    while isinstance(command, click.Group):
        left = [*context._protected_args, *context.args]
        if not left and command.invoke_without_command:
            break
        name, found, rest = command.resolve_command(context, left)
        assert name is not None
        assert found is not None
        path.append(name)
        command, context = found, found.make_context(name, rest, parent=context)
    return " ".join(path), context


def test_the_list_of_commands_says_of_each_what_its_own_help_says_first() -> None:
    listed = {name: said for commands in MODULES.values() for name, said in commands.items()}
    assert listed == {n: c.get_short_help_str(limit=1000) for n, c in commands_of(cli).items()}


NOT_FOR_ALL = {
    "httpx",
    "rapidfuzz",
    "fastapi",
    "uvicorn",
    "grafana_client",
    "opentelemetry",
}
"""Packages that few commands use, up to half a second of CPU each."""


def loaded(*words: str) -> set[str]:
    """Run a command in a process of its own; return what it has loaded: packages, and modules of ours."""
    program = (
        "import sys; from api.cli import main\n"
        "try: main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    line = [sys.executable, "-c", program, *words]
    done = subprocess.run(line, capture_output=True, text=True, check=True)  # noqa: S603 -- our own program
    names = done.stderr.split()
    assert "api.cli.root" in names
    return {name if name.startswith("api.cli.") else name.partition(".")[0] for name in names}


def test_help_loads_no_command_and_none_of_what_commands_need() -> None:
    found = loaded("--help")
    assert {name for name in found if name.startswith("api.cli.")} == {
        "api.cli.root",
        "api.cli.listing",
    }
    needed = {"pydantic", "asyncpg", "apscheduler", "yaml", "connectors", "control_checks"}
    assert found & (NOT_FOR_ALL | needed) == set()


def test_a_command_loads_no_other_and_nothing_that_few_commands_use(
    database: Database, tmp_path: Path
) -> None:
    desk = Desk(tmp_path).start().over(database.dsn("tieout_app"))
    found = loaded("--config", str(desk.config), "status")
    assert {name for name in found if name.startswith("api.cli.")} == {
        "api.cli.root",
        "api.cli.listing",
        "api.cli.story",
    }
    assert found & NOT_FOR_ALL == set()


def test_exit_codes_stand_in_the_help() -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout
    for code, meaning in enumerate(("fine", "error", "usage", "exceptions", "could not conclude")):
        assert re.search(rf"^ +{code}  {meaning}", text, re.MULTILINE)


def test_what_can_be_shown_as_json_has_a_schema_and_the_other_way_round() -> None:
    with_json = {
        name.replace(" ", "-")
        for name, command in LEAVES.items()
        if any(parameter.name == "as_json" for parameter in command.params)
    }
    assert with_json | set(SHOWN_OTHERWISE) | {COMMON, HTTP, NOTICE} == set(schemas())
    assert set(SHOWN_OTHERWISE.values()) <= set(LEAVES)


READING = {"coverage", "exceptions", "status", "trace", "transactions", "flow show", "flow list"}
READING |= {"control list", "control runs", "control run", "quarantine list", "quarantine show"}
READING |= {"alerts list"}


def test_every_reading_command_takes_json() -> None:
    for name in READING:
        assert any(p.name == "as_json" for p in LEAVES[name].params), name
