"""Whether the records of the sources can be followed at all: the first question to a new installation."""

from collections.abc import Iterable

import click
import msgspec
from rich.table import Table

from api.cli.root import JSON, Invocation, example, out, print_json
from api.wiring import Application
from collector.model.money import from_minor
from collector.model.words import counted
from collector.pipeline.readiness import Cost, Default, Interface, Readiness, assess


@click.command(epilog=example("tieout readiness", "tieout readiness --json"))
@JSON
@click.pass_obj
def readiness(invocation: Invocation, *, as_json: bool) -> None:
    """Say what share of records carries a usable key, what the rest costs, and who must mend it.

    Run it once the first records are read, and after every change of an interface. It changes nothing.
    """

    async def find(app: Application) -> Readiness:
        async with app.store.connect() as conn:
            return await assess(conn, app.configuration, app.limit)

    found = invocation.run(find)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    _show_interfaces(found.interfaces)
    _show_mends(found.interfaces)
    _show_defaults(found)


def _show_interfaces(interfaces: Iterable[Interface]) -> None:
    table = Table(box=None, header_style="bold")
    for column in ("stream", "interface"):
        table.add_column(column)
    for column in (
        "records",
        "usable",
        "missing",
        "default",
        "invalid",
        "cut",
        "not followed",
        "unmatched",
    ):
        table.add_column(column, justify="right")
    for row in interfaces:
        share = "-" if row.share is None else f"{100 * row.share:.2f} %"
        table.add_row(
            f"{row.source}/{row.stream}",
            row.interface or "",
            f"{row.records:,}",
            share if row.share in (None, 1) else f"[red]{share}[/red]",
            *(f"{n:,}" for n in (row.missing, row.default, row.invalid, row.cut)),
            _cost(row.lost),
            _cost(row.unmatched),
        )
    out.print(table)


def _cost(cost: Cost) -> str:
    sums = [from_minor(minor, currency) for currency, minor in sorted(cost.amounts.items())]
    return "\n".join([f"{cost.documents:,}", *sums])


def _show_mends(interfaces: Iterable[Interface]) -> None:
    for row in interfaces:
        for mend in row.mends:
            place = f"{row.source}/{row.stream}" + (f", {row.interface}" if row.interface else "")
            out.print(f"\n{place}: {mend.field} ({mend.system})", markup=False, style="bold")
            says = f" [{mend.says}]" if mend.says else ""
            out.print(f"  {mend.sentence}{says}", markup=False)


def _show_defaults(found: Readiness) -> None:
    for default in found.defaults:
        _show_default(default)
    if found.has_more:
        out.print(f"… and more: these are the first {counted(len(found.defaults), 'value')}.")


def _show_default(default: Default) -> None:
    scope = f" within {default.scope}" if default.scope else ""
    kind = default.kind.replace("_", " ")
    out.print(f"\n{kind} {default.value}{scope} ({default.role})", markup=False, style="bold")
    out.print(f"  {default.sentence}", markup=False)


COMMANDS = (readiness,)
