"""Commands about flows and their cases."""

from datetime import datetime
from typing import Any

import click
from rich.table import Table

from api.cli.root import AS_KNOWN, AS_OF, JSON, Invocation, Style, example, out, print_json
from api.present import flow_document
from api.wiring import Application
from collector.errors import Misconfigured
from collector.model.money import from_minor
from collector.store import flows, totals

STATUSES = ("DONE", "LATE", "PENDING", "MISSING", "FAILED", "SKIPPED", "UNEVALUABLE")


@click.group(epilog=example("tieout flow show expense-to-reimbursement"))
def flow() -> None:
    """Show flows: the expected steps of a kind of transaction."""


@flow.command(name="list", epilog=example("tieout flow list"))
@JSON
@click.pass_obj
def list_(invocation: Invocation, *, as_json: bool) -> None:
    """List the configured flows."""
    found = invocation.configuration().flows
    if as_json:
        listed = [
            {"flow": f.flow, "title": f.title, "steps": [s.name for s in f.steps]} for f in found
        ]
        print_json({"flows": listed})
        return
    for f in found:
        out.print(f"[bold]{f.flow}[/bold]  {f.title}: {' → '.join(s.name for s in f.steps)}")


@flow.command(
    epilog=example("tieout flow show expense-to-reimbursement --as-of 2026-02-05T08:00:00+01:00")
)
@click.argument("flow_id", metavar="ID")
@AS_OF
@AS_KNOWN
@JSON
@click.pass_obj
def show(
    invocation: Invocation,
    flow_id: str,
    as_of: datetime,
    as_known: datetime | None,
    *,
    as_json: bool,
) -> None:
    """Count, per step and status, items and amounts: the first thing to look at."""
    document = invocation.run(lambda app: flow_counts(app, flow_id, as_of, as_known))
    if as_json:
        print_json(document)
    else:
        show_counts(document)


async def flow_counts(
    app: Application, flow_id: str, as_of: datetime, as_known: datetime | None
) -> dict[str, Any]:
    """Count a flow's cases per step and status, as of T and as known at K."""
    flow = app.configuration.flow(flow_id)
    async with app.store.connect() as conn:
        known = as_known or await totals.last_recorded(conn, app.clock())
    async with app.store.connect("tieout_reader") as conn:
        counts = await flows.counts(conn, flow_id, as_of, known)
    return flow_document(flow, counts, as_of, known)


def show_counts(document: dict[str, Any]) -> None:
    """Draw the counts of a flow as a table: a row per step and currency, a column per status."""
    used = [s for s in STATUSES if any(s in step["statuses"] for step in document["steps"])]
    table = Table(
        title=f"{document['flow']} as of {document['as_of'].isoformat()}",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    table.add_column("step")
    table.add_column("system", style="dim")
    for status in used:
        table.add_column(status, justify="right", style=Style.STATUS[status])
    for step in document["steps"]:
        cells = []
        for status in used:
            found = step["statuses"].get(status)
            amounts = [from_minor(a or 0, c) for c, a in found["amounts"].items()] if found else []
            cells.append("\n".join([f"{found['count']:,}", *amounts]) if found else "")
        table.add_row(step["name"], step["system"], *cells)
    out.print(table)


@click.command(epilog=example("tieout transactions --status late --flow expense-to-reimbursement"))
@click.option("--flow", "flow_id", default=None, help="One flow.  [default: all]")
@click.option(
    "--status",
    type=click.Choice(STATUSES, case_sensitive=False),
    default=None,
    help="Steps of this status.",
)
@click.option("--step", default=None, help="One step.")
@click.option("--limit", default=50, show_default=True, help="At most so many per flow.")
@AS_OF
@AS_KNOWN
@JSON
@click.pass_obj
def transactions(  # noqa: PLR0913, PLR0917 -- a list's filters
    invocation: Invocation,
    flow_id: str | None,
    status: str | None,
    step: str | None,
    limit: int,
    as_of: datetime,
    as_known: datetime | None,
    *,
    as_json: bool,
) -> None:
    """List cases by the status of their steps: where to begin when one knows no key yet."""

    async def find(app: Application) -> list[dict[str, Any]]:
        wanted = [f.flow for f in app.configuration.flows if flow_id in (None, f.flow)]
        if not wanted:
            raise Misconfigured(f"There is no flow '{flow_id}'. See `tieout flow list`.")
        async with app.store.connect() as conn:
            known = as_known or await totals.last_recorded(conn, app.clock())
            return [
                {"flow": name, **row}
                for name in wanted
                for row in await flows.cases(
                    conn, name, as_of, known, status=status, step=step, limit=limit
                )
            ]

    found = invocation.run(find)
    if as_json:
        print_json({"as_of": as_of, "transactions": found})
        return
    table = Table(box=None, header_style="bold")
    for column in ("flow", "document", "entity", "step", "status", "due", "done", "amount"):
        table.add_column(column)
    for row in found:
        amount = (
            "" if row["amount_minor"] is None else from_minor(row["amount_minor"], row["currency"])
        )
        table.add_row(
            row["flow"],
            row["number"],
            row["entity"] or "",
            row["step"],
            f"[{Style.STATUS[row['status']]}]{row['status']}[/]",
            _minute(row["due_at"]),
            _minute(row["done_at"]),
            amount,
        )
    out.print(table)
    out.print(f"{len(found)} steps. `tieout trace DOCUMENT` tells the whole story of one.")


def _minute(instant: datetime | None) -> str:
    return "" if instant is None else instant.strftime("%Y-%m-%d %H:%M")


COMMANDS = (flow, transactions)
