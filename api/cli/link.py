"""Commands about why documents belong together, and about what a person decides of that."""

from collections.abc import Awaitable, Callable

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.cli.data import actor
from api.cli.root import JSON, Invocation, err, example, out, print_json
from api.wiring import Application
from collector.model.words import counted
from collector.pipeline.explain import Change, Decided, Edge, Explanation, Named, decided, explain
from collector.pipeline.link import Links
from collector.pipeline.match import Matched
from collector.pipeline.suggestions import Suggested
from collector.pipeline.suggestions import suggestions as suggested
from collector.store import links
from collector.store.links import Decision

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
    author = {d.id: d.actor for d in found.decisions}
    for edge in edges:
        _show_edge(edge, named, author)
    if not edges and found.path is None:
        out.print("No name joins it to another document.")
    for change in found.changes:
        _show_change(change)
    for decision in found.decisions:
        _show_decision(decision)


def _show_edge(edge: Edge, named: dict[str, Named], author: dict[int, str]) -> None:
    joins = "joins" if edge.joins else f"joins nothing: {edge.why_not}"
    out.print(f"{edge.kind} {edge.value}  {joins}", markup=False, style="bold")
    table = Table(box=None, show_header=False, padding=(0, 2))
    for h in edge.holders:
        d = named[h.document]
        decided_by = author[edge.decisions[-1]] if edge.decisions else "a person"
        told = f"told by {h.stream}, {h.part}" if h.stream else f"decided by {decided_by}"
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
    about = d.name if d.action == "ignore" else f"{d.document} {d.name or d.other}"
    out.print(
        f"decision {d.id}: {d.action} {about}, {d.actor}, {d.at:%Y-%m-%d %H:%M:%S}:"
        f" {d.reason}{undone}",
        markup=False,
    )
    if (e := d.evidence) is not None:
        fields = ", ".join(f"{name} {like}" for name, like in e.fields.items())
        out.print(f"  rule {e.rule} {e.version}, score {e.score}: {fields}", markup=False)
        for r in e.rivals:
            out.print(f"  rival: {r.document} {r.other}, score {r.score}", markup=False)


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
    _decide(invocation, reason, lambda links_: links_.add(document, other, reason))


@link.command(epilog=example("tieout link cut 5100000456 57EE1FDA34 --reason 'of another claim'"))
@click.argument("document")
@click.argument("other")
@REASON
@click.pass_obj
def cut(invocation: Invocation, document: str, other: str, reason: str) -> None:
    """Take DOCUMENT away from OTHER: the names that join the two join nothing for it.

    What sources tell is kept as they told it, now and when they tell it again.
    """
    _decide(invocation, reason, lambda links_: links_.cut(document, other, reason))

    async def find(app: Application) -> Explanation:
        async with app.store.connect() as conn:
            return await explain(conn, app.limit, document, other)

    if path := invocation.run(find).path:
        names = ", ".join(f"{e.kind} {e.value}" for e in path)
        out.print(f"They still belong to one transaction, by way of {names}.", markup=False)


@link.command(
    epilog=example("tieout link ignore claim_number 99999 --reason 'typed where there is no claim'")
)
@click.argument("kind")
@click.argument("value")
@click.option("--scope", default=None, help="Within what it is unique, where there are several.")
@REASON
@click.pass_obj
def ignore(invocation: Invocation, kind: str, value: str, scope: str | None, reason: str) -> None:
    """Have VALUE join nothing, whichever documents hold it as their KIND: a dummy, a default.

    `tieout readiness` and the control `weak_key` name such values.
    """
    _decide(invocation, reason, lambda links_: links_.ignore(kind, value, reason, scope))


@link.command(epilog=example("tieout link undo 3 --reason 'it was the same claim after all'"))
@click.argument("decision", type=int, metavar="ID")
@REASON
@click.pass_obj
def undo(invocation: Invocation, decision: int, reason: str) -> None:
    """Take a link, a cut or an ignored value back. That it was decided stays known."""
    _decide(invocation, reason, lambda links_: links_.undo(decision, reason))


@link.command(name="list", epilog=example("tieout link list"))
@JSON
@click.pass_obj
def list_(invocation: Invocation, *, as_json: bool) -> None:
    """List what was decided, also what was taken back."""

    async def find(app: Application) -> list[Decided]:
        async with app.store.connect() as conn:
            return await decided(conn, await links.decisions(conn))

    found = invocation.run(find)
    if as_json:
        print_json({"decisions": found})
        return
    for decision in found:
        _show_decision(decision)
    if not found:
        out.print("Nobody has decided anything.")


