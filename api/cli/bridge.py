"""The bridge: what was approved is posted, paid and returned, or accounted for; the rest is unexplained."""

import csv
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import IO, Any

import click
from rich.table import Table

from api import sheet
from api.cli.data import actor
from api.cli.root import (
    AS_KNOWN,
    AS_OF_KNOWN,
    EXIT_EXCEPTIONS,
    EXIT_INCOMPLETE,
    EXIT_OK,
    JSON,
    Invocation,
    example,
    out,
    print_json,
)
from api.present import bridge_item, decimal_of, titled
from api.wiring import Application
from collector.model.money import from_minor
from control_checks.bridge.bridge import prepared

Document = dict[str, Any]


async def bridge_of(
    app: Application, period: str, as_of: datetime | None, as_known: datetime | None = None
) -> Document:
    """Return the bridge of a period as `--json` shows it; controls that have no run at T are run."""
    return await (await prepared(app.engine(), as_of, as_known, actor())).document(period)


@click.command(
    epilog=example(
        "tieout bridge --period 2026-10",
        "tieout bridge --period 2026-10 --as-of 2026-11-05T08:00:00Z --csv bridge.csv --html bridge.html",
        "tieout bridge --period 2026-10 --items posted/unexplained --entity DE10",
    )
)
@click.option("--period", required=True, metavar="YYYY-MM", help="A month, by each entity's clock.")
@AS_OF_KNOWN
@AS_KNOWN
@click.option("--csv", "csv_to", type=click.File("w", "utf-8"), help="Write CSV; - for output.")
@click.option("--html", "html_to", type=click.File("w", "utf-8"), help="Write a page to send.")
@click.option(
    "--items",
    metavar="STEP/CELL",
    callback=lambda _context, _option, value: _place(value),
    help="List a cell's items: the later step of the hop, and the cell.",
)
@click.option("--flow", help="Items of one flow only.")
@click.option("--entity", help="Items of one entity only.")
@click.option("--currency", help="Items of one currency only.")
@click.option("--limit", default=50, show_default=True, help="At most so many items of a cell.")
@JSON
@click.pass_obj
def bridge(
    invocation: Invocation,
    /,
    period: str,
    as_of: datetime | None,
    as_known: datetime | None,
    **wanted: Any,  # noqa: ANN401 -- what is written where, option by option
) -> None:
    """Show that what was approved in a period is posted, paid and returned, or why not.

    Exceptions come from kept runs of the flows' controls at the status time; a control that has none is
    run. Exit code 0: everything is explained; 3: exceptions noted; 4: none, but something is unexplained
    or not complete.
    """
    to, cell = wanted["items"]
    only = {"to": to, "cell": cell} | {n: wanted[n] for n in ("flow", "entity", "currency")}

    async def find(app: Application) -> tuple[Document, list[Document]]:
        opened = await prepared(app.engine(), as_of, as_known, actor())
        needed = cell or wanted["html_to"]
        listed = await opened.items(period, wanted["limit"], **only) if needed else []
        return await opened.document(period), listed

    document, listed = invocation.run(find)
    if wanted["html_to"]:
        wanted["html_to"].write(sheet.page(document, listed))
    if wanted["csv_to"]:
        write_csv(wanted["csv_to"], document)
    _show(document, listed if cell else None, as_json=wanted["as_json"], quiet=_taken(wanted))
    sys.exit(exit_code(document))


def _place(value: str | None) -> tuple[str | None, str | None]:
    if value is None:
        return None, None
    to, _, cell = value.partition("/")
    if not (to and cell):
        raise click.BadParameter("write it as STEP/CELL, such as posted/in_transit")
    return to, cell


def _taken(wanted: Mapping[str, Any]) -> bool:
    """Say whether standard output is already a file's."""
    return sys.stdout in (wanted["csv_to"], wanted["html_to"])


