"""Somebody at a terminal: a folder with a configuration, and commands run in it."""

import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from click.testing import CliRunner
from jsonschema import (  # type: ignore[import-untyped]  # it ships no types
    Draft202012Validator,
    FormatChecker,
)
from referencing import Registry, Resource

import api
from api.cli.root import cli
from api.starter import STARTER_FILES

SCHEMAS = Path(api.__file__).parent / "schemas"
COMMON, HTTP, NOTICE = "common", "http", "notice"
ELSEWHERE = '\nstore: {dsn: "${file:store.dsn}"}\n'
STATUS_TIME = "2026-02-09T00:00:00+01:00"
"""The starter's orders are declared complete beyond it."""


class Answer(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401 -- any JSON
        return json.loads(self.out)


class Desk(NamedTuple):
    """A folder with `tieout.yaml`, over the embedded server of a data folder or over a DSN."""

    folder: Path
    data_dir: Path | None = None

    @property
    def config(self) -> Path:
        return self.folder / "tieout.yaml"

    @property
    def place(self) -> Path:
        """The data folder: never the user's own, even by mistake."""
        return self.data_dir or self.folder / "not-to-be-made"

    def __call__(self, line: str, *, typed: str = "") -> Answer:
        """Run a command as it is typed, `tieout` left out."""
        before = ["--config", str(self.config), "--data-dir", str(self.place)]
        done = CliRunner().invoke(cli, before + shlex.split(line), input=typed, prog_name="tieout")
        return Answer(done.exit_code, done.stdout, done.stderr)

    def shown(self, line: str, schema: str, code: int = 0) -> Any:  # noqa: ANN401 -- any JSON
        """Run a command with --json; return its document, held against its schema."""
        answer = self(f"{line} --json")
        assert answer.code == code, answer
        conforms(schema, answer.document)
        return answer.document

    def start(self) -> "Desk":
        """Write what `tieout init` writes."""
        for name, text in STARTER_FILES.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    def over(self, dsn: str) -> "Desk":
        """Name another server in the configuration."""
        (self.folder / "store.dsn").write_text(dsn)
        self.config.write_text(self.config.read_text() + ELSEWHERE)
        return self

    def change(self, old: str, new: str) -> None:
        """Edit the configuration."""
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def append(self, **record: str) -> None:
        """Add an order to the starter's."""
        told = {"at": "2026-01-08T10:00:00+01:00", "amount": "10.00", "currency": "EUR", **record}
        with (self.folder / "in/orders.jsonl").open("a") as file:
            file.write(json.dumps(told) + "\n")


def schemas() -> dict[str, Any]:
    """Return the packaged JSON Schemas by command."""
    return {
        path.name.removesuffix(".schema.json"): json.loads(path.read_text())
        for path in SCHEMAS.glob("*.schema.json")
    }


def conforms(name: str, document: object) -> None:
    """Hold a document against a command's schema; the message says what is wrong where."""
    known = schemas()
    registry: Registry[Any] = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in known.values()
    )
    validator = Draft202012Validator(known[name], registry=registry, format_checker=formats())
    wrong = [f"{e.json_path}: {e.message}" for e in validator.iter_errors(document)]
    assert not wrong, wrong


def formats() -> FormatChecker:
    """Check the formats that the schemas name."""

    def instant(text: object) -> bool:
        return not isinstance(text, str) or datetime.fromisoformat(text).tzinfo is not None

    def day(text: object) -> bool:
        return not isinstance(text, str) or bool(date.fromisoformat(text))

    def uuid(text: object) -> bool:
        return not isinstance(text, str) or bool(UUID(text))

    checker = FormatChecker(formats=())
    for name, check in (("date-time", instant), ("date", day), ("uuid", uuid)):
        checker.checks(name, raises=ValueError)(check)
    return checker


@contextmanager
def same_signals() -> Iterator[None]:
    """Give signals back to pytest: a command takes SIGTERM for itself."""
    held = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, held)
