"""Commands about how completely streams are known: by stream, and by window."""

from datetime import datetime
from typing import Any

import click
import msgspec
from rich.table import Table

from api.cli.root import AS_KNOWN, AS_OF, JSON, Invocation, example, out, print_json
from api.present import ledger_document, stream_document
from api.wiring import Application
from collector import clock
from collector.errors import Misconfigured
from collector.model.money import from_minor
from collector.pipeline.completeness import known_coverage
from collector.pipeline.ledger import Ledger, Line, Window, ledgers
from collector.settings.load import Configuration

FROM = click.option(
    "--from", "start", type=click.DateTime(["%Y-%m-%d"]), required=True, help="First day (UTC)."
)
TO = click.option(
    "--to", "end", type=click.DateTime(["%Y-%m-%d"]), required=True, help="The day after the last."
)
ENTITY = click.option("--entity", default=None, help="Events of this entity alone.")
STREAMS = click.option(
    "--stream", "streams", multiple=True, metavar="SOURCE/STREAM", help="One stream; repeat it."
)


@click.group(
    name="coverage",
    invoke_without_command=True,
    epilog=example("tieout coverage --as-of 2026-02-05T08:00:00+01:00"),
)
@AS_OF
@AS_KNOWN
@JSON
@click.pass_context
def coverage_group(
    ctx: click.Context, as_of: datetime, as_known: datetime | None, *, as_json: bool
) -> None:
    """Show how completely each stream is known: totals, until when, on whose word, and the gaps."""
    if ctx.invoked_subcommand is not None:
        return
    known = as_known or clock.now()
    found = ctx.obj.run(lambda app: _coverage(app, as_of, known))
    if as_json:
        print_json({"as_of": as_of, "as_known": known, "streams": found})
        return
    table = Table(box=None, header_style="bold")
    for column in (
        "stream",
        "grade",
        "complete until",
        "declared",
        "accepted",
        "quarantined",
        "gaps",
    ):
        table.add_column(column)
    for s in found:
        table.add_row(
            f"{s['source']}/{s['stream']}",
            s["grade"],
            str(s["watermark"] or "nobody says"),
            "" if s["declared"] is None else f"{s['declared']:,}",
            f"{s['accepted']:,}",
            f"{s['quarantined']:,}",
            "; ".join(g["sentence"] for g in s["gaps"]) or "[green]none[/green]",
        )
    out.print(table)


async def _coverage(app: Application, as_of: datetime, as_known: datetime) -> list[dict[str, Any]]:
    async with app.store.connect() as conn:
        covered = await known_coverage(conn, app.configuration.document(), as_known)
    return [
        {**stream_document(key, c), "gaps": msgspec.to_builtins(c.gaps_at(as_of))}
        for key, c in covered.items()
    ]


@coverage_group.command(
    name="ledger",
    epilog=example(
        "tieout coverage ledger --stream bank/statements --from 2026-01-01 --to 2026-02-01"
    ),
)
@STREAMS
@ENTITY
@FROM
@TO
@AS_KNOWN
@JSON
@click.pass_obj
def ledger_command(  # noqa: PLR0913 -- one argument an option
    invocation: Invocation,
    streams: tuple[str, ...],
    entity: str | None,
    start: datetime,
    end: datetime,
    as_known: datetime | None,
    *,
    as_json: bool,
) -> None:
    """Show both sides' totals by day, month and in all, and what is missing between them.

    What the source states it states of a part (a file): it stands in the smallest window that holds the part.
    """
    window, known = window_of(start, end, entity), as_known or clock.now()

    async def find(app: Application) -> list[Ledger]:
        async with app.store.connect() as conn:
            return await ledgers(conn, chosen(app.configuration, streams), window, known)

    found = invocation.run(find)
    if as_json:
        print_json(ledger_document(found, window, known))
        return
    for ledger in found:
        _show(ledger)


def window_of(start: datetime, end: datetime, entity: str | None) -> Window:
    """Make a window of two days, the second one not in it."""
    if start >= end:
        raise click.UsageError("--to is the day after the last one: it must be later than --from.")
    return Window(start.date(), end.date(), entity)


def chosen(configuration: Configuration, wanted: tuple[str, ...]) -> list[str]:
    """Return the streams that are asked for, by default all.

    Raises:
        Misconfigured: one is not configured; the message lists those that are.
    """
    known = [f"{i}/{s}" for i, of in configuration.settings.sources.items() for s in of.streams]
    for name in wanted:
        if name not in known:
            raise Misconfigured(f"There is no stream '{name}'. Streams: {', '.join(known)}.")
    return list(wanted) or known


def _show(ledger: Ledger) -> None:
    table = Table(box=None, header_style="bold", title=ledger.stream, title_justify="left")
    for column in ("window", "events", "amounts", "stated", "missing", "quarantined", "unread"):
        table.add_column(column, justify="left" if column in ("window", "quarantined") else "right")
    for line in ledger.lines:
        table.add_row(*_cells(line))
    out.print(table)
    if ledger.parts_beyond:
        out.print(f"Totals of {ledger.parts_beyond} parts are stated of more than this window.")


def _cells(line: Line) -> tuple[str, ...]:
    stated = line.stated
    return (
        line.window,
        f"{line.events:,}",
        _money(line.amounts),
        "nothing" if stated is None else _both(stated.records, stated.amounts),
        "unknown" if stated is None else _both(stated.missing, stated.missing_amounts),
        ", ".join(f"{n:,} {reason}" for reason, n in sorted(line.quarantined.items())),
        "unknown" if line.unread is None else f"{line.unread:,}",
    )


def _both(records: int | None, amounts: dict[str, int] | None) -> str:
    count = "" if records is None else f"{records:,}"
    return " ".join(filter(None, (count, _money(amounts or {})))) or "unknown"


def _money(amounts: dict[str, int]) -> str:
    return ", ".join(from_minor(amount, currency) for currency, amount in sorted(amounts.items()))


COMMANDS = (coverage_group,)
