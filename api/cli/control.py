"""Commands that run controls and show what they found."""

import sys
from datetime import datetime
from typing import Any

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.cli.data import actor
from api.cli.root import (
    AS_KNOWN,
    AS_OF_KNOWN,
    EXIT_ERROR,
    EXIT_EXCEPTIONS,
    EXIT_INCOMPLETE,
    EXIT_OK,
    JSON,
    Invocation,
    Style,
    err,
    example,
    out,
    print_json,
)
from api.present import run_document
from api.wiring import Application
from collector.model.control import Run
from collector.model.money import from_minor
from collector.model.words import counted
from collector.store import runs as store
from control_checks.registry import CHECKS
from control_checks.runner import VERDICT_WORDS

EXIT_OF_VERDICT = {
    "PASS": EXIT_OK,
    "WARN": EXIT_OK,
    "SKIPPED": EXIT_OK,
    "FAIL": EXIT_EXCEPTIONS,
    "INCOMPLETE": EXIT_INCOMPLETE,
    "ERROR": EXIT_ERROR,
}
SEVEREST = ("PASS", "SKIPPED", "WARN", "INCOMPLETE", "FAIL", "ERROR")


@click.group(epilog=example("tieout control run --all"))
def control() -> None:
    """Run controls, list them and look at their runs."""


@control.command(name="list", epilog=example("tieout control list"))
@JSON
@click.pass_obj
def list_(invocation: Invocation, *, as_json: bool) -> None:
    """List the configured controls with their last verdict."""
    configuration = invocation.configuration()

    async def find(app: Application) -> dict[str, Run]:
        async with app.store.connect() as conn:
            return await store.last_runs(conn)

    last = invocation.run(find)
    found: list[dict[str, Any]] = []
    for control_id, definition in configuration.settings.controls.items():
        check, run = CHECKS[definition.check], last.get(control_id)
        found.append(
            {
                "control": control_id,
                "check": check.name,
                "title": check.title,
                "assertion": check.assertion,
                "catalogue": check.catalogue,
                "flows": definition.flows,
                "schedule": definition.schedule,
                "severity": definition.severity,
                "last_verdict": run.verdict if run else None,
                "last_run": run.run if run else None,
                "last_as_of": run.as_of if run else None,
            }
        )
    if as_json:
        print_json({"controls": found})
        return
    table = Table(box=None, header_style="bold")
    for column in ("control", "expects", "flows", "schedule", "last verdict"):
        table.add_column(column)
    for c in found:
        words = VERDICT_WORDS[c["last_verdict"]] if c["last_verdict"] else "never run"
        flows = ", ".join(c["flows"])
        table.add_row(c["control"], c["title"], flows, c["schedule"] or "by command", words)
    out.print(table)


@control.command(
    epilog=example(
        "tieout control run approved_not_paid --as-of 2026-02-05T08:00:00+01:00",
        "tieout control run --all",
    )
)
@click.argument("control_id", required=False, metavar="[ID]")
@click.option("--all", "all_", is_flag=True, help="Run every configured control.")
@AS_OF_KNOWN
@AS_KNOWN
@JSON
@click.pass_obj
def run(
    invocation: Invocation,
    control_id: str | None,
    as_of: datetime | None,
    as_known: datetime | None,
    *,
    all_: bool,
    as_json: bool,
) -> None:
    """Run a control as of a status time, and keep the run.

    Without a status time it is the latest up to which the control's streams are known, at most its
    `lag_max` back.

    Exit code 0: no exceptions; 3: exceptions noted; 4: could not conclude; 1: did not run.
    """
    if all_ == bool(control_id):
        raise click.UsageError("Name one control, or say --all. See `tieout control list`.")
    wanted = list(invocation.configuration().settings.controls) if all_ else [str(control_id)]
    found = invocation.run(lambda app: run_controls(app, wanted, as_of, as_known))
    if as_json:
        documents = [run_document(r) for r in found]
        print_json({"runs": documents} if all_ else documents[0])
    else:
        for r in found:
            show_run(r)
    worst = max((r.verdict for r in found), key=SEVEREST.index, default="PASS")
    sys.exit(EXIT_OF_VERDICT[worst])


async def run_controls(
    app: Application, wanted: list[str], as_of: datetime | None, as_known: datetime | None
) -> list[Run]:
    """Run controls one after the other, with progress on standard error."""
    engine = app.engine()
    found = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        for name in wanted:
            task = progress.add_task(name, total=None)
            found.append(await engine.run(name, as_of, as_known, trigger="command", actor=actor()))
            progress.remove_task(task)
    return found


