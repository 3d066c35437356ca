"""A trace of one of 5,000 members of a payment run, a card batch and a payout, and of these groups themselves.

Those of groups of five are asked for in between, over the same connection and warm. What a member costs does not depend on
their number; a group lists the first twenty by name, for which it looks at all.
"""

import statistics
from collections import defaultdict
from pathlib import Path

import asyncpg
import pytest

from api.wiring import open_source, read_configuration
from collector.clock import now, stopwatch
from collector.pipeline.collect import Collector
from collector.pipeline.publish import publish
from collector.pipeline.story import Stories
from tests.benchmarks.report import report
from tests.support import groups
from tests.support.postgres import Database

pytestmark = pytest.mark.bench

LARGE, SMALL = 5_000, 5
ROUNDS, WARM = 120, 20
MEMBER_BAR, GROUP_MS_BAR = 1.5, 100.0


async def test_the_trace_of_a_member_costs_the_same_whatever_the_size_of_its_group(
    database: Database, tmp_path: Path
) -> None:
    groups.write(tmp_path, {"large": LARGE, "small": SMALL})
    configuration = read_configuration(tmp_path / "tieout.yaml")
    conn = await asyncpg.connect(database.dsn("tieout_app"))
    await publish(conn, configuration, now)
    with Collector(conn, lambda _kind: 20, now) as collector:
        for source, stream in configuration.streams():
            assert (await collector.sync(open_source(configuration, source, stream))).complete
    owner = await asyncpg.connect(database.dsn("tieout_owner"))
    await owner.execute("ANALYZE")
    await owner.close()

    stories, as_of, times_s = (
        Stories(configuration.settings),
        now(),
        defaultdict[str, list[float]](list),
    )
    for n in range(WARM + ROUNDS):
        for shape in groups.SHAPES:
            for group, members in (("large", LARGE), ("small", SMALL)):
                keys = {
                    "member": shape.number(group, n * 37 % members),
                    "group": f"{shape.group}-{group}",
                }
                for what, key in keys.items():
                    elapsed_s = stopwatch()
                    story = await stories.tell(conn, key, as_of)
                    took_s = elapsed_s()
                    assert len(story.transactions) == 1
                    assert bool(story.candidates) == (what == "group")
                    if n >= WARM:
                        times_s[f"{what} {group}"].append(took_s)
    await conn.close()
    median = {what: statistics.median(found) for what, found in times_s.items()}
    member_ms, group_ms = median["member large"] * 1000, median["group large"] * 1000
    report(f"trace of one of {LARGE:,} members", member_ms, "ms", None, "lower")
    report(f"trace of a group of {LARGE:,}", group_ms, "ms", GROUP_MS_BAR, "lower")
    ratio = median["member large"] / median["member small"]
    report(f"trace of one of {LARGE:,} members / of {SMALL}", ratio, "ratio", MEMBER_BAR, "lower")
    assert ratio <= MEMBER_BAR
    assert group_ms <= GROUP_MS_BAR
