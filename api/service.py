"""All of `tieout run` in one process: tail the sources, run the schedules, answer the API.

Or one half of it: the collector, of which there is one, or the API, of which there may be many.

The HTTP server comes first, so that `/healthz` and `/readyz` tell the truth from the start; what needs
the store begins when the store answers. A stop ends each batch and run under way, in bounded time.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import uvicorn
from typing_extensions import override

from api.app import create_app
from api.auth import Keys, configured_keys, own_key
from api.routes import COLLECTOR_ROUTERS, ROUTERS
from api.tail import POLL_S, Tail
from api.wiring import Application, Half
from collector.errors import Misconfigured, NotConnected, Permanent, TieoutError, Transient
from collector.pipeline.export import export_finished
from collector.pipeline.measure import Meter
from collector.store import candidates, fragments
from collector.store.connection import DATABASE_ERRORS
from collector.store.embedded import default_data_dir
from collector.store.retention import erase_due
from control_checks.schedule import Schedule, pause

STOP_S_MAX = 20.0
"""A batch or run that takes longer to end is rolled back; the next start takes it up again."""
REQUESTS_S_MAX = 5
"""How long requests under way may take to end at a stop."""
BEGIN_S, BEGIN_S_MAX = 0.5, 30.0
"""From one attempt to begin to the next: doubled each time, up to."""
EXPORT_S, PUSH_S = 10.0, 60.0
"""How often finished transactions and metrics are sent, where a receiver is configured."""
REVIVE_S = 2.0
"""How often it is asked whether the embedded server still runs."""
RETENTION_S = 10.0
"""How often it is asked whether something is to be erased by retention."""
SWEEP_S = 60.0
"""How often it is asked whether a stream is to be swept."""
INDEX_S = 5.0
"""How often new names are made searchable by a part of them."""
MATCH_S = 300.0
"""How often it is asked whether rules are to be matched, where any is configured."""
ALERTS_S = 5.0
"""How often it is asked whether an alert is to be delivered, where a destination is configured."""
UNSENT = "Telemetry could not be sent"
BACKLOG = 512

_log = logging.getLogger(__name__)


class Listening(NamedTuple):
    """Where the API is, and in which file its key lies; None where keys are configured."""

    url: str
    key_file: Path | None


Announce = Callable[[Listening], None]


async def serve(
    application: Application,
    *,
    only: Half | None = None,
    host: str | None = None,
    port: int | None = None,
    poll_s: float = POLL_S,
    announce: Announce | None = None,
) -> None:
    """Run everything, or `only` one half, until SIGTERM or Ctrl-C; return when all is stopped.

    Raises:
        Misconfigured: the address is taken, a key or schedule is wrong, the schema is not current.
    """
    api = application.configuration.settings.api
    service = _Service(application, poll_s, collects=only != "api")
    keys, key_file = _keys(application)
    engine = service.schedule.engine
    routers = COLLECTOR_ROUTERS if only == "collector" else ROUTERS
    app = create_app(application, engine, Keys(keys), service.checks(), service.meter, routers)
    wanted = host or api.host, api.port if port is None else port
    with closing(_listen(*wanted)) as listener, _signals(service.stop):
        (announce or _announce)(Listening(_url(listener), key_file))
        server = _Server(
            uvicorn.Config(
                app,
                lifespan="on",
                log_config=None,
                access_log=False,  # queries hold business keys
                server_header=False,
                timeout_graceful_shutdown=REQUESTS_S_MAX,
            )
        )
        await service.run(server, listener)


class _Server(uvicorn.Server):
    """Leaves signals to the service."""

    @contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        yield


class _Service:
    """The parts that run side by side, begun and stopped together."""

    def __init__(self, application: Application, poll_s: float, *, collects: bool = True) -> None:
        self._application = application
        self._collects = collects
        self.stop = asyncio.Event()
        self.schedule = Schedule(application.engine(), application.clock)
        self.meter = Meter(application.store, application.configuration, application.clock)
        self._tail = Tail(application, poll_s)
        self._courier = application.courier()
        self._matched = -1

    def checks(self) -> dict[str, Callable[[], str | None]]:
        """Return what readiness asks of the parts."""
        if not self._collects:
            return {}
        return {
            "scheduler": lambda: None if self.schedule.alive else "The scheduler does not run.",
            "collection": lambda: (
                "The last attempt to read a stream failed; the log names it."
                if self._tail.failing
                else None
            ),
        }

    async def run(self, server: uvicorn.Server, listener: socket.socket) -> None:
        """Run until told to stop, or until a part ends that should not."""
        stopped = asyncio.create_task(self.stop.wait())
        parts = {
            asyncio.create_task(server.serve([listener]), name="http"),
            asyncio.create_task(self._work(), name="work"),
            asyncio.create_task(self._revive(), name="store"),
        }
        await asyncio.wait({stopped, *parts}, return_when=asyncio.FIRST_COMPLETED)
        early = [part for part in parts if part.done()] if not self.stop.is_set() else []
        self.stop.set()
        server.should_exit = True
        _, late = await asyncio.wait(parts, timeout=STOP_S_MAX)
        for part in late:
            _log.warning("The %s part did not end in time and is broken off.", part.get_name())
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        for part in parts - late:
            part.result()
        if early:
            raise Permanent(f"The {early[0].get_name()} part ended by itself; the log says why.")

    async def _work(self) -> None:
        """Begin as soon as the store answers; then tail, schedule and keep house."""
        if not self._collects:
            await self.stop.wait()
            return
        await self._begin()
        if self.stop.is_set():
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tail.serve(self.stop))
                group.create_task(self.schedule.serve(self.stop))
                group.create_task(
                    self._repeat(self._erase, RETENTION_S, "Retention could not erase")
                )
                group.create_task(self._repeat(self._sweep, SWEEP_S, "A source could not be swept"))
                group.create_task(
                    self._repeat(self._index, INDEX_S, "Names could not be made searchable")
                )
                if self._application.configuration.settings.links:
                    group.create_task(
                        self._repeat(self._match, MATCH_S, "Rules could not be matched")
                    )
                if self._application.configuration.settings.alerts:
                    group.create_task(
                        self._repeat(self._deliver, ALERTS_S, "Alerts could not be delivered")
                    )
                if self._application.configuration.settings.telemetry.otlp_endpoint is not None:
                    group.create_task(self._repeat(self._export, EXPORT_S, UNSENT))
                    group.create_task(self._repeat(self._push, PUSH_S, UNSENT))
        except* TieoutError as errors:
            raise errors.exceptions[0] from None

    async def _begin(self) -> None:
        wait_s = BEGIN_S
        while not self.stop.is_set():
            try:
                await self._application.prepare()
            except (NotConnected, Transient, *DATABASE_ERRORS) as error:
                _log.warning("%s Trying again in %.0f s.", error, wait_s)
                await pause(self.stop, wait_s)
                wait_s = min(2 * wait_s, BEGIN_S_MAX)
            else:
                return

    async def _revive(self) -> None:
        """See that the embedded server runs, whatever becomes of it."""
        failure = "The embedded PostgreSQL could not be started again"
        await self._repeat(self._application.store.revive, REVIVE_S, failure)

    async def _erase(self) -> None:
        """Erase what retention says; like the schedules that is the leader's."""
        if self.schedule.leads:
            async with self._application.store.connect() as conn:
                rows = await erase_due(conn, self._application.clock())
            if rows:
                _log.info("Retention erased %d rows.", rows)

    async def _sweep(self) -> None:
        """Sweep the streams that are due; like the schedules that is the leader's."""
        if self.schedule.leads:
            async with self._application.store.connect() as conn:
                await self._application.sweep_due(conn)

    async def _index(self) -> None:
        """Make new names searchable by a part of them; like the schedules that is the leader's."""
        if self.schedule.leads:
            async with self._application.store.connect() as conn:
                while await fragments.extend(conn) == fragments.BATCHES and not self.stop.is_set():
                    pass

    async def _match(self) -> None:
        """Link by rule what shares no name, if anything new is known; like the schedules that is the leader's."""
        if self.schedule.leads:
            async with self._application.store.connect() as conn:
                known = await candidates.last_told(conn)
                if known != self._matched:
                    await self._application.matcher(conn).match()
                    self._matched = known

    async def _deliver(self) -> None:
        """Deliver alerts; like the schedules that is the leader's."""
        if self.schedule.leads:
            await self._courier.deliver()

    async def _export(self) -> None:
        store, configuration = self._application.store, self._application.configuration
        await export_finished(store, configuration, self._application.clock)

    async def _push(self) -> None:
        await self.meter.push()

    async def _repeat(
        self, task: Callable[[], Awaitable[None]], every_s: float, failure: str
    ) -> None:
        """Do something again and again; where it fails, the next time is soon enough."""
        while not self.stop.is_set():
            try:
                await task()
            except (TieoutError, *DATABASE_ERRORS, TimeoutError) as error:
                _log.warning("%s: %s", failure, error)
            await pause(self.stop, every_s)


def _keys(application: Application) -> tuple[list[str], Path | None]:
    """Return the configured keys; without any, the one of the data folder and its file."""
    keys = configured_keys(application.configuration)
    if keys:
        return keys, None
    key, path = own_key(application.store.data_dir or default_data_dir())
    return [key], path


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else answers wait 40 ms
    except OSError as error:
        raise Misconfigured(
            f"Cannot listen on {host}, port {port}: {error.strerror}. "
            "Choose another with --host and --port, or `api.host` and `api.port`; port 0 is any."
        ) from error
    if not ip_address(listener.getsockname()[0]).is_loopback:
        _log.warning("The API listens beyond this machine, without TLS: put a TLS proxy before it.")
    return listener


def _url(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(listening: Listening) -> None:
    key = f" The API key is in {listening.key_file}" if listening.key_file else ""
    sys.stderr.write(f"Tieout listens on {listening.url}{key}\n")
    sys.stderr.flush()


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Have SIGTERM and SIGINT ask for a stop, and give them back afterwards."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
