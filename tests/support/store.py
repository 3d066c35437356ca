"""A store over a test's own database, filled through the pipeline from files that the test writes."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path

from typing_extensions import override

from api.wiring import Application, read_configuration
from collector.clock import Clock
from collector.pipeline.collect import Tally
from collector.pipeline.publish import publish
from collector.settings.load import Configuration
from collector.store.ingest import Connection
from collector.store.session import Role, Store
from tests.support.postgres import Database


class DatabaseStore(Store):
    """The store in one test's database."""

    def __init__(self, database: Database) -> None:
        super().__init__(None, database.server)
        self.database = database

    @override
    def dsn(self, role: Role) -> str:
        return self.database.dsn(role)

    @override
    def connect(self, role: Role = "tieout_app") -> AbstractAsyncContextManager[Connection]:
        return self.database.connect(role)


def at(instant: datetime) -> Clock:
    return lambda: instant


async def collect(store: Store, path: Path, clock: Clock) -> tuple[Configuration, list[Tally]]:
    """Load a configuration, publish it and read all its streams."""
    application = Application(read_configuration(path), store, clock)
    async with store.connect() as conn:
        await publish(conn, application.configuration, clock)
        with application.collector(conn) as collector:
            tallies = [await collector.sync(source) for source in application.sources()]
    return application.configuration, tallies