def _show(document: Document, listed: list[Document] | None, *, as_json: bool, quiet: bool) -> None:
    if quiet:
        return
    if listed is None:
        (print_json if as_json else show_bridge)(document)
    elif as_json:
        print_json({"items": [bridge_item(item) for item in listed]})
    else:
        show_items(listed)


def exit_code(document: Document) -> int:
    """Return 3 where a control reported an item, 4 where something is unexplained or incomplete, else 0."""
    if any(name.startswith("exceptions:") for row in document["rows"] for name in row["cells"]):
        return EXIT_EXCEPTIONS
    unexplained = any(row["unexplained_items"] for row in document["rows"])
    return EXIT_OK if document["complete"] and not unexplained else EXIT_INCOMPLETE


def show_bridge(document: Document) -> None:
    """Print the bridge as a table, one block for each flow, entity, currency and hop."""
    out.print(
        f"[bold]Bridge {document['period']}[/bold] as of {document['as_of'].isoformat(timespec='minutes')}"
        + ("" if document["complete"] else ", [magenta]not complete[/]")
    )
    for gap in document["gaps"]:
        out.print(f"  gap: {gap}", markup=False, style="magenta")
    if not document["rows"]:
        out.print("Nothing was done in this period.")
    for row in document["rows"]:
        table = Table(box=None, show_header=False, title_justify="left", title_style="bold")
        table.title = f"{row['flow']}, {row['entity'] or 'no entity'}: {row['from']} → {row['to']}"
        table.add_column(min_width=36)
        table.add_column(justify="right", min_width=8)
        table.add_column(justify="right", min_width=20)
        for name, cell in row["cells"].items():
            wrong = name == "unexplained" and row["unexplained_items"]
            style = "bold red" if wrong else "bold" if name == "from" else ""
            amount = money(cell["amount_minor"], row["currency"])
            table.add_row(titled(name, row), f"{cell['count']:,}", amount, style=style)
        out.print()
        out.print(table)
    for entry in document["memo"]:
        amount = money(entry["amount_minor"], entry["currency"])
        out.print(
            f"memo: {entry['control']} reports {entry['count']:,} outside these sums"
            f" ({entry['entity'] or 'no entity'}): {amount}",
            markup=False,
        )


def money(amount_minor: int | None, currency: str | None) -> str:
    """Write an amount for people; a hyphen where it has none."""
    return "-" if amount_minor is None or currency is None else from_minor(amount_minor, currency)


def write_csv(file: IO[str], document: Document) -> None:
    """Write a line for each cell: `from` is the sum of the other lines of its hop."""
    lines = csv.writer(file)
    hop = ("flow", "entity", "currency", "from", "to", "from_system", "to_system")
    lines.writerow([*hop, "cell", "count", "amount", "amount_minor"])
    for row in document["rows"]:
        about = [row[name] for name in hop]
        for name, cell in row["cells"].items():
            minor = cell["amount_minor"]
            amount = (
                ""
                if minor is None or row["currency"] is None
                else decimal_of(minor, row["currency"])
            )
            lines.writerow([*about, name, cell["count"], amount, minor])


def show_items(listed: Iterable[Document]) -> None:
    """Print the items of cells."""
    table = Table(box=None, header_style="bold")
    for column in ("number", "entity", "amount", "done", "due", "what the control says"):
        table.add_column(column, justify="right" if column == "amount" else "left")
    left: dict[tuple[object, ...], int] = {}
    for item in listed:
        table.add_row(
            item["number"],
            item["entity"] or "",
            money(item["amount_minor"], item["currency"]),
            item["basis_at"].isoformat(timespec="minutes"),
            item["due_at"].isoformat(timespec="minutes") if item["due_at"] else "",
            item["sentence"] or "",
        )
        left[item["hop"], item["entity"], item["currency"]] = item["of"] - item["nth"]
    out.print(table)
    if more := sum(left.values()):
        out.print(f"… and {more:,} more: --limit shows them")


COMMANDS = (bridge,)
