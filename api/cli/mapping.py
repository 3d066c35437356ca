"""Commands about what a changed mapping makes of records that are in the store already."""

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from api.cli.data import actor
from api.cli.root import JSON, Invocation, err, example, out, print_json
from api.wiring import Application
from collector.errors import Misconfigured
from collector.model.money import from_minor
from collector.model.words import counted
from collector.pipeline.ahead import Source
from collector.pipeline.changes import Change, Transaction
from collector.pipeline.remap import Remapping, Report

STREAM = click.argument("stream", metavar="SOURCE/STREAM")


@click.group(epilog=example("tieout mapping diff shop/orders"))
def mapping() -> None:
    """See what a changed mapping makes of records that are in the store, and have it count."""


@mapping.command(epilog=example("tieout mapping diff shop/orders"))
@STREAM
@JSON
@click.pass_obj
def diff(invocation: Invocation, stream: str, *, as_json: bool) -> None:
    """Say what the mapping as it is now would make otherwise: records, events and transactions. Changes nothing.

    Reading of other streams waits to be written while this runs.
    """
    _show(invocation.run(lambda app: _run(app, stream, apply=False)), "would", as_json=as_json)


@mapping.command(epilog=example("tieout mapping apply shop/orders"))
@STREAM
@JSON
@click.pass_obj
def apply(invocation: Invocation, stream: str, *, as_json: bool) -> None:
    """Map the kept records of a stream again; those that come out otherwise count as they do now.

    Nothing is deleted: what was known before stays known. A run that was interrupted goes on where it was. A record that the
    mapping refuses is quarantined.
    """
    _show(invocation.run(lambda app: _run(app, stream, apply=True)), "now", as_json=as_json)


async def _run(app: Application, stream: str, *, apply: bool) -> Report:
    source = _source(app, stream)
    columns = TextColumn("records mapped again"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("", total=None)
        async with app.store.connect() as conn:
            remapping = Remapping(conn, source, app.limit, app.clock, actor())
            work = remapping.apply if apply else remapping.diff
            return await work(lambda n, whole: progress.update(task, completed=n, total=whole))


def _source(app: Application, stream: str) -> Source:
    for source in app.sources():
        if f"{source.source}/{source.stream}" == stream:
            return source
    raise Misconfigured(f"There is no stream '{stream}': name it as SOURCE/STREAM.")


def _show(report: Report, when: str, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    r = report
    out.print(
        f"{counted(r.records, 'record')} mapped again: {r.changed:,} {when} come out otherwise.",
        markup=False,
    )
    out.print(
        f"Events: {r.replaced:,} replaced, {r.added:,} added, {r.withdrawn:,} not made any more."
    )
    if r.refused:
        out.print(f"{counted(r.refused, 'record')} refused: see `tieout quarantine list`.")
    if r.not_kept:
        out.print(
            f"{counted(r.not_kept, 'accepted record')} not in the store (`keep_raw` was off, or their time came): they stay as "
            "an earlier mapping made them. Read the source anew into an empty store to have them otherwise."
        )
    if r.not_known:
        out.print(
            f"{counted(r.not_known, 'record')} that an earlier mapping ignored not in the store: what they mean now only the "
            "source can tell."
        )
    out.print(f"{counted(r.transactions, 'transaction')} {when} otherwise.", style="bold")
    for change in r.changes:
        _show_change(change)
    if r.transactions > len(r.changes):
        out.print(f"and {r.transactions - len(r.changes):,} more.")


def _show_change(change: Change) -> None:
    before, after = (
        {line for t in side for line in _lines(t)} for side in (change.before, change.after)
    )
    named = change.after or change.before
    out.print(", ".join(transaction.id for transaction in named), markup=False)
    for mark, lines in (("-", before - after), ("+", after - before)):
        for line in sorted(lines):
            out.print(f"  {mark} {line}", markup=False)


def _lines(transaction: Transaction) -> list[str]:
    """Write a transaction as lines: which documents it holds, and what happened to each."""
    documents = sorted(f"{d.kind} {d.number}" for d in transaction.documents)
    lines = [f"together: {', '.join(documents)}"]
    for d in transaction.documents:
        for s in d.steps:
            money = (
                ""
                if s.amount_minor is None or s.currency is None
                else f", {from_minor(s.amount_minor, s.currency)}"
            )
            times = "" if s.n == 1 else f" {s.n} times"
            lines.append(f"{d.kind} {d.number}: {s.type}{times}, {s.last_at:%Y-%m-%d %H:%M}{money}")
    return lines


COMMANDS = (mapping,)
