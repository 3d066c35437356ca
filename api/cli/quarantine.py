"""Commands about records that could not be taken."""

from typing import Any

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from api.cli.data import actor
from api.cli.root import JSON, Invocation, err, example, out, print_json
from api.present import defect_document
from api.wiring import Application
from collector.errors import Misconfigured, Permanent
from collector.model.words import counted
from collector.pipeline.ahead import Source
from collector.pipeline.defects import Defect, tell
from collector.pipeline.replay import Asked, Outcome, Replay, accept
from collector.settings.reasons import reasons
from collector.store import ingest, quarantine_groups
from collector.store import quarantine as store

SOURCE = click.option("--source", default=None, help="One source.")
STREAM = click.option("--stream", default=None, help="One stream, as SOURCE/STREAM.")
REASON = click.option(
    "--reason", default=None, metavar="CODE", help="One reason, such as UNKNOWN_VALUE."
)
LIMIT = click.option("--limit", default=100, show_default=True, help="At most so many.")


@click.group(epilog=example("tieout quarantine list"))
def quarantine() -> None:
    """Look at records that could not be taken, and bring them in or accept them."""


@quarantine.command(
    name="list",
    epilog=example(
        "tieout quarantine list", "tieout quarantine list --records --reason UNKNOWN_VALUE"
    ),
)
@SOURCE
@STREAM
@REASON
@click.option("--group", default=None, metavar="ID", help="One group, by its id.")
@click.option("--records", is_flag=True, help="Single records instead of groups.")
@click.option("--all", "all_", is_flag=True, help="Records, also those replayed or accepted.")
@LIMIT
@JSON
@click.pass_obj
def list_(invocation: Invocation, /, *, as_json: bool, **asked: Any) -> None:  # noqa: ANN401 -- the options
    """Show what lies in quarantine, by defect: how many records, since when, and who mends it how.

    A defect is one reason, field and shape of the value: 9 stands for a digit, A for a letter. With --records each
    record, and where it stands.
    """
    single = asked["records"] or asked["all_"]
    found = invocation.run(lambda app: (_records if single else _defects)(app, asked))
    if as_json:
        print_json(
            {"records": found} if single else {"groups": [defect_document(d) for d in found]}
        )
    elif not found:
        out.print("Nothing is quarantined.")
    elif single:
        _show_records(found)
    else:
        _show_defects(found)


def _wanted(asked: dict[str, Any]) -> store.Wanted:
    source, stream = asked["source"], None
    if asked["stream"] is not None:
        source, _, stream = asked["stream"].partition("/")
    return store.Wanted(source, stream, _known_reason(asked["reason"]))


def _known_reason(code: str | None) -> str | None:
    if code is not None and code not in reasons():
        raise click.UsageError(f"There is no reason '{code}'. See docs/quarantine.md.")
    return code


async def _records(app: Application, asked: dict[str, Any]) -> list[Any]:
    wanted = _wanted(asked)
    async with app.store.connect() as conn:
        if asked["group"] is not None:
            seq = await ingest.last_seq(conn)
            groups = await quarantine_groups.groups(conn, seq, wanted, group=asked["group"])
            if not groups:
                raise Permanent(
                    f"There is no group {asked['group']}. See `tieout quarantine list`."
                )
            g = groups[0]
            wanted = store.Wanted(g.source, g.stream, g.reason, g.field, g.shape)
        return await store.entries(
            conn, resolved=asked["all_"], wanted=wanted, limit=asked["limit"]
        )


async def _defects(app: Application, asked: dict[str, Any]) -> list[Any]:
    async with app.store.connect() as conn:
        seq = await ingest.last_seq(conn)
        found = await quarantine_groups.groups(
            conn, seq, _wanted(asked), group=asked["group"], limit=asked["limit"]
        )
        return await tell(conn, found)


def _show_records(found: list[store.Entry]) -> None:
    table = Table(box=None, header_style="bold")
    for column in ("id", "stream", "where", "reason", "why"):
        table.add_column(column)
    for e in found:
        where = f"{e.part}, record {e.position}"
        table.add_row(str(e.id), f"{e.source}/{e.stream}", where, e.reason, e.sentence)
    out.print(table)
    out.print(f"{counted(len(found), 'record')}.")


def _show_defects(found: list[Defect]) -> None:
    for d in found:
        g = d.group
        out.print(f"{g.id}  {g.source}/{g.stream}  {g.reason}", style="bold", markup=False)
        share = "" if d.share_ppm is None else f", {d.share_ppm / 10_000:.2f} % of the stream since"
        out.print(f"  {d.said}, last {g.last_at:%Y-%m-%d %H:%M}{share}.", markup=False)
        out.print(f"  {d.means}", markup=False)
        out.print(f"  Mend ({d.who}): {d.mend}", markup=False)
        samples = " and ".join(map(str, sorted({g.first_id, g.last_id})))
        out.print(f"  For example {samples}: {g.sentence}", markup=False)
    records = sum(d.group.records for d in found)
    out.print(f"{counted(records, 'record')} in {counted(len(found), 'group')}.")


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
    name="replay",
    epilog=example(
        "tieout quarantine replay",
        "tieout quarantine replay --stream bank/statements --reason NOT_MONEY",
        "tieout quarantine replay 3 4",
    ),
)
@click.argument("ids", nargs=-1, type=int, metavar="[ID]...")
@STREAM
@REASON
@click.option("--force", is_flag=True, help="Also what the mapping as it is now has refused.")
@JSON
@click.pass_obj
def replay_command(
    invocation: Invocation,
    ids: tuple[int, ...],
    stream: str | None,
    reason: str | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Map records again with the mapping as it is now; without ids, all open ones.

    A record that this very mapping has refused is left out, unless --force is given or its id is named. A replay that
    was interrupted goes on where it was.
    """
    asked = Asked(_known_reason(reason), list(ids) or None, force or bool(ids))
    outcome = invocation.run(lambda app: _replay(app, stream, asked))
    if as_json:
        print_json(outcome)
        return
    out.print(f"{counted(outcome.replayed, 'record')} came in, {outcome.refused:,} did not.")
    for entry, sentence in outcome.sentences.items():
        out.print(f"  {entry}: {sentence}", markup=False)
    if outcome.unchanged:
        out.print(
            f"{counted(outcome.unchanged, 'record')} left out: the mapping that refused them has not changed"
            " (--force tries nevertheless)."
        )
    if outcome.unconfigured:
        out.print(
            f"{counted(outcome.unconfigured, 'record')} left out: no source has their stream any more."
        )


async def _replay(app: Application, stream: str | None, asked: Asked) -> Outcome:
    sources = _streams(app, stream)
    async with app.store.connect() as conn:
        for entry in asked.ids or ():
            await store.body(conn, entry)
        for entry in await store.resolved(conn, asked.ids or ()):
            raise Permanent(f"Record {entry} was resolved before.")
        columns = TextColumn("records mapped again"), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, console=err, transient=True) as progress:
            task = progress.add_task("", total=None)
            replay = Replay(conn, app.limit, app.clock, actor())
            return await replay.run(sources, asked, lambda n: progress.advance(task, n))


def _streams(app: Application, wanted: str | None) -> list[Source]:
    found = [s for s in app.sources() if wanted in (None, f"{s.source}/{s.stream}")]
    if wanted is not None and not found:
        raise Misconfigured(f"There is no stream '{wanted}': name it as SOURCE/STREAM.")
    return found


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
