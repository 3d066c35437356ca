"""Commands about alerts: what was told to whom, and sending what is due."""

import sys
from typing import Any

import click

from api.cli.root import EXIT_ERROR, JSON, Invocation, example, out, print_json
from api.wiring import Application
from collector.model.words import counted
from collector.store import alerts as store
from control_checks.notify.courier import Round

STATES = ("pending", "sent", "given up")


@click.group(epilog=example("tieout alerts list --state pending"))
def alerts() -> None:
    """See what was told to whom, send what is due, and try a destination."""


@alerts.command(
    name="list", epilog=example("tieout alerts list", "tieout alerts list --state 'given up'")
)
@click.option(
    "--state", type=click.Choice(STATES), default=None, help="Only these.  [default: all]"
)
@click.option("--limit", default=50, show_default=True, help="At most so many, the newest first.")
@JSON
@click.pass_obj
def list_(invocation: Invocation, state: str | None, limit: int, *, as_json: bool) -> None:
    """List deliveries: what a run changed, to whom that was told, and what went wrong."""

    async def find(app: Application) -> list[dict[str, Any]]:
        async with app.store.connect() as conn:
            return await store.listed(conn, state, limit)

    found = [_document(row) for row in invocation.run(find)]
    if as_json:
        print_json({"deliveries": found})
        return
    if not found:
        out.print("Nothing has been told to anybody.")
        return
    for d in found:
        tried = counted(d["attempts"], "attempt")
        about = f"run {d['run']}  {d['control']} to {d['destination']}  {d['state']}, {tried}"
        out.print(f"{about}: {d['summary']}", markup=False, soft_wrap=True)
        if d["error"]:
            out.print(f"  {d['error']}", markup=False, soft_wrap=True)


def _document(row: dict[str, Any]) -> dict[str, Any]:
    pending = row["sent_at"] is None and row["given_up_at"] is None
    state = "pending" if pending else "sent" if row["sent_at"] is not None else "given up"
    return {**row, "state": state, "due_at": row["due_at"] if pending else None}


@alerts.command(epilog=example("tieout alerts send"))
@JSON
@click.pass_obj
def send(invocation: Invocation, *, as_json: bool) -> None:
    """Send what is due, and tell Alertmanagers again what fires; for those who run controls by cron.

    `tieout run` does so by itself. Exit code 1 where something did not arrive: it is tried again when it
    is due next.
    """
    done: Round = invocation.run(lambda app: app.courier().deliver())
    if as_json:
        print_json(done._asdict())
    else:
        out.print(f"{counted(done.sent, 'alert')} sent, {done.given_up} given up")
        for destination, error in done.failed.items():
            out.print(f"{destination}: {error}", markup=False, style="red")
    sys.exit(EXIT_ERROR if done.failed else 0)


@alerts.command(epilog=example("tieout alerts test cases"))
@click.argument("destination")
@JSON
@click.pass_obj
def test(invocation: Invocation, destination: str, *, as_json: bool) -> None:
    """Send a test message to a destination of the configuration, at once."""
    invocation.run(lambda app: app.courier().test(destination))
    if as_json:
        print_json({"destination": destination, "sent": True})
    else:
        out.print(f"{destination} took the test message.")


COMMANDS = (alerts,)
