"""Commands that make and check the configuration."""

import sys
from pathlib import Path

import click
import msgspec

from api.cli.root import (
    EXIT_OK,
    EXIT_USAGE,
    JSON,
    Invocation,
    err,
    example,
    out,
    print_json,
)
from api.starter import STARTER_FILES, starter_from
from api.wiring import CHECK_PARAMETERS
from collector.errors import Refused
from collector.model.words import counted
from collector.settings.load import examine
from collector.settings.schema import schema
from connectors.registry import CONNECTORS


@click.group(name="config", epilog=example("tieout config check"))
def config() -> None:
    """Check the configuration, or print its JSON Schema."""


@config.command(
    epilog=example("tieout config check", "tieout --config other.yaml config check --json")
)
@JSON
@click.pass_obj
def check(invocation: Invocation, *, as_json: bool) -> None:
    """Report everything that is wrong at once: file, line, column, key, what and the remedy."""
    configuration, problems = examine(invocation.config_path, CONNECTORS, CHECK_PARAMETERS)
    if as_json:
        print_json(
            {
                "problems": [
                    {
                        "file": str(p.at.file),
                        "line": p.at.line,
                        "column": p.at.column,
                        "key": p.key,
                        "what": p.what,
                        "remedy": p.remedy,
                    }
                    for p in problems
                ]
            }
        )
    elif problems:
        for problem in problems:
            err.print(str(problem), markup=False, soft_wrap=True)
        err.print(f"{counted(len(problems), 'problem')}.", style="red")
    elif configuration is not None:
        out.print(
            f"{invocation.config_path} is fine: {counted(len(configuration.streams()), 'stream')}, "
            f"{counted(len(configuration.flows), 'flow')}, "
            f"{counted(len(configuration.settings.controls), 'control')}."
        )
    sys.exit(EXIT_USAGE if problems else EXIT_OK)


@config.command(name="schema", epilog=example("tieout config schema > tieout.schema.json"))
def schema_command() -> None:
    """Print the JSON Schema of tieout.yaml, for completion in editors."""
    sys.stdout.write(
        msgspec.json.format(
            msgspec.json.encode(schema(CONNECTORS, CHECK_PARAMETERS)), indent=2
        ).decode()
        + "\n"
    )


@click.command(
    epilog=example("tieout init", "tieout init --from exports/payments.csv exports/invoices.xml")
)
@click.option("--from", "from_", is_flag=True, help="Draft from files of your own.")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def init(invocation: Invocation, files: tuple[Path, ...], *, from_: bool) -> None:
    """Write a commented configuration that runs.

    With --from FILE... it is drafted from these files: formats are sniffed, fields are guessed, and
    every guess is marked as one.
    """
    if from_ != bool(files):
        raise click.UsageError("--from takes the files to draft from: tieout init --from FILE...")
    target = invocation.config_path
    wanted = (
        {target.name: starter_from(target.parent, files)}
        if files
        else {target.name if n == "tieout.yaml" else n: text for n, text in STARTER_FILES.items()}
    )
    there = [name for name in wanted if (target.parent / name).exists()]
    if there:
        raise Refused(
            f"{', '.join(there)} is there already; move it away, or name another --config."
        )
    for name, text in wanted.items():
        path = target.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        out.print(f"wrote {path}")
    out.print(
        "Next: tieout sync --dry-run --limit 5" if files else "Next: tieout sync && tieout status"
    )


COMMANDS = (init, config)
