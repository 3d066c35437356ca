"""Commands about how completely streams are known: by stream, and by window."""

import sys
from datetime import datetime
from typing import Any

import click
import msgspec
from rich.table import Table

from api.cli.root import (
    AS_KNOWN,
    AS_OF,
    EXIT_INCOMPLETE,
    EXIT_OK,
    JSON,
    Invocation,
    example,
    out,
    print_json,
)
from api.present import ledger_document, stream_document
from api.wiring import Application
from collector import clock
from collector.errors import Misconfigured, Refused
from collector.model.money import from_minor
from collector.pipeline.certificate import Certificate, Sealed, is_genuine, issue
from collector.pipeline.completeness import known_coverage
from collector.pipeline.ledger import Ledger, Line, Window, ledgers
from collector.settings.load import Configuration
from collector.store import certificates, totals

FROM = click.option("--from", "start", type=click.DateTime(["%Y-%m-%d"]), help="First day (UTC).")
TO = click.option("--to", "end", type=click.DateTime(["%Y-%m-%d"]), help="The day after the last.")
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
    start: datetime | None,
    end: datetime | None,
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
            return await ledgers(conn, chosen(app.configuration, streams, entity), window, known)

    found = invocation.run(find)
    if as_json:
        print_json(ledger_document(found, window, known))
        return
    for ledger in found:
        _show(ledger)


@coverage_group.group(
    name="certificate",
    invoke_without_command=True,
    epilog=example(
        "tieout coverage certificate --stream bank/statements --from 2026-01-01 --to 2026-02-01"
    ),
)
@STREAMS
@ENTITY
@FROM
@TO
@AS_KNOWN
@JSON
@click.pass_context
def certificate_group(  # noqa: PLR0913 -- one argument an option
    ctx: click.Context,
    streams: tuple[str, ...],
    entity: str | None,
    start: datetime | None,
    end: datetime | None,
    as_known: datetime | None,
    *,
    as_json: bool,
) -> None:
    """State how completely streams were seen, seal it with its hash, and keep it.

    The same question about the same knowledge gives the same certificate. Exit code 4: there are gaps.
    """
    if ctx.invoked_subcommand is not None:
        return
    window = window_of(start, end, entity)

    async def issue_one(app: Application) -> Sealed:
        async with app.store.connect() as conn:
            known = as_known or await totals.last_recorded(conn, clock.now())
            wanted = chosen(app.configuration, streams, entity)
            sealed = await issue(conn, wanted, window, known)
            await certificates.keep(conn, *sealed, clock.now())
        return sealed

    sealed = ctx.obj.run(issue_one)
    found = msgspec.json.decode(sealed.body, type=Certificate)
    if as_json:
        print_json({"hash": sealed.hash, "certificate": msgspec.json.decode(sealed.body)})
    else:
        _show_certificate(sealed.hash, found)
    sys.exit(EXIT_OK if found.complete else EXIT_INCOMPLETE)


@certificate_group.command(
    name="show",
    epilog=example("tieout coverage certificate show " + 64 * "0"),
)
@click.argument("hashed", metavar="HASH")
@JSON
@click.pass_obj
def show_command(invocation: Invocation, hashed: str, *, as_json: bool) -> None:
    """Show a certificate as it was kept, if it still is what its hash says.

    With --json it is written to the byte, without a line's end: its SHA-256 is the hash.
    """

    async def find(app: Application) -> str | None:
        async with app.store.connect() as conn:
            return await certificates.body_of(conn, hashed)

    body = invocation.run(find)
    if body is None:
        raise Refused(f"There is no certificate {hashed}.")
    if not is_genuine(Sealed(hashed, body)):
        raise Refused(f"The certificate {hashed} was altered: its text has another hash.")
    if as_json:
        sys.stdout.write(body)
    else:
        _show_certificate(hashed, msgspec.json.decode(body, type=Certificate))


def _show_certificate(hashed: str, of: Certificate) -> None:
    asked = of.asked
    since = "the beginning" if asked.since is None else asked.since.isoformat()
    out.print(f"certificate {hashed}", style="bold")
    out.print(
        f"{'complete' if of.complete else 'not complete'}, grade {of.grade}, from {since} to "
        f"{asked.until.isoformat()}, {asked.entity or 'all entities'}, as known at {asked.as_known.isoformat()}"
    )
    for stream in of.streams:
        until = (
            "nobody says until when"
            if stream.watermark is None
            else f"complete until {stream.watermark}"
        )
        out.print(f"{stream.stream}: grade {stream.grade}, {until}", markup=False)
        for gap in stream.gaps:
            size = "unknown" if gap.records is None else f"{gap.records:,}"
            money = "unknown" if gap.amounts is None else _money(gap.amounts)
            out.print(f"  gap: {gap.sentence} Records: {size}; amount: {money}.", markup=False)


def window_of(start: datetime | None, end: datetime | None, entity: str | None) -> Window:
    """Make a window of two days, the second one not in it."""
    if start is None or end is None:
        raise click.UsageError("Say of which days: --from 2026-01-01 --to 2026-02-01.")
    if start >= end:
        raise click.UsageError("--to is the day after the last one: it must be later than --from.")
    return Window(start.date(), end.date(), entity)


def chosen(configuration: Configuration, wanted: tuple[str, ...], entity: str | None) -> list[str]:
    """Return the streams that are asked for, by default all that can hold records of the entity.

    Raises:
        Misconfigured: one is not configured; the message lists those that are.
    """
    known = {
        f"{source_id}/{stream_id}": stream.entity
        for source_id, source in configuration.settings.sources.items()
        for stream_id, stream in source.streams.items()
    }
    for name in wanted:
        if name not in known:
            raise Misconfigured(f"There is no stream '{name}'. Streams: {', '.join(known)}.")
    return list(wanted) or [n for n, of in known.items() if entity is None or of in {None, entity}]


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
