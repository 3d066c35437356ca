"""Commands that stay up."""

import asyncio
from typing import get_args

import click

from api.cli.root import Invocation, err, example
from api.wiring import Application, Half


@click.command(epilog=example("tieout run", "tieout run --only api --port 9000"))
@click.option(
    "--only",
    type=click.Choice(get_args(Half)),
    default=None,
    help="One half: the collector tails, schedules and serves health and metrics; the api answers.",
)
@click.option("--host", default=None, help="Address to listen on.  [default: api.host]")
@click.option("--port", type=int, default=None, help="Port, 0 for any.  [default: api.port]")
@click.pass_obj
def run(invocation: Invocation, only: Half | None, host: str | None, port: int | None) -> None:
    """Run everything: the embedded PostgreSQL, tailing, scheduled controls and the HTTP interface.

    Ctrl-C or SIGTERM ends it cleanly; other commands keep the server.
    """
    with invocation.application() as app:
        asyncio.run(_serve(app, only, host, port))
    err.print("stopped")


async def _serve(app: Application, only: Half | None, host: str | None, port: int | None) -> None:
    from api.service import serve  # noqa: PLC0415 -- half of a second that other commands need not wait

    await serve(app, only=only, host=host, port=port)


COMMANDS = (run,)
