"""Two agents that are configured on the same file by mistake."""

from contextlib import ExitStack
from pathlib import Path

from api.wiring import Application, read_configuration
from collector import clock
from collector.store.embedded import Server, running
from tests.faults.orders import Shop
from tests.faults.syncing import sync
from tests.faults.test_kill import agent, looking, until_read
from tests.support.campaigns import AS_WRITTEN, campaign
from tests.support.postgres import fresh_database
from tests.support.store import DatabaseStore

BURST_LINES = 8_000
BURSTS_MAX = 30
REFUSED = "is being read by another process; it was left to that one"


async def test_on_one_store_the_second_is_refused_with_a_sentence_and_all_is_read_once(
    base: Path,
) -> None:
    shop, data, bursts = Shop(base / "shop", 1), base / "data", 0
    with (
        campaign("two agents on one file of one store", AS_WRITTEN) as hits,
        running(data) as server,
        ExitStack() as both,
    ):
        agents = [both.enter_context(agent(shop.config, data)) for _ in range(2)]
        while REFUSED not in agents[0].said:
            bursts += 1
            assert bursts <= BURSTS_MAX, "they never met"
            shop.sell(BURST_LINES)
            await until_read(server, shop.lines)
        for each in agents:
            each.stop()
        async with looking(server) as conn:
            await shop.check(conn)
        hits.update({"bursts until they met": bursts, "lines": shop.lines})


async def test_on_two_stores_each_holds_everything_once(server: Server, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", 2)
    shop.sell(BURST_LINES)
    for _ in range(2):
        async with fresh_database(server) as database:
            store = DatabaseStore(database)
            application = Application(read_configuration(shop.config), store, clock.now)
            await application.prepare()
            assert (await sync(application)).complete
            async with looking(server, database.name) as conn:
                await shop.check(conn)
