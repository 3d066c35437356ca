"""Commands about Grafana."""

from pathlib import Path

import click
from rich.table import Table

from api.cli.root import JSON, example, out, print_json
from collector.errors import Misconfigured, Refused
from collector.settings.load import resolve
from collector.settings.secrets import is_reference
from dashboards.provision import Step, plan, postgres, prometheus

COLOURS = {"create": "green", "update": "yellow", "unchanged": "dim", "blocked": "red"}


@click.group(epilog=example("tieout grafana provision --url https://grafana.example.com"))
def grafana() -> None:
    """Grafana: its folder, data sources and dashboards."""


@grafana.command(
    epilog=example(
        "tieout grafana provision --url https://grafana.example.com --dry-run",
        "tieout grafana provision --url https://grafana.example.com --prometheus http://prometheus:9090"
        " --postgres '${env:TIEOUT_READER_DSN}'",
    )
)
@click.option("--url", required=True, help="Grafana's address, with its path where it has one.")
@click.option(
    "--token",
    default="${env:TIEOUT_GRAFANA_TOKEN}",
    show_default=True,
    help="The token of a service account, as ${env:NAME} or ${file:PATH}.",
)
@click.option(
    "--prometheus",
    "prometheus_url",
    default=None,
    help="Prometheus as Grafana reaches it.  [default: choose one of Grafana's on the dashboard]",
)
@click.option(
    "--postgres",
    "reader_dsn",
    default=None,
    help="The DSN of a login in the role tieout_reader, as ${env:NAME} or ${file:PATH}.  "
    "[default: choose one of Grafana's on the dashboard]",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and do nothing.")
@click.option("--overwrite", is_flag=True, help="Replace dashboards that were saved by hand.")
@JSON
def provision(  # noqa: PLR0913 -- one parameter an option
    *,
    url: str,
    token: str,
    prometheus_url: str | None,
    reader_dsn: str | None,
    dry_run: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Load the dashboards and their data sources: show the plan, then carry it out.

    A second run finds nothing to do.
    """
    from dashboards.grafana import Grafana  # noqa: PLC0415 -- its client takes half a second to load

    sources = [prometheus(prometheus_url)] if prometheus_url else []
    if reader_dsn:
        sources.append(postgres(_secret("--postgres", reader_dsn)))
    with Grafana(url, _secret("--token", token)) as server:
        steps = plan(server, sources, overwrite=overwrite)
        blocked = [step for step in steps if step.action == "blocked"]
        applied = not (dry_run or blocked)
        if not as_json:
            _show(steps)
        for step in steps:
            if applied and step.action in {"create", "update"}:
                server.apply(step)
    if as_json:
        _print(url, steps, applied=applied)
    elif applied:
        done = sum(step.action != "unchanged" for step in steps)
        out.print(f"Done: {done} of {len(steps)} changed." if done else "There is nothing to do.")
    if blocked and not dry_run:
        raise Refused("Nothing was done: see what is blocked.")


def _secret(option: str, text: str) -> str:
    """Return what an option refers to; a secret in clear would stay in the shell's history."""
    if not is_reference(text):
        raise Misconfigured(f"{option}: write '${{env:NAME}}' or '${{file:PATH}}', not the secret.")
    return resolve(text, Path())


def _show(steps: list[Step]) -> None:
    table = Table(box=None)
    for column in ("plan", "what", "title", "detail"):
        table.add_column(column)
    for step in steps:
        action = f"[{COLOURS[step.action]}]{step.action}[/]"
        table.add_row(action, step.kind, step.title, step.detail)
    out.print(table)


def _print(url: str, steps: list[Step], *, applied: bool) -> None:
    shown = [{k: v for k, v in step._asdict().items() if k != "body"} for step in steps]
    print_json({"url": url, "applied": applied, "steps": shown})


COMMANDS = (grafana,)