@link.command(epilog=example("tieout link match --dry-run", "tieout link match"))
@click.option(
    "--dry-run", is_flag=True, help="Count what would be linked and suggested; keep nothing."
)
@JSON
@click.pass_obj
def match(invocation: Invocation, *, dry_run: bool, as_json: bool) -> None:
    """Link documents that share no name, by the rules under `links`, and suggest what is not unique.

    `tieout run` does so by itself, whenever something new is known.
    """

    async def find(app: Application) -> list[Matched]:
        await app.prepare()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=err, transient=True) as progress:
            task = progress.add_task("", total=None)
            async with app.store.connect() as conn:
                return await app.matcher(conn).match(
                    dry_run=dry_run, tell=lambda said: progress.update(task, description=said)
                )

    found = invocation.run(find)
    if as_json:
        print_json({"rules": found})
        return
    table = Table(box=None, header_style="bold")
    for column in ("rule", "candidates", "linked", "suggested", "too many candidates"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for m in found:
        counts = (m.pairs, m.linked, sum(m.suggested.values()), m.crowded)
        table.add_row(m.rule, *(f"{n:,}" for n in counts))
    out.print(table if found else "No rule is configured under `links`.")


@link.command(epilog=example("tieout link suggestions --rule bank_line"))
@click.option("--rule", default=None, help="What this rule suggests alone.")
@click.option(
    "--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many."
)
@JSON
@click.pass_obj
def suggestions(invocation: Invocation, rule: str | None, limit: int, *, as_json: bool) -> None:
    """List what rules suggest: three candidates at most, with score, what agrees and differs, and rivals."""

    async def find(app: Application) -> list[Suggested]:
        async with app.store.connect() as conn:
            return await suggested(conn, rule, "", limit + 1)

    found = invocation.run(find)
    shown = found[:limit]
    if as_json:
        print_json({"items": shown, "has_more": len(found) > limit})
        return
    for s in shown:
        _show_suggestion(s)
    if not shown:
        out.print("Nothing is suggested.")
    if len(found) > limit:
        err.print("There are more: see --limit and --rule.")


_WHY = {
    "AMBIGUOUS": "several may be meant",
    "WEAK": "too little agrees",
    "WAITING": "a rival may still come",
    "QUESTIONED": "a link that a rule made may be wrong",
}


def _show_suggestion(s: Suggested) -> None:
    out.print(
        f"{s.id}  {s.document.type} {s.document.number}  {s.rule}: {_WHY[s.why]}",
        markup=False,
        style="bold",
    )
    for c in s.candidates:
        linked = f", linked by a rule to {c.linked.type} {c.linked.number}" if c.linked else ""
        out.print(
            f"  {c.n}. {c.document.type} {c.document.number}  score {c.score},"
            f" {counted(c.days_apart, 'day')} apart{linked}",
            markup=False,
        )
        for title, fields in (("agrees", c.agrees), ("differs", c.differs)):
            if fields:
                said = (f"{f} {c.fields[f]}" for f in fields)
                out.print(f"     {title}: {', '.join(said)}", markup=False)
        if c.rivals:
            rivals = (f"{r.document.type} {r.document.number} {r.score}" for r in c.rivals)
            out.print(f"     rivals: {', '.join(rivals)}", markup=False)
    if s.more:
        out.print(f"  and {s.more:,} more")


@link.command(epilog=example("tieout link accept 3f9a0c51d2 1 --reason 'asked the payee'"))
@click.argument("suggestion", metavar="ID")
@click.argument("n", type=click.IntRange(min=1))
@REASON
@click.pass_obj
def accept(invocation: Invocation, suggestion: str, n: int, reason: str) -> None:
    """Link the document of suggestion ID with its candidate N, as your decision."""
    _decide(invocation, reason, lambda links_: links_.accept(suggestion, n, reason))


@link.command(epilog=example("tieout link reject 3f9a0c51d2 2 --reason 'of another payee'"))
@click.argument("suggestion", metavar="ID")
@click.argument("n", type=click.IntRange(min=1), required=False)
@REASON
@click.pass_obj
def reject(invocation: Invocation, suggestion: str, n: int | None, reason: str) -> None:
    """Have no rule link the document of suggestion ID with its candidate N, or with any that is shown."""
    _decide(invocation, reason, lambda links_: links_.reject(suggestion, n, reason))


def _decide(
    invocation: Invocation,
    reason: str,
    work: Callable[[Links], Awaitable[Decision | list[Decision]]],
) -> None:
    """Have a person decide, and show what was decided."""
    if not reason.strip():
        raise click.UsageError("Say with --reason why.")

    async def run(app: Application) -> list[Decided]:
        async with app.store.connect() as conn:
            made = await work(Links(conn, app.limit, app.clock, actor()))
            return await decided(conn, made if isinstance(made, list) else [made])

    for decision in invocation.run(run):
        _show_decision(decision)


COMMANDS = (transaction, link)
