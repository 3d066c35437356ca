"""Commands that stay up."""

import asyncio

import click

from api.cli.root import Invocation, err, example
from api.wiring import Application


@click.command(epilog=example("tieout run", "tieout run --port 9000"))
@click.option("--host", default=None, help="Address to listen on.  [default: api.host]")
@click.option("--port", type=int, default=None, help="Port, 0 for any.  [default: api.port]")
@click.pass_obj
def run(invocation: Invocation, host: str | None, port: int | None) -> None:
    """Run everything: the embedded PostgreSQL, tailing, scheduled controls and the HTTP interface.

    Ctrl-C or SIGTERM ends it cleanly; other commands keep the server.
    """
    with invocation.application() as app:
        asyncio.run(_serve(app, host, port))
    err.print("stopped")


async def _serve(app: Application, host: str | None, port: int | None) -> None:
    from api.service import serve  # noqa: PLC0415 -- half of a second that other commands need not wait

    await serve(app, host=host, port=port)


COMMANDS = (run,)
