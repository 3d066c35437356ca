"""Commands that tell what is known: of one key, and of the store as a whole."""

import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import click
from rich.table import Table

from api.cli.root import (
    AS_KNOWN,
    AS_OF,
    EXIT_ERROR,
    JSON,
    Invocation,
    Style,
    example,
    out,
    print_json,
)
from api.present import story_document
from api.wiring import Application
from collector import clock
from collector.model.money import from_minor
from collector.model.step import StepState
from collector.model.story import Story, Transaction
from collector.model.words import counted
from collector.pipeline.completeness import known_coverage
from collector.pipeline.story import Stories
from collector.settings.load import Configuration
from collector.store import bridges, overview, retention
from collector.store.bridges import Residual


@click.command(epilog=example("tieout trace 57EE1FDA34", "tieout trace 5100000456 --json"))
@click.argument("key")
@AS_OF
@AS_KNOWN
@JSON
@click.pass_obj
def trace(
    invocation: Invocation, key: str, as_of: datetime, as_known: datetime | None, *, as_json: bool
) -> None:
    """Tell the whole story behind a key: any reference, number, document id, or unique fragment."""

    async def find(app: Application) -> Story:
        async with app.store.connect() as conn:
            return await Stories(app.configuration.settings).tell(conn, key, as_of, as_known)

    story = invocation.run(find)
    if as_json:
        print_json(story_document(story))
    else:
        show_story(story)
    sys.exit(0 if story.transactions else EXIT_ERROR)


def show_story(story: Story) -> None:
    """Draw a story in the terminal."""
    for transaction in story.transactions:
        _show_transaction(transaction)
    if story.transactions:
        if story.candidates:
            out.print("These name it as a group, each in a transaction of its own:")
            _show_candidates(story)
        if story.has_more:
            out.print(f"'{story.key}' leads to more; these are the first.", markup=False)
        return
    if not story.candidates:
        out.print(f"Nothing is called '{story.key}', and nothing contains it.", markup=False)
        return
    out.print(f"'{story.key}' is not one name. Did you mean one of these?", markup=False)
    _show_candidates(story)
    if story.has_more:
        out.print("  … and more; give more of the key.")


def _show_candidates(story: Story) -> None:
    for c in story.candidates:
        what = c.document if c.role == "own" else f"{c.kind}, {c.role} of a {c.document}"
        out.print(f"  {c.value}  ({what})", markup=False)


MARKS = {
    "DONE": "●",
    "LATE": "●",
    "PENDING": "○",
    "MISSING": "✗",
    "FAILED": "✗",
    "SKIPPED": "-",
    "UNEVALUABLE": "?",
}


def _show_transaction(t: Transaction) -> None:
    out.rule(f"[bold]{t.documents[0].type} {t.documents[0].number}[/bold]", align="left")
    out.print(f"transaction {t.id}", style="dim")
    if t.flow is not None:
        out.print(f"{t.flow}: [bold]{t.status}[/bold]")
    steps = Table(box=None, show_header=False, padding=(0, 1))
    for s in t.steps:
        colour = Style.STATUS[s.status]
        steps.add_row(
            f"[{colour}]{MARKS[s.status]}[/]",
            s.title,
            f"[dim]{s.system}[/dim]",
            f"[{colour}]{s.status}[/]",
            _when(s),
            _money(s.amount_minor, s.currency),
            _wait(s),
        )
    out.print(steps)
    if t.links:
        for link in t.links:
            out.print(f"  {link.role:8} {link.kind} {link.value}", style="dim", markup=False)
    events = Table(box=None, header_style="bold", padding=(0, 1))
    for column in ("when", "event", "source", "document", "amount", "what it said"):
        events.add_column(column)
    number = {d.id: f"{d.type} {d.number}" for d in t.documents}
    for e in t.events:
        events.add_row(
            e.occurred_at.strftime("%Y-%m-%d %H:%M:%S"),
            e.type,
            e.source,
            number[e.document] if e.via is None else f"through {e.via}",
            _money(e.amount_minor, e.currency),
            e.message or e.status or "",
        )
    out.print(events)


def _money(amount_minor: int | None, currency: str | None) -> str:
    return "" if amount_minor is None or currency is None else from_minor(amount_minor, currency)


def _when(step: StepState) -> str:
    if step.done_at is not None:
        return step.done_at.strftime("%Y-%m-%d %H:%M")
    if step.failed_at is not None:
        return f"failed {step.failed_at:%Y-%m-%d %H:%M}"
    if step.due_at is not None and step.status in ("PENDING", "MISSING"):
        return f"due {step.due_at:%Y-%m-%d %H:%M}"
    return ""


def _wait(step: StepState) -> str:
    """Tell waiting from working: how long the step took, and whether for a person or a system."""
    if step.message:
        return step.message
    if step.done_at is None or step.basis_at is None:
        return (
            f"waits for the {step.waits_for}" if step.status == "PENDING" and step.waits_for else ""
        )
    who = f"waited for the {step.waits_for}" if step.waits_for else "took"
    return f"[dim]{who} {_span(step.done_at - step.basis_at)}[/dim]"


