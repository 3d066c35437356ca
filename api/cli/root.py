"""What all commands share: options, exit codes, output and the open store."""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click
import msgspec
from rich.console import Console
from typing_extensions import override

from api.cli.listing import MODULES
from collector import clock
from collector.errors import Misconfigured, TieoutError

if TYPE_CHECKING:  # loaded with the first command that needs it: `--help` does not
    from api import wiring
    from collector.settings.load import Configuration

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_EXCEPTIONS, EXIT_INCOMPLETE = 0, 1, 2, 3, 4

T = TypeVar("T")

WIDTH_PIPED = 140
"""Columns of a table that is not written to a terminal."""


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_PIPED
    return console


out = _console(stderr=False)
err = _console(stderr=True)


class Commands(click.Group):
    """The root: loads the command that is asked for and no other, turns our errors into exit codes."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """List commands in reading order rather than by alphabet."""
        return [name for commands in MODULES.values() for name in commands]

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command's module."""
        for module, commands in MODULES.items():
            if cmd_name in commands:
                found: tuple[click.Command, ...] = import_module(f"api.cli.{module}").COMMANDS
                return next(c for c in found if c.name == cmd_name)
        return None

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Tell each command's sentence without loading it."""
        names = self.list_commands(ctx)
        room = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, click.Command(name, help=sentence).get_short_help_str(room))
                    for commands in MODULES.values()
                    for name, sentence in commands.items()
                ]
            )

    @override
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of ours becomes its sentence and exit code."""
        try:
            return super().invoke(ctx)
        except Misconfigured as error:
            err.print(str(error), style="red", markup=False, soft_wrap=True)
            sys.exit(EXIT_USAGE)
        except TieoutError as error:
            err.print(str(error), style="red", markup=False, soft_wrap=True)
            logging.getLogger("tieout").debug("detail: %s", error.detail)
            sys.exit(EXIT_ERROR)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # the last resort: a sentence, and code 1
            sentence = f"This should not have happened: {type(error).__name__}: {error}"
            err.print(
                f"{sentence}\n--verbose shows where.", style="red", markup=False, soft_wrap=True
            )
            logging.getLogger("tieout").debug("where it happened", exc_info=True)
            sys.exit(EXIT_ERROR)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Exit codes:
  0  fine
  1  error: it could not be done
  2  usage or configuration
  3  exceptions noted by a control
  4  could not conclude: something is unread or not proven complete

\b
Example:
  tieout init && tieout sync && tieout flow show orders""",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("tieout.yaml"),
    show_default=True,
    help="The configuration.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of the embedded PostgreSQL.  [default: the platform's user data folder]",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more on standard error.")
@click.version_option(package_name="tieout", prog_name="tieout")
@click.pass_context
def cli(ctx: click.Context, config_path: Path, data_dir: Path | None, *, verbose: bool) -> None:
    """Follow the money flows between finance systems, and prove what you saw."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    ctx.obj = Invocation(config_path, data_dir)


class Invocation:
    """The options before the command."""

    def __init__(self, config_path: Path, data_dir: Path | None) -> None:
        self.config_path = config_path
        self.data_dir = data_dir

    def configuration(self, *, sources_only: bool = False) -> "Configuration":
        """Load the configuration; with `sources_only` for a command that opens no store."""
        from api import wiring  # noqa: PLC0415 -- ten times what `--help` needs

        return wiring.read_configuration(self.config_path, sources_only=sources_only)

    @contextmanager
    def application(self) -> "Iterator[wiring.Application]":
        """Load the configuration and open the store; SIGTERM leaves it as Ctrl-C does."""
        from api import wiring  # noqa: PLC0415 -- as above

        signal.signal(signal.SIGTERM, _interrupt)
        with wiring.opened(self.configuration(), self.data_dir) as application:
            yield application

    def run(self, task: "Callable[[wiring.Application], Awaitable[T]]") -> T:
        """Open everything, run a coroutine over it and close again."""
        with self.application() as application:
            return asyncio.run(_prepared(application, task))


async def _prepared(
    application: "wiring.Application", task: "Callable[[wiring.Application], Awaitable[T]]"
) -> T:
    await application.prepare()
    return await task(application)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Instant(click.ParamType[datetime]):
    """A time with an offset, or `now`."""

    name = "time"

    @override
    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Parse ISO 8601; a time without an offset could mean any zone and is refused."""
        if isinstance(value, datetime):
            return value
        if value == "now":
            return clock.now()
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"'{value}' is no time; write 2026-01-31T18:00:00+01:00", param, ctx)
        if parsed.tzinfo is None:
            self.fail(f"'{value}' has no offset; write {value}Z or {value}+01:00", param, ctx)
        return parsed


def example(*lines: str) -> str:
    """Make the epilog with a command's example."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


AS_OF = click.option(
    "--as-of",
    type=Instant(),
    default="now",
    show_default=True,
    help="Status time T: what occurred after it is not seen.",
)
AS_OF_KNOWN = click.option(
    "--as-of",
    type=Instant(),
    default=None,
    help="Status time T: what occurred after it is not seen.  [default: up to when all is known]",
)
AS_KNOWN = click.option(
    "--as-known",
    type=Instant(),
    default=None,
    help="Knowledge time K: what was recorded after it is not seen.  [default: now]",
)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


def print_json(document: object) -> None:
    """Print one JSON document, times as ISO 8601 in UTC."""
    text = msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2)
    sys.stdout.write(text.decode() + "\n")


class Style:
    """Colours of statuses and verdicts."""

    STATUS: ClassVar[dict[str, str]] = {
        "DONE": "green",
        "LATE": "yellow",
        "PENDING": "cyan",
        "MISSING": "red",
        "FAILED": "red",
        "SKIPPED": "dim",
        "UNEVALUABLE": "magenta",
    }
    VERDICT: ClassVar[dict[str, str]] = {
        "PASS": "green",
        "WARN": "yellow",
        "FAIL": "red",
        "INCOMPLETE": "magenta",
        "ERROR": "red",
        "SKIPPED": "dim",
    }
