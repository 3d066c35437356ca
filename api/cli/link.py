"""Commands about why documents belong together, and about what a person decides of that."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
from rich.table import Table

from api.cli.data import actor
from api.cli.root import JSON, Invocation, example, out, print_json
from api.wiring import Application
from collector.model.words import counted
from collector.pipeline.explain import Change, Decided, Edge, Explanation, Named, decided, explain
from collector.pipeline.link import Links
from collector.store import links

Made = TypeVar("Made")

REASON = click.option("--reason", required=True, help="Why: kept with your name and the time.")


@click.group(epilog=example("tieout transaction explain 57EE1FDA34"))
def transaction() -> None:
    """Look into one transaction: why its documents belong together."""


@transaction.command(
    name="explain",
    epilog=example(
        "tieout transaction explain 57EE1FDA34", "tieout transaction explain 57EE1FDA34 5100000456"
    ),
)
@click.argument("document")
@click.argument("other", required=False)
@JSON
@click.pass_obj
def explain_command(
    invocation: Invocation, document: str, other: str | None, *, as_json: bool
) -> None:
    """Tell by which names the documents of a transaction are joined, who told them, and since when.

    DOCUMENT is the number or id of any of them. With OTHER: what joins these two.
    """

    async def find(app: Application) -> Explanation:
        async with app.store.connect() as conn:
            return await explain(conn, app.limit, document, other)

    found = invocation.run(find)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: Explanation) -> None:
    named = {d.id: d for d in found.documents}
    out.print(f"transaction {found.transaction}", style="bold")
    if found.suspended:
        out.print(
            f"{counted(len(named), 'document')} are joined, too many for one transaction: each stands alone."
        )
    for d in found.documents:
        out.print(f"  {d.type} {d.number}  ({d.id})", markup=False)
    if found.path is not None:
        out.print("These names join the two:" if found.path else "Nothing joins the two.")
    edges = found.edges if found.path is None else found.path
    for edge in edges:
        _show_edge(edge, named)
    if not edges and found.path is None:
        out.print("No name joins it to another document.")
    for change in found.changes:
        _show_change(change)
    for decision in found.decisions:
        _show_decision(decision)


def _show_edge(edge: Edge, named: dict[str, Named]) -> None:
    joins = "joins" if edge.joins else f"joins nothing: {edge.why_not}"
    out.print(f"{edge.kind} {edge.value}  {joins}", markup=False, style="bold")
    table = Table(box=None, show_header=False, padding=(0, 2))
    for h in edge.holders:
        d = named[h.document]
        told = f"told by {h.stream}, {h.part}" if h.stream else "decided by a person"
        since = f"known since {h.known_at:%Y-%m-%d %H:%M:%S}" if h.known_at else ""
        table.add_row(f"{d.type} {d.number}", h.role, told, since)
    out.print(table)


def _show_change(change: Change) -> None:
    when, by = f"{change.at:%Y-%m-%d %H:%M:%S}", f"by a {change.by}"
    groups = [", ".join(f"{d.type} {d.number}" for d in group) for group in change.groups]
    if len(groups) == 1:
        out.print(f"{when}  {groups[0]} joined the others, {by}", markup=False)
    else:
        out.print(f"{when}  taken apart, {by}: {' | '.join(groups)}", markup=False)


def _show_decision(d: Decided) -> None:
    undone = f", taken back by decision {d.undone_by}" if d.undone_by is not None else ""
    out.print(
        f"decision {d.id}: {d.action} {d.document} {d.other}, {d.actor}, {d.at:%Y-%m-%d %H:%M:%S}:"
        f" {d.reason}{undone}",
        markup=False,
    )


@click.group(
    epilog=example("tieout link add 57EE1FDA34 5100000456 --reason 'same trip, typed wrong'")
)
def link() -> None:
    """Decide, as a person, which documents belong together: kept as facts, and abided by ever after."""


@link.command(epilog=example("tieout link add 57EE1FDA34 5100000456 --reason 'typed wrong'"))
@click.argument("document")
@click.argument("other")
@REASON
@click.pass_obj
def add(invocation: Invocation, document: str, other: str, reason: str) -> None:
    """Have two documents belong to one transaction. Give numbers or ids."""
    made = _decide(invocation, reason, lambda links_: links_.add(document, other, reason))
    _show_decision(decided(made))


@link.command(epilog=example("tieout link cut 5100000456 57EE1FDA34 --reason 'of another claim'"))
@click.argument("document")
@click.argument("other")
@REASON
@click.pass_obj
def cut(invocation: Invocation, document: str, other: str, reason: str) -> None:
    """Take DOCUMENT away from OTHER: the names that join the two join nothing for it.

    What sources tell is kept as they told it, now and when they tell it again.
    """
    for made in _decide(invocation, reason, lambda links_: links_.cut(document, other, reason)):
        _show_decision(decided(made))

    async def find(app: Application) -> Explanation:
        async with app.store.connect() as conn:
            return await explain(conn, app.limit, document, other)

    if path := invocation.run(find).path:
        names = ", ".join(f"{e.kind} {e.value}" for e in path)
        out.print(f"They still belong to one transaction, by way of {names}.", markup=False)


@link.command(epilog=example("tieout link undo 3 --reason 'it was the same claim after all'"))
@click.argument("decision", type=int, metavar="ID")
@REASON
@click.pass_obj
def undo(invocation: Invocation, decision: int, reason: str) -> None:
    """Take a link or a cut back. That it was made stays known."""
    made = _decide(invocation, reason, lambda links_: links_.undo(decision, reason))
    _show_decision(decided(made))


@link.command(name="list", epilog=example("tieout link list"))
@JSON
@click.pass_obj
def list_(invocation: Invocation, *, as_json: bool) -> None:
    """List what was decided, also what was taken back."""

    async def find(app: Application) -> list[Decided]:
        async with app.store.connect() as conn:
            return [decided(d) for d in await links.decisions(conn)]

    found = invocation.run(find)
    if as_json:
        print_json({"decisions": found})
        return
    for decision in found:
        _show_decision(decision)
    if not found:
        out.print("Nobody has decided anything.")


def _decide(invocation: Invocation, reason: str, work: Callable[[Links], Awaitable[Made]]) -> Made:
    if not reason.strip():
        raise click.UsageError("Say with --reason why.")

    async def run(app: Application) -> Made:
        async with app.store.connect() as conn:
            return await work(Links(conn, app.limit, app.clock, actor()))

    return invocation.run(run)


COMMANDS = (transaction, link)
