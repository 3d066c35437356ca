"""`tieout demo`: one company's money followed across five systems, its broken cases named."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from socket import SO_REUSEADDR, SOL_SOCKET, socket
from typing import Any
from urllib.parse import urlsplit

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from api.cli.bridge import bridge_of, show_bridge
from api.cli.control import run_controls
from api.cli.flow import flow_counts, show_counts
from api.cli.root import JSON, Invocation, Style, err, example, out, print_json
from api.demo import MIDDLEWARE, Fate, Truth, create, tenant
from api.wiring import Application, middleware, opened, read_configuration
from collector.clock import stopwatch
from collector.model.control import Run
from collector.model.words import counted
from collector.pipeline.collect import Tally
from collector.store import overview, totals
from collector.store.embedded import default_data_dir
from control_checks.runner import VERDICT_WORDS

FLOW = "expense-to-reimbursement"
PERIOD = "2026-10"
"""The month of the bridge that is shown: the last one that is over."""
DEFAULT_SEED = 7
TRACES_SHOWN = 3


@click.command(
    epilog=example("tieout demo", "tieout demo --no-serve --json", "tieout demo --seed 42")
)
@click.option(
    "--seed", default=DEFAULT_SEED, show_default=True, help="Another seed, another company."
)
@click.option("--no-serve", is_flag=True, help="End after the tables instead of serving the API.")
@JSON
@click.pass_obj
def demo(invocation: Invocation, seed: int, *, no_serve: bool, as_json: bool) -> None:
    """Make a company with known troubles, read its five systems, and see what is found.

    It has a data folder of its own beside the usual one, and is safe to repeat.
    """
    elapsed = stopwatch()
    folder = invocation.data_dir or default_data_dir().with_name("tieout-demo")
    with err.status("making the company: 5,000 claims in five systems"):
        truth = create(folder / f"company-{seed}", seed)
    company = folder / f"company-{seed}"
    with middleware(*tenant(company), port=_port(company)):
        configuration = read_configuration(company / "tieout.yaml")
        with opened(configuration, folder / f"store-{seed}") as app:
            asyncio.run(_demo(app, truth, elapsed, no_serve=no_serve, as_json=as_json))


def _port(company: Path) -> int:
    """Return the port of the middleware in an earlier demo: to the store it is the same one then."""
    told = company / MIDDLEWARE / "base-url"
    if not told.exists():
        return 0
    port = urlsplit(told.read_text("utf-8")).port or 0
    with socket() as probe:
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


async def _demo(
    app: Application,
    truth: Truth,
    elapsed: Callable[[], float],
    *,
    no_serve: bool,
    as_json: bool,
) -> None:
    await app.prepare()
    as_of = datetime.fromisoformat(truth.status_time)
    tallies = await _read(app, truth)
    if not as_json:
        _show_read(app, tallies)
        show_counts(await flow_counts(app, FLOW, as_of, None))
    runs = await run_controls(app, list(app.configuration.settings.controls), as_of, None)
    bridge = None if as_json else await bridge_of(app, PERIOD, as_of)
    async with app.store.connect() as conn:
        content = await overview.server(conn)
        transactions = await totals.transactions(conn)
    document = {
        "defects": defects(truth, runs),
        "lookalikes": lookalikes(truth, runs),
        "events": content["events"],
        "transactions": transactions,
        "seconds": round(elapsed(), 1),
    }
    if as_json:
        print_json(document)
    else:
        if bridge:
            show_bridge(bridge)
        _show_verdicts(runs)
        _show_found(document)
        _show_traces(app, truth)
    if not no_serve:
        await _serve(app)


async def _read(app: Application, truth: Truth) -> list[Tally]:
    tallies = []
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        async with app.store.connect() as conn:
            with app.collector(conn) as collector:
                for source in app.sources():
                    name = f"{source.source}/{source.stream}"
                    task = progress.add_task(name, total=truth.records.get(name))
                    tallies.append(await collector.sync(source, partial(_tell, progress, task)))
    return tallies


def _tell(progress: Progress, task: TaskID, _part: str, records: int, _size: int | None) -> None:
    progress.update(task, completed=records)


def _show_read(app: Application, tallies: list[Tally]) -> None:
    out.print(f"{app.configuration.folder}", style="dim", markup=False)
    for t in tallies:
        news = f"{t.accepted:,} new" if t.accepted else "nothing new: read before"
        out.print(f"  {t.source}/{t.stream}: {counted(t.read, 'record')} read, {news}")
    out.print()


def defects(truth: Truth, runs: list[Run]) -> list[dict[str, Any]]:
    """Hold exceptions against planted defects: per control, those found, and its false alarms.

    Found is what is reported as the item, and with the reason, that the truth tells. A false alarm is
    an exception about anything else, unless the control may speak of it too: what was never posted
    is rightly reported as unpaid, though its exposure belongs to the first control.
    """
    found = []
    for run in runs:
        planted = {
            (fate.entity, fate.item, fate.reason)
            for fate in truth.fates()
            if fate.control == run.control
        }
        said = {(e.entity, e.number, _bare(e.reason, planted)) for e in run.exceptions}
        right = {(entity, item) for entity, item, _ in planted}
        right |= {
            (f.entity, f.also[run.control][0]) for f in truth.fates() if run.control in f.also
        }
        found.append(
            {
                "class": run.definition["check"],
                "control": run.control,
                "planted": len(planted),
                "found": len(planted & said),
                "false": sum((e.entity, e.number) not in right for e in run.exceptions),
            }
        )
    return found


def _bare(reason: str, planted: set[tuple[str, str, str | None]]) -> str:
    """Return a reason as the truth tells it: who is waited for, or by what factor, is left out there."""
    told = {r for *_, r in planted}
    return reason if reason in told else reason.partition("(")[0]


def _fates(truth: Truth) -> dict[str, Fate]:
    return {**truth.claims, **truth.cost_centres}


def lookalikes(truth: Truth, runs: list[Run]) -> list[dict[str, Any]]:
    """Count, per class of innocent look-alikes, how many were planted and how many gave alarm."""
    alarmed = {(e.entity, e.number) for run in runs for e in run.exceptions}
    planted: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    for key, fate in _fates(truth).items():
        if fate.control is None and fate.label != "ordinary":
            planted[fate.label] += 1
            numbers = {(fate.entity, number) for number in (key, *fate.documents)}
            alarms[fate.label] += not numbers.isdisjoint(alarmed)
    return [{"class": c, "planted": n, "alarms": alarms[c]} for c, n in sorted(planted.items())]


def _show_verdicts(runs: list[Run]) -> None:
    table = Table(title="Verdicts", title_justify="left", box=None, header_style="bold")
    for column in ("control", "verdict", "complete", "in scope", "ok", "pending"):
        table.add_column(column)
    for run in runs:
        words = VERDICT_WORDS[run.verdict]
        if run.exceptions:
            words += f" ({len(run.exceptions)})"
        p = run.population
        counts = (f"{p.get(k, 0):,}" for k in ("in_scope", "ok", "pending"))
        table.add_row(
            run.control,
            f"[{Style.VERDICT[run.verdict]}]{words}[/]",
            "yes" if run.complete else "no",
            *counts,
        )
    out.print(table)
    for sentence in sorted({gap["sentence"] for run in runs for gap in run.gaps}):
        out.print(f"  gap: {sentence}", markup=False, style="magenta")


def _show_found(document: dict[str, Any]) -> None:
    table = Table(
        title="Found against planted", title_justify="left", box=None, header_style="bold"
    )
    for column in ("class", "planted", "found", "false alarms"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for d in document["defects"]:
        table.add_row(d["control"], str(d["planted"]), str(d["found"]), str(d["false"]))
    for d in document["lookalikes"]:
        table.add_row(f"[dim]innocent: {d['class']}[/dim]", str(d["planted"]), "", str(d["alarms"]))
    out.print(table)
    out.print(
        f"{counted(document['events'], 'event')}, {counted(document['transactions'], 'transaction')}, "
        f"{document['seconds']} s\n"
    )


def _show_traces(app: Application, truth: Truth) -> None:
    out.print("Three stories worth a look:", style="bold")
    shown: set[str | None] = {None}
    for number, fate in truth.claims.items():
        if fate.control not in shown and len(shown) <= TRACES_SHOWN:
            shown.add(fate.control)
            out.print(f"  {_command(app)} trace {number}   # {fate.label}, {fate.kind}")
    out.print()


def _command(app: Application) -> str:
    assert app.store.data_dir is not None  # noqa: S101 -- the demo is always embedded
    return (
        f"tieout --config {_short(app.configuration.path)} --data-dir {_short(app.store.data_dir)}"
    )


def _short(path: Path) -> str:
    try:
        return f"~/{path.resolve().relative_to(Path.home())}"
    except ValueError:
        return str(path)


async def _serve(app: Application) -> None:
    from api.service import Listening, serve  # noqa: PLC0415 -- half of a second that others save

    def announce(listening: Listening) -> None:
        out.print("Ask over HTTP (Ctrl-C ends):", style="bold")
        out.print(
            f'  curl -H "Authorization: Bearer $(cat {listening.key_file})" '
            f"{listening.url}/v1/controls\n",
            markup=False,
        )

    await serve(app, announce=announce)


COMMANDS = (demo,)