def _span(delta: timedelta) -> str:
    minutes = int(delta.total_seconds() // 60)
    days, rest = divmod(minutes, 1440)
    hours, minutes = divmod(rest, 60)
    return (
        f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min"
    )


@click.command(epilog=example("tieout status"))
@JSON
@click.pass_obj
def status(invocation: Invocation, *, as_json: bool) -> None:
    """Show the server, the data folder, its size, retention, the last read of each stream, and gaps.

    "Data loss in": how long a source that forgets still has what follows "complete until".
    """
    found = invocation.run(_glance)
    if as_json:
        print_json(found)
        return
    out.print(f"configuration  {found['configuration']}", markup=False)
    out.print(f"data folder    {found['data_dir'] or '(another server)'}", markup=False)
    out.print(f"server         PostgreSQL {found['server']}, {found['size_bytes'] / 1e6:,.1f} MB")
    out.print(
        f"content        {counted(found['events'], 'event')}, "
        f"{counted(found['documents'], 'document')}, {counted(found['runs'], 'control run')}"
    )
    for r in found["retention"]:
        kept = f"kept for {counted(r['days'], 'day')}" if r["days"] else "kept"
        ran = f"{r['last_run']:%Y-%m-%d %H:%M:%S}" if r["last_run"] else "never"
        out.print(
            f"retention      {r['what']} {kept}; last run {ran}, {counted(r['erased'], 'row')} erased"
        )
    for b in found["bridge"]:
        at = f"{b['flow']} {b['period']} as of {b['as_of']:%Y-%m-%d %H:%M}"
        out.print(f"bridge         {at}: {_unexplained(b)}", markup=False)
    table = Table(box=None, header_style="bold")
    for column in ("stream", "records", "last read", "complete until", "data loss in", "gaps"):
        table.add_column(column)
    for s in found["streams"]:
        table.add_row(
            s["stream"],
            f"{s['records']:,}",
            s["last_read"].strftime("%Y-%m-%d %H:%M:%S") if s["last_read"] else "never",
            str(s["complete_until"] or "nobody says"),
            _time_to_loss(s["kept_until"]),
            "; ".join(s["gaps"]) or "none",
        )
    out.print(table)


async def _glance(app: Application) -> dict[str, Any]:
    async with app.store.connect() as conn:
        server = await overview.server(conn)
        covered = await known_coverage(conn, app.configuration.document(), clock.now())
        erased = await retention.erased(conn)
        residuals = await bridges.residuals(conn)
    return {
        "configuration": str(app.configuration.path),
        "data_dir": None if app.store.data_dir is None else str(app.store.data_dir),
        **server,
        "retention": [
            {
                "what": kind.what,
                "days": getattr(app.configuration.settings.retention, f"{kind.what}_days"),
                "last_run": kind.last_at,
                "erased": kind.total,
            }
            for kind in erased
        ],
        "bridge": list(_bridges(app.configuration, residuals)),
        "streams": [
            {
                "stream": c.stream,
                "records": c.totals.known if c.totals else 0,
                "last_read": c.totals.last_read if c.totals else None,
                "quarantined": c.totals.quarantined if c.totals else 0,
                "complete_until": c.watermark,
                "kept_until": c.kept_until,
                "grade": c.grade,
                "gaps": [g.sentence for g in c.gaps],
            }
            for c in covered.values()
        ],
    }


def _bridges(configuration: Configuration, found: list[Residual]) -> Iterator[dict[str, Any]]:
    """Add up what the last bridge of each flow leaves unexplained, of the last two months that there are."""
    for flow in [flow.flow for flow in configuration.flows if flow.bridge]:
        months = {r.period: r for r in found if r.flow == flow}
        for period in sorted(months)[-2:]:
            of = months[period]
            items = sum(
                r.unexplained_items or 0 for r in found if (r.flow, r.period) == (flow, period)
            )
            yield {
                **{n: getattr(of, n) for n in ("flow", "period", "as_of", "as_known", "complete")},
                "unexplained_items": items if of.computed else None,
                "error": of.error,
            }


def _unexplained(bridge: Mapping[str, Any]) -> str:
    """Say what a bridge leaves unexplained, and whether all was seen."""
    if bridge["error"]:
        return f"could not be computed: {bridge['error']}"
    items = f"{counted(bridge['unexplained_items'], 'item')} unexplained"
    return items if bridge["complete"] else f"{items}, not complete"


def _time_to_loss(kept_until: datetime | None) -> str:
    """Say how long a source that forgets will still have what was not read of it."""
    if kept_until is None:
        return ""
    left = kept_until - clock.now()
    return f"[red]since {kept_until:%Y-%m-%d %H:%M}[/red]" if left < timedelta(0) else _span(left)


COMMANDS = (trace, status)
