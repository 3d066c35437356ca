"""Commands that write the whole store into a file, and load it from there."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from api.cli.root import JSON, Invocation, err, example, out, print_json
from collector.model.words import counted
from collector.store import backup as backups

FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.command(epilog=example("tieout backup monday.backup"))
@FILE
@JSON
@click.pass_obj
def backup(invocation: Invocation, file: Path, *, as_json: bool) -> None:
    """Write all that the store holds into FILE, as of one instant; other commands may go on.

    It holds personal data and kept records as the store does: keep it as safe. It holds no password.
    """
    with invocation.application() as app, _progress(f"writing {file}") as told:
        made = asyncio.run(backups.backup(app.store, file, app.clock, told))
    if as_json:
        print_json(made)
    else:
        size = file.stat().st_size / 1_000_000
        out.print(
            f"{file}: {counted(made.events, 'event')} up to commit {made.commits:,}, {size:,.1f} MB.",
            soft_wrap=True,
        )


@click.command(epilog=example("tieout --data-dir /srv/tieout-copy restore monday.backup"))
@FILE
@JSON
@click.pass_obj
def restore(invocation: Invocation, file: Path, *, as_json: bool) -> None:
    """Load FILE into a store that is empty, and bring it to the current schema.

    All or nothing: interrupted, it leaves the store empty, and can be repeated. A file that is damaged or
    that a newer Tieout wrote is refused before anything is loaded.
    """
    with invocation.application() as app, _progress(f"loading {file}") as told:
        loaded = asyncio.run(backups.restore(app.store, file, told))
    if as_json:
        print_json(loaded)
    else:
        made = loaded.backup
        out.print(
            f"Restored {counted(made.events, 'event')} up to commit {made.commits:,}, "
            f"as of {made.made_at:%Y-%m-%d %H:%M:%S} UTC.",
            soft_wrap=True,
        )
        if loaded.applied:
            out.print(f"Applied: {', '.join(loaded.applied)}.")


@contextmanager
def _progress(what: str) -> Iterator[backups.Told]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda size: progress.advance(task, size)


COMMANDS = (backup, restore)
