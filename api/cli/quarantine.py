"""Commands about records that could not be taken."""

from typing import Any

import click
import msgspec
from rich.table import Table

from api.cli.data import actor
from api.cli.root import JSON, Invocation, example, out, print_json
from api.wiring import Application
from collector.errors import Permanent
from collector.model.words import counted
from collector.pipeline.replay import Outcome, accept, replay
from collector.store import quarantine as store


@click.group(epilog=example("tieout quarantine list"))
def quarantine() -> None:
    """Look at records that could not be taken, and bring them in or accept them."""


@quarantine.command(name="list", epilog=example("tieout quarantine list --source bank"))
@click.option("--source", default=None, help="One source.")
@click.option("--all", "all_", is_flag=True, help="Also those replayed or accepted.")
@click.option("--limit", default=100, show_default=True, help="At most so many.")
@JSON
@click.pass_obj
def list_(
    invocation: Invocation, source: str | None, limit: int, *, all_: bool, as_json: bool
) -> None:
    """List quarantined records, each with the reason and where it stands."""

    async def find(app: Application) -> list[store.Entry]:
        async with app.store.connect() as conn:
            return await store.entries(conn, resolved=all_, source=source, limit=limit)

    found = invocation.run(find)
    if as_json:
        print_json({"records": found})
        return
    table = Table(box=None, header_style="bold")
    for column in ("id", "stream", "where", "reason", "why"):
        table.add_column(column)
    for e in found:
        where = f"{e.part}, record {e.position}"
        table.add_row(str(e.id), f"{e.source}/{e.stream}", where, e.reason, e.sentence)
    out.print(table)
    out.print(f"{counted(len(found), 'record')}." if found else "Nothing is quarantined.")


@quarantine.command(epilog=example("tieout quarantine show 3"))
@click.argument("entry", type=int, metavar="ID")
@JSON
@click.pass_obj
def show(invocation: Invocation, entry: int, *, as_json: bool) -> None:
    """Show the kept bytes of one record, and what was parsed of it."""

    async def find(app: Application) -> dict[str, Any]:
        async with app.store.connect() as conn:
            raw, body = await store.body(conn, entry)
            listed = await store.entries(conn, resolved=True, after=entry - 1, limit=1)
        return {
            "record": listed[0],
            "raw": raw.decode(errors="backslashreplace"),
            "body": None if body is None else msgspec.Raw(body.encode()),
        }

    found = invocation.run(find)
    if as_json:
        print_json(found)
        return
    e = found["record"]
    out.print(f"{e.source}/{e.stream}, {e.part}, record {e.position}", style="bold")
    out.print(f"{e.reason}: {e.sentence}", markup=False)
    out.print(found["raw"], markup=False)


@quarantine.command(
    name="replay", epilog=example("tieout quarantine replay", "tieout quarantine replay 3 4")
)
@click.argument("ids", nargs=-1, type=int, metavar="[ID]...")
@JSON
@click.pass_obj
def replay_command(invocation: Invocation, ids: tuple[int, ...], *, as_json: bool) -> None:
    """Map records again with the mapping as it is now; without ids, all open ones."""

    async def work(app: Application) -> Outcome:
        async with app.store.connect() as conn:
            entries = [
                e for e in await store.entries(conn, limit=1_000_000) if not ids or e.id in ids
            ]
            for entry in sorted(set(ids) - {e.id for e in entries}):
                await store.body(conn, entry)
                raise Permanent(f"Record {entry} was resolved before.")
            sources = {(s.source, s.stream): s for s in app.sources()}
            return await replay(conn, entries, sources, app.limit, app.clock, actor())

    outcome = invocation.run(work)
    if as_json:
        print_json(outcome)
        return
    out.print(f"{counted(outcome.replayed, 'record')} came in, {len(outcome.refused)} did not.")
    for entry, sentence in outcome.refused.items():
        out.print(f"  {entry}: {sentence}", markup=False)


@quarantine.command(
    name="accept", epilog=example("tieout quarantine accept 3 --reason 'test record of the vendor'")
)
@click.argument("entry", type=int, metavar="ID")
@click.option("--reason", required=True, help="Why this record need not come in.")
@click.pass_obj
def accept_command(invocation: Invocation, entry: int, reason: str) -> None:
    """Accept a record as it is: no gap any more, and counted as excluded from then on."""
    if not reason.strip():
        raise click.UsageError("Say with --reason why this record need not come in.")

    async def work(app: Application) -> None:
        async with app.store.connect() as conn:
            await accept(conn, entry, reason, actor(), app.clock)

    invocation.run(work)
    out.print(f"Record {entry} is accepted: {reason}", markup=False)


COMMANDS = (quarantine,)
