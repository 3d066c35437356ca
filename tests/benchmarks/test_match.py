"""A hundred thousand open items on each side of a link rule: candidates, scores and links in under a minute.

A fifth of the amounts are among four, as per diems are; each payee has a namesake by initial now and then.
"""

from random import Random  # noqa: TID251 -- seeded below

import asyncpg
import pytest

from collector.clock import stopwatch
from tests.benchmarks.report import report
from tests.support.ledger import Item, Ledgers
from tests.support.postgres import Database

pytestmark = pytest.mark.bench

ITEMS = 100_000
BATCH = 10_000
PAYEES = 3_000
DAYS = 365
ALIKE_SHARE = 0.2
PER_DIEMS = (1_400, 2_800, 5_600, 8_400)
MATCH_S_MAX = 60.0
NAMES = {"left": "counterparty", "right": "counterparty", "as": "name", "least": 50}
STEM = (
    "Al",
    "Ben",
    "Cor",
    "Dor",
    "Eck",
    "Fal",
    "Ger",
    "Hol",
    "Jes",
    "Kay",
    "Lor",
    "Mat",
    "Now",
    "Oka",
)
ENDING = ("ers", "mann", "berg", "stein", "feld", "hof", "er", "ow", "ski", "ada")


def items(rng: Random) -> list[Item]:
    payees = [
        (rng.choice(STEM) + rng.choice(ENDING), rng.choice(STEM) + rng.choice(ENDING))
        for _ in range(PAYEES)
    ]
    made = []
    for n in range(ITEMS):
        first, last = rng.choice(payees)
        alike = rng.random() < ALIKE_SHARE
        amount = rng.choice(PER_DIEMS) if alike else rng.randint(1_000, 500_000)
        day = rng.randrange(DAYS)
        made += [
            Item("left", f"B{n}", day + rng.randint(0, 2), f"{last}, {first[0]}.", amount),
            Item("right", f"P{n}", day, f"{first} {last}", amount),
        ]
    return made


async def test_a_hundred_thousand_open_items_a_side_are_matched_in_a_minute(
    database: Database,
) -> None:
    conn = await asyncpg.connect(database.dsn("tieout_app"))
    try:
        books = Ledgers(conn, similar=[NAMES])
        told = items(Random(1))  # noqa: S311 -- no secret
        for start in range(0, len(told), BATCH):
            await books.tell(*told[start : start + BATCH])
        elapsed = stopwatch()
        done = await books.match()
        first_s, elapsed = elapsed(), stopwatch()
        again = await books.match()
        again_s = elapsed()
    finally:
        await conn.close()
    print(
        f"\n{done.pairs:,} candidates of {ITEMS:,} open items a side: {done.linked:,} linked, {done.suggested}"
    )
    report("link match: 100,000 open items a side", first_s, "s", MATCH_S_MAX, "lower")
    report("link match: again, nothing new", again_s, "s", MATCH_S_MAX, "lower")
    assert again.linked == 0
    assert done.linked > ITEMS / 2
    assert first_s < MATCH_S_MAX
