"""A clock that jumps by an hour, forward and back: nothing is lost, and what was known stays known."""

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below

from api.wiring import Application, read_configuration
from collector import clock
from tests.faults.orders import Shop
from tests.faults.syncing import sync
from tests.faults.test_kill import looking
from tests.support.campaigns import AS_WRITTEN, campaign
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

PASSES = 30
BURST_LINES = 100
HOUR = timedelta(hours=1)
KNOWN = """
SELECT count(*) FROM tieout.event e JOIN tieout.batch b ON b.id = e.batch
JOIN tieout.commit_log c ON c.seq = b.seq WHERE c.recorded_at <= $1
"""


class Jumping:
    """A clock that is right, an hour ahead or an hour behind, by chance at each look."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 -- no secret
        self._off = timedelta()
        self.jumps = Counter[str]()

    def __call__(self) -> datetime:
        before, self._off = self._off, self._random.choice((-HOUR, timedelta(), HOUR))
        if self._off != before:
            self.jumps["forward" if self._off > before else "back"] += 1
        return clock.now() + self._off


async def test_what_was_known_at_a_time_is_the_same_ever_after_whatever_the_clock_did(
    database: Database, tmp_path: Path
) -> None:
    shop, jumping = Shop(tmp_path / "shop", 1), Jumping(1)
    store = DatabaseStore(database)
    application = Application(read_configuration(shop.config), store, jumping)
    await application.prepare()
    known: list[tuple[datetime, int]] = []
    with campaign("our clock jumps by an hour", AS_WRITTEN) as hits:
        async with looking(database.server, database.name) as conn:
            for _ in range(PASSES):
                shop.sell(BURST_LINES)
                assert (await sync(application)).complete
                last = await conn.fetchval("SELECT max(recorded_at) FROM tieout.commit_log")
                known.append((last, shop.accepted))
            assert [await conn.fetchval(KNOWN, instant) for instant, _ in known] == [
                accepted for _, accepted in known
            ]
            assert sorted(set(known)) == known
            await shop.check(conn)
        assert jumping.jumps.keys() == {"forward", "back"}
        hits.update(jumping.jumps)
