"""Connections are cut and delayed half-way, to the store and to a source: nothing is lost, nothing doubled."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest

from collector.errors import TieoutError
from collector.pipeline import correlate
from collector.pipeline.collect import Collector
from collector.store.connection import DATABASE_ERRORS
from tests.connectors.cpi import MINUTE, ended, house
from tests.simulation.campaign import check, limit
from tests.simulation.oracle import COMPONENT_MAX
from tests.simulation.world import NOW, ROUNDS, Log, sources, world
from tests.support.campaigns import ORACLE, campaign
from tests.support.postgres import Database
from tests.support.proxy import proxied

CUTS = 20
LIVES_MAX = 100
BYTES_MAX = 20_000  # about what a connection's start and four batches take
HTTP_CUTS_MIN = 5
HTTP_BYTES_MAX = 60_000


@pytest.fixture
async def admin(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncpg.Connection]:
    """Look into a store with limits that small worlds reach."""
    monkeypatch.setattr(correlate, "COMPONENT_DOCUMENTS_MAX", COMPONENT_MAX)
    conn = await asyncpg.connect(database.dsn("postgres"))
    try:
        yield conn
    finally:
        await conn.close()


async def test_a_connection_to_the_store_that_is_cut_half_way_costs_no_record(
    database: Database, admin: asyncpg.Connection
) -> None:
    logs = [log for n in range(6) for log in _apart(n)]
    opened, readers = sources("cut", logs)
    for reader in readers:
        reader.round = ROUNDS
    socket = database.server.socket_dir / f".s.PGSQL.{database.server.port}"
    with (
        campaign("connections to the store, cut and delayed half-way", ORACLE) as hits,
        proxied(socket, seed=1, bytes_max=BYTES_MAX) as proxy,
    ):
        login = urlsplit(database.dsn("tieout_app"))
        dsn = f"postgresql://{login.username}:{login.password}@127.0.0.1:{proxy.port}{login.path}"
        lives: Counter[str] = Counter()
        while not lives["whole"] and lives.total() < LIVES_MAX:
            try:
                conn = await asyncpg.connect(dsn, ssl=False)
                try:
                    with Collector(conn, limit, lambda: NOW) as collector:
                        tallies = [await collector.sync(source) for source in opened]
                finally:
                    conn.terminate()
                lives["whole" if all(t.complete for t in tallies) else "part of it"] += 1
            except DATABASE_ERRORS as error:
                lives[type(error).__name__] += 1
            proxy.cutting = proxy.faults["cut"] < CUTS
        assert proxy.faults["cut"] >= CUTS
        assert proxy.faults["delayed"]
        assert lives["whole"]
        await check(admin, logs)
        hits.update(proxy.faults)


def _apart(n: int) -> list[Log]:
    """Make a world whose records and parts are nobody else's, though their documents are."""
    return [
        log._replace(
            name=f"{n}{log.name}",
            items=[i._replace(fact=i.fact._replace(key=f"{n}{i.fact.key}")) for i in log.items],
            torn=frozenset(),
        )
        for log in world(f"cut {n}").logs
    ]


def test_a_connection_to_a_source_that_is_cut_half_way_costs_no_record() -> None:
    with house(page_rows=20) as h:
        h.tenant.add(*(ended(f"M{n:03}", h.time() - n * MINUTE) for n in range(400)))
        h.time.pass_by(timedelta(hours=1))
        whole = urlsplit(h.sandbox.base_url)
        assert whole.hostname is not None
        assert whole.port is not None
        lives: Counter[str] = Counter()
        with (
            campaign(
                "connections to a source, cut and delayed half-way", "what the source has"
            ) as hits,
            proxied((whole.hostname, whole.port), seed=2, bytes_max=HTTP_BYTES_MAX) as proxy,
        ):
            through = {
                name: url.replace(f":{whole.port}", f":{proxy.port}")
                for name, url in h.read_section().items()
                if name.endswith("_url")
            }
            while not lives["whole"] and lives.total() < LIVES_MAX:
                try:
                    h.read(**through)
                    lives["whole"] += 1
                except TieoutError as error:
                    lives[type(error).__name__] += 1
            assert proxy.faults["cut"] >= HTTP_CUTS_MIN
            assert proxy.faults["delayed"]
            assert lives["whole"]
            assert h.last() == h.truth()
            hits.update(proxy.faults)
