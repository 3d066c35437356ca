"""The composition root: the only place that knows every connector and every check.

What one command in ten needs is imported by the method that needs it, so that no other command waits for it.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from collector import clock
from collector.errors import Misconfigured
from collector.model.words import counted
from collector.pipeline.publish import publish
from collector.settings.load import Configuration, load, resolve
from collector.store import embedded
from collector.store.session import Store, embedded_store, remote_store
from connectors.registry import CONNECTORS
from control_checks.registry import CHECKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from api.demo.middleware import Log
    from collector.clock import Clock
    from collector.pipeline.ahead import Source
    from collector.pipeline.collect import Collector
    from collector.pipeline.match import Matcher
    from collector.pipeline.sweep import Span, Swept
    from collector.store.ingest import Connection
    from connectors.sap_cloud_integration import sandbox
    from control_checks.notify.courier import Courier
    from control_checks.runner import Engine

Half = Literal["collector", "api"]
"""What `tieout run` can run alone: one process that collects, and any number that answer."""

MIDDLEWARE_KEEPS_DAYS = 90
"""As long as the two months of the demo need; a tenant of the vendor keeps 30 days."""

CHECK_PARAMETERS = {name: check.parameters for name, check in CHECKS.items()}


class Application(NamedTuple):
    """A loaded configuration and the open store."""

    configuration: Configuration
    store: Store
    clock: Clock

    def limit(self, kind: str) -> int:
        """Return how many documents may hold one identity value of a kind before it joins nothing."""
        settings = self.configuration.settings
        meant = settings.known_kinds.get(kind)
        return (meant and meant.max_documents) or settings.limits.max_documents

    def sources(self, wanted: tuple[str, ...] = ()) -> list[Source]:
        """Open and compile the streams of the wanted sources; of all where none is named."""
        configuration = self.configuration
        return [
            open_source(configuration, source, stream)
            for source, stream in configuration.streams()
            if not wanted or source in wanted
        ]

    async def prepare(self) -> None:
        """Bring the store to the current schema and publish the configuration.

        Raises:
            Misconfigured: another server's schema is not current: that is migrated on command only.
        """
        if self.store.data_dir is not None:
            await self.store.migrate()
        elif missing := await self.store.missing_migrations():
            raise Misconfigured(
                f"The database lacks {counted(len(missing), 'migration')}. Run `tieout migrate`."
            )
        async with self.store.connect() as conn:
            await publish(conn, self.configuration, self.clock)

    async def sweep_due(self, conn: Connection) -> list[Swept]:
        """Sweep the streams whose last sweep is longer ago than their `sweep_every`."""
        from collector.pipeline.sweep import Span
        from collector.settings.definitions import elapsed
        from collector.store import sweeps, totals

        swept = await sweeps.last(conn, await totals.last_recorded(conn, self.clock()))
        found = []
        for source, stream in self.configuration.streams():
            every = self.configuration.settings.sources[source].streams[stream].sweep_every
            last = swept.get((source, stream))
            if every is None or (last is not None and self.clock() < last.at + elapsed(every)):
                continue
            opened = open_source(self.configuration, source, stream)
            found.append(await self.sweep(conn, opened, Span(None, self.clock())))
        return found

    async def sweep(self, conn: Connection, source: Source, span: Span) -> Swept:
        """Sweep a stream; what its source has dropped by age (`retained_days`) is not taken for deleted."""
        from collector.pipeline.sweep import DROPPING, Span, Sweeper

        days = (
            self.configuration.settings.sources[source.source].streams[source.stream].retained_days
        )
        if days is not None:
            kept = self.clock() - timedelta(days=days) + DROPPING
            span = Span(max(kept, span.since or kept), span.until)
        return await Sweeper(conn, self.limit, self.clock).sweep(source, span)

    def matcher(self, conn: Connection) -> Matcher:
        """Make the one who links documents that share no name."""
        from collector.pipeline.match import Matcher

        return Matcher(conn, self.configuration, self.limit, self.clock)

    def engine(self) -> Engine:
        """Make the control engine."""
        from control_checks.runner import Engine

        return Engine(self.configuration, self.store, CHECKS, self.clock)

    def courier(self) -> Courier:
        """Make the one who delivers alerts, with the secrets of their destinations."""
        from control_checks.notify.courier import Courier

        return Courier(self.store, self.configuration, self.clock)

    def collector(self, conn: Connection) -> Collector:
        """Make a collector that writes over a connection."""
        from collector.pipeline.collect import Collector

        return Collector(conn, self.limit, self.clock)


def read_configuration(path: Path, *, sources_only: bool = False) -> Configuration:
    """Load a configuration against the registries.

    With `sources_only` secrets that reading the sources does not need may be missing.

    Raises:
        Misconfigured: with every problem, a line each.
    """
    return load(path, CONNECTORS, CHECK_PARAMETERS, sources_only=sources_only)


def open_source(configuration: Configuration, source: str, stream: str) -> Source:
    """Open and compile one stream."""
    from collector.pipeline.ahead import Source
    from collector.pipeline.mapping import CompiledMapping

    spec = CONNECTORS[configuration.settings.sources[source].connector]
    definition = configuration.settings.sources[source].streams[stream]
    namespace = configuration.namespace(source, stream)
    return Source(
        source,
        stream,
        namespace,
        spec.open(configuration.options[source, stream], configuration.folder),
        CompiledMapping(
            configuration.mapping(source, stream),
            namespace,
            configuration.settings.limits.earliest,
            definition.entity,
            configuration.settings.known_kinds,
        ),
        spec.redelivers,
        definition.keep_raw,
        spec.pause_s,
    )


@contextmanager
def middleware(
    logs: Iterable[Log], present: datetime, folder: Path, *, port: int = 0
) -> Iterator[sandbox.Sandbox]:
    """Serve messages on loopback as a tenant of SAP Cloud Integration shows them at `present`.

    Its addresses and credentials are written into `folder`, a file each, for a configuration to refer to.
    """
    from connectors.sap_cloud_integration import sandbox

    tenant = sandbox.Tenant(lambda: present)
    tenant.retention = timedelta(days=MIDDLEWARE_KEEPS_DAYS)
    tenant.add(
        *(
            sandbox.Message(
                log.guid,
                log.started_at,
                [sandbox.Phase(log.ended_at, log.status, log.ended_at)],
                correlation_id=log.correlation_id,
                application_id=log.report_id,
                flow=log.flow,
            )
            for log in logs
        )
    )
    with sandbox.Sandbox(tenant, port) as serving:
        told = {
            "base-url": serving.base_url,
            "token-url": serving.token_url,
            "client-id": sandbox.CLIENT_ID,
            "client-secret": sandbox.CLIENT_SECRET,
        }
        for name, text in told.items():
            (folder / name).write_text(text, encoding="utf-8")
        yield serving


@contextmanager
def opened(configuration: Configuration, data_dir: Path | None) -> Iterator[Application]:
    """Open the store that a configuration names: the embedded server, or another by DSN.

    Raises:
        NotConnected: the server cannot be reached or started.
    """
    dsn = configuration.settings.store.dsn
    if dsn is not None:
        store = remote_store(resolve(dsn, configuration.folder))
        yield Application(configuration, store, clock.now)
        return
    with embedded.running(data_dir or embedded.default_data_dir()) as server:
        yield Application(configuration, embedded_store(server), clock.now)
