"""Commands that read sources into the store and look after what is there."""

import getpass
import shutil
import sys
from datetime import datetime
from functools import partial

import click
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.cli.preview import preview
from api.cli.root import (
    AS_KNOWN,
    EXIT_INCOMPLETE,
    EXIT_OK,
    JSON,
    Instant,
    Invocation,
    err,
    example,
    out,
    print_json,
)
from api.wiring import Application
from collector import clock
from collector.errors import Misconfigured, Refused
from collector.model.words import counted
from collector.pipeline.collect import Tally
from collector.pipeline.dump import dump
from collector.pipeline.rebuild import rebuild
from collector.store import fragments


@click.command(
    epilog=example("tieout sync", "tieout sync expense bank", "tieout sync --dry-run --limit 5")
)
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--dry-run", is_flag=True, help="Show records beside the events they would become.")
@click.option("--limit", default=5, show_default=True, help="Records per stream of a dry run.")
@JSON
@click.pass_obj
def sync(
    invocation: Invocation, sources: tuple[str, ...], limit: int, *, dry_run: bool, as_json: bool
) -> None:
    """Read sources to their present end and stop.

    Exit code 0 also with quarantined records; 4 where something stayed unread.
    """
    configuration = invocation.configuration(sources_only=dry_run)
    unknown = set(sources) - configuration.settings.sources.keys()
    if unknown:
        known = ", ".join(configuration.settings.sources) or "none is configured"
        raise Misconfigured(f"There is no source '{min(unknown)}'. Sources: {known}.")
    if dry_run:
        preview(configuration, sources, limit, as_json=as_json)
        return
    tallies = invocation.run(lambda app: _sync(app, sources))
    if as_json:
        print_json({"streams": tallies})
    else:
        _show_tallies(tallies)
    sys.exit(EXIT_OK if all(t.complete for t in tallies) else EXIT_INCOMPLETE)


async def _sync(app: Application, sources: tuple[str, ...]) -> list[Tally]:
    tallies = []
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,.0f} {task.fields[what]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        async with app.store.connect() as conn:
            with app.collector(conn) as collector:
                for source in app.sources(sources):
                    task = progress.add_task(
                        f"{source.source}/{source.stream}", total=None, what="records"
                    )
                    told = partial(_tell, progress, task)
                    tallies.append(await collector.sync(source, told))
            task = progress.add_task("names to search", total=None, what="batches")
            while await fragments.extend(conn) == fragments.BATCHES:
                progress.advance(task, fragments.BATCHES)
    return tallies


def _tell(progress: Progress, task: TaskID, _part: str, records: int, _size: int | None) -> None:
    progress.update(task, completed=records)


def _show_tallies(tallies: list[Tally]) -> None:
    table = Table(box=None, header_style="bold")
    for column in ("stream", "read", "accepted", "duplicate", "quarantined", "ignored", "unread"):
        table.add_column(column, justify="left" if column == "stream" else "right")
    for t in tallies:
        counts = (t.read, t.accepted, t.duplicate, t.quarantined, t.ignored)
        unread = "unknown" if t.unread is None else f"{t.unread:,}"
        table.add_row(f"{t.source}/{t.stream}", *(f"{n:,}" for n in counts), unread)
    out.print(table)
    for t in tallies:
        for remark in t.remarks:
            err.print(f"{t.source}/{t.stream}: {remark}", style="yellow", markup=False)
    if tallies and not any(t.accepted + t.quarantined + t.ignored for t in tallies):
        out.print("Nothing new: everything that was read is known already.")
    if sum(t.quarantined for t in tallies):
        out.print("Some records were quarantined: `tieout quarantine list` says why.")


@click.command(epilog=example("tieout dump --as-of 2026-01-31T23:59:59+01:00 > january.jsonl"))
@click.option("--as-of", type=Instant(), default=None, help="Status time T.  [default: no limit]")
@AS_KNOWN
@click.pass_obj
def dump_command(invocation: Invocation, as_of: datetime | None, as_known: datetime | None) -> None:
    """Write facts and derived state as canonical, sorted JSON Lines.

    Two stores that know the same give the same bytes, whatever read it, when and in which order.
    """

    async def write(app: Application) -> None:
        flows = [flow.flow for flow in app.configuration.flows]
        async with app.store.connect() as conn:
            async for line in dump(conn, flows, as_of, as_known or clock.now()):
                sys.stdout.buffer.write(line + b"\n")

    invocation.run(write)


@click.command(epilog=example("tieout rebuild"))
@JSON
@click.pass_obj
def rebuild_command(invocation: Invocation, *, as_json: bool) -> None:
    """Recompute everything derived (documents, transactions, steps) from the facts."""

    async def work(app: Application) -> int:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=err, transient=True) as progress:
            progress.add_task("recomputing everything that is derived", total=None)
            async with app.store.connect() as conn:
                return await rebuild(conn, app.limit, app.clock)

    documents = invocation.run(work)
    if as_json:
        print_json({"documents": documents})
    else:
        out.print(f"Recomputed {counted(documents, 'document')} from their events.")


@click.command(epilog=example("tieout migrate"))
@JSON
@click.pass_obj
def migrate(invocation: Invocation, *, as_json: bool) -> None:
    """Bring the database to the current schema."""
    import asyncio  # noqa: PLC0415 -- only here

    with invocation.application() as app:
        applied = asyncio.run(app.store.migrate())
    if as_json:
        print_json({"applied": applied})
    else:
        out.print(f"Applied: {', '.join(applied)}." if applied else "The schema is current.")


@click.command(epilog=example("tieout reset"))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def reset(invocation: Invocation, *, yes: bool) -> None:
    """Delete everything that was read: the embedded store's data folder. Asks first."""
    with invocation.application() as app:
        folder = app.store.data_dir
    if folder is None:
        raise Refused("The store is another server's: drop and create its database there.")
    if not yes:
        click.confirm(f"Delete {folder} with all facts, runs and evidence in it?", abort=True)
    if (folder / "pg" / "postmaster.pid").exists():  # we left it, so somebody else is still in
        raise Refused(f"Another command is using {folder}: end it, then try again.")
    shutil.rmtree(folder)
    out.print(f"Deleted {folder}.")


def actor() -> str:
    """Return who runs this command, for what is kept of it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


dump_command.name = "dump"
rebuild_command.name = "rebuild"
COMMANDS = (sync, dump_command, rebuild_command, migrate, reset)
