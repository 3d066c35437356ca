"""The command that holds all keys of sources against the store."""

import sys
from datetime import UTC, datetime

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.cli.root import (
    EXIT_INCOMPLETE,
    EXIT_OK,
    JSON,
    Invocation,
    err,
    example,
    out,
    print_json,
)
from api.wiring import Application
from collector.errors import Misconfigured
from collector.pipeline.sweep import Span, Swept


@click.command(
    epilog=example("tieout sweep", "tieout sweep expense --from 2026-01-01 --to 2026-02-01")
)
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option(
    "--from",
    "start",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Judge deletions from this day on (UTC).",
)
@click.option(
    "--to", "end", type=click.DateTime(["%Y-%m-%d"]), help="And up to the day before this one."
)
@JSON
@click.pass_obj
def sweep(
    invocation: Invocation,
    sources: tuple[str, ...],
    start: datetime | None,
    end: datetime | None,
    *,
    as_json: bool,
) -> None:
    """Hold all keys that sources have today against the store.

    Sources are read to their present end first, then from their beginning. What the store lacks is read in; what
    a source no longer has is kept and marked as deleted. Exit code 4: something could not be compared.
    """
    unknown = set(sources) - invocation.configuration().settings.sources.keys()
    if unknown:
        raise Misconfigured(f"There is no source '{min(unknown)}'.")

    async def work(app: Application) -> list[Swept]:
        until = app.clock() if end is None else end.replace(tzinfo=UTC)
        window = Span(None if start is None else start.replace(tzinfo=UTC), until)
        found = []
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=err, transient=True) as progress:
            async with app.store.connect() as conn:
                with app.collector(conn) as collector:
                    for source in app.sources(sources):
                        progress.add_task(f"{source.source}/{source.stream}", total=None)
                        await collector.sync(source)
                        found.append(await app.sweep(conn, source, window))
        return found

    found = invocation.run(work)
    if as_json:
        print_json({"streams": found})
    else:
        _show(found)
    sys.exit(EXIT_OK if all(s.sweep.whole for s in found) else EXIT_INCOMPLETE)


def _show(found: list[Swept]) -> None:
    table = Table(box=None, header_style="bold")
    for column in ("stream", "records", "found", "changed", "deleted", "returned"):
        table.add_column(column, justify="left" if column == "stream" else "right")
    for s in found:
        counts = (s.sweep.listed, s.sweep.found, s.sweep.changed, s.sweep.deleted, s.sweep.returned)
        table.add_row(f"{s.source}/{s.stream}", *(f"{n:,}" for n in counts))
    out.print(table)
    for s in found:
        if s.documents:
            out.print(f"Deleted at {s.source}: {', '.join(s.documents)}.", markup=False)
        if s.sweep.remark:
            err.print(f"{s.source}/{s.stream}: {s.sweep.remark}", style="yellow", markup=False)


COMMANDS = (sweep,)