EXCEPTIONS_SHOWN = 20


def show_run(r: Run) -> None:
    """Say a run's verdict in people's words, with its gaps and exceptions."""
    words = VERDICT_WORDS[r.verdict]
    if r.verdict == "FAIL":
        words += f" ({len(r.exceptions)})"
    out.print(
        f"[bold]{r.control}[/bold] as of {r.as_of.isoformat()}: "
        f"[{Style.VERDICT[r.verdict]}]{words}[/]" + ("" if r.complete else ", not complete")
    )
    if r.error:
        out.print(f"  {r.error}", markup=False)
        return
    p = r.population
    excluded = sum(p["excluded"].values())
    unevaluable = sum(p["unevaluable"].values())
    out.print(
        f"  {p['in_scope']:,} in scope: {p['ok']:,} ok, {p['pending']:,} pending, "
        f"{counted(p['exceptions'], 'exception')}, {excluded:,} excluded, {unevaluable:,} could not be judged",
        style="dim",
    )
    for gap in r.gaps:
        out.print(f"  gap: {gap['sentence']}", markup=False, style="magenta")
    for e in r.exceptions[:EXCEPTIONS_SHOWN]:
        out.print(f"  • {e.sentence}", markup=False)
    if len(r.exceptions) > EXCEPTIONS_SHOWN:
        out.print(f"  … and {len(r.exceptions) - EXCEPTIONS_SHOWN} more: `tieout exceptions`")


@control.command(epilog=example("tieout control runs approved_not_paid --limit 10"))
@click.argument("control_id", metavar="ID")
@click.option("--limit", default=20, show_default=True, help="At most so many, the newest first.")
@JSON
@click.pass_obj
def runs(invocation: Invocation, control_id: str, limit: int, *, as_json: bool) -> None:
    """List the kept runs of a control, passes too."""

    async def find(app: Application) -> list[Run]:
        app.engine().control(control_id)
        async with app.store.connect() as conn:
            found = await store.runs(conn, control_id, None, limit)
            for r in found:
                r.exceptions = await store.exceptions(conn, r.run)
            return found

    found = invocation.run(find)
    if as_json:
        print_json({"runs": [run_document(r) for r in found]})
        return
    table = Table(box=None, header_style="bold")
    for column in ("run", "as of", "verdict", "complete", "exceptions", "started", "by"):
        table.add_column(column)
    for r in found:
        table.add_row(
            str(r.run),
            r.as_of.isoformat(timespec="minutes"),
            VERDICT_WORDS[r.verdict],
            "yes" if r.complete else "no",
            f"{len(r.exceptions):,}",
            r.started_at.isoformat(timespec="seconds"),
            f"{r.actor} ({r.trigger})",
        )
    out.print(table)


@click.command(epilog=example("tieout exceptions --control approved_not_paid"))
@click.option("--control", "control_id", default=None, help="One control.  [default: all]")
@click.option("--limit", default=100, show_default=True, help="At most so many per control.")
@JSON
@click.pass_obj
def exceptions(
    invocation: Invocation, control_id: str | None, limit: int, *, as_json: bool
) -> None:
    """List the exceptions of every control's last run, each with its sentence."""

    async def find(app: Application) -> list[Run]:
        async with app.store.connect() as conn:
            found = await store.last_runs(conn)
        return [r for name, r in found.items() if control_id in (None, name)]

    found = invocation.run(find)
    if as_json:
        print_json(
            {
                "exceptions": [
                    {"control": r.control, "as_of": r.as_of, "run": r.run, **e}
                    for r in found
                    for e in run_document(r)["exceptions"][:limit]
                ]
            }
        )
        return
    if not found:
        out.print("No control has run yet: `tieout control run --all`.")
    for r in found:
        verdict = VERDICT_WORDS[r.verdict]
        out.print(f"[bold]{r.control}[/bold] as of {r.as_of.isoformat()}: {verdict}")
        for e in r.exceptions[:limit]:
            amount = (
                f"{from_minor(e.amount_minor, e.currency)}  "
                if e.amount_minor is not None and e.currency is not None
                else ""
            )
            out.print(f"  {e.number}  {amount}{e.reason}: {e.sentence}", markup=False)


COMMANDS = (control, exceptions)
