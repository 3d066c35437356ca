"""The bridge: hand-written worlds with every cell worked out by hand, and random ones against a plain count."""

from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random  # noqa: TID251 -- seeded below
from typing import Any

import pytest
import pytest_asyncio

from collector.store import runs
from collector.store.embedded import Server
from control_checks.bridge.bridge import Bridge, prepared
from control_checks.cases import facts, instant
from control_checks.registry import CHECKS
from control_checks.runner import Engine
from tests.control_checks.bridge_worlds import (
    APPROVED,
    ARRIVED,
    CHECK,
    CONTROLS,
    FLOW,
    LATE,
    POSTED,
    WORLDS,
    World,
    cells_of,
    configured,
    random_facts,
    world,
)
from tests.control_checks.test_first_sight import world as stories
from tests.support.facts import tell, tell_in_turn
from tests.support.postgres import Database, emptied, fresh_database
from tests.support.store import DatabaseStore, at


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(server: Server) -> AsyncIterator[Database]:
    async with fresh_database(server) as fresh:
        yield fresh


async def _document(bridge: Bridge, period: str = "2026-01") -> dict[str, Any]:
    """Return the bridge of a period: the same, whether what is plain passes at first sight or nothing does."""
    shown = []
    for share in (0.0, 1.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runs, "REST_SHARE_MAX", share)
            shown.append(await bridge.document(period))
    assert shown[0] == shown[1]
    return shown[0]


async def _bridge(database: Database, case: World) -> tuple[Bridge, Engine]:
    """Commit a world's facts in the order in which they became known; return its bridge."""
    settings = configured(case)
    store = DatabaseStore(await emptied(database))
    async with store.connect() as conn:
        await tell_in_turn(conn, settings, facts(CHECK, case))
    engine = Engine(settings, store, CHECKS, at(case.as_of))
    return await prepared(engine, case.as_of, case.as_known, "test"), engine


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", WORLDS, ids=[w.case for w in WORLDS])
async def test_every_cell_is_as_worked_out_by_hand(shared: Database, case: World) -> None:
    bridge, _ = await _bridge(shared, case)
    document = await _document(bridge, case.period)
    assert [run.error for run in bridge.runs] == [None] * len(CONTROLS)
    assert cells_of(document) == case.bridge
    assert document["complete"] is case.complete
    assert bool(document["gaps"]) is not case.complete


@pytest.mark.asyncio(loop_scope="module")
async def test_differences_that_cancel_each_other_out_are_both_unexplained(
    shared: Database,
) -> None:
    lines = [
        f"2026-01-20 10:00   expense_report {n}   final_approved   EUR 10.00\n"
        f"2026-01-21 09:15   journal J-{n}   posted   EUR 10.00   for={n}\n"
        f"2026-02-02 09:15   payment P-{n}   settled   EUR {paid}   for={n}"
        for n, paid in (("A-1", "9.00"), ("A-2", "11.00"))
    ]
    bridge, _ = await _bridge(shared, world("Too little and too much", "\n".join(lines)))
    rows = {row["to"]: row for row in (await _document(bridge))["rows"]}
    assert rows["paid"]["cells"]["unexplained"] == {"count": 0, "amount_minor": 0}
    assert (rows["posted"]["unexplained_items"], rows["paid"]["unexplained_items"]) == (0, 2)
    listed = await bridge.items("2026-01", 9, to="paid", cell="unexplained")
    assert {(i["number"], i["amount_minor"]) for i in listed} == {("A-1", 100), ("A-2", -100)}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_posting_without_a_claim_is_a_memo_and_no_part_of_the_sum(shared: Database) -> None:
    told = "2026-01-20 10:00   journal 5100000456   posted   EUR 1,250.00"
    bridge, _ = await _bridge(shared, world("No claim", told))
    document = await _document(bridge)
    about = {"flow": FLOW, "entity": "DE10", "currency": "EUR", "count": 1}
    assert document["rows"] == []
    assert document["memo"] == [{"control": "unapproved", "amount_minor": 125000, **about}]


@pytest.mark.asyncio(loop_scope="module")
async def test_runs_at_the_same_time_are_used_again_until_something_is_read(
    shared: Database,
) -> None:
    case = world("Never posted", APPROVED)
    first, engine = await _bridge(shared, case)
    again = await prepared(engine, case.as_of, None, "test")
    assert [run.run for run in again.runs] == [run.run for run in first.runs]
    assert await _document(again) == await _document(first) | {"as_known": again.as_known}
    async with engine.store.connect() as conn:
        await tell(conn, "bank", [], at(case.as_of + timedelta(hours=1)))
    later = await prepared(engine, case.as_of, None, "test")
    assert {run.run for run in later.runs}.isdisjoint(run.run for run in first.runs)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("declared", "as_of", "gaps"),
    [
        ({"erp": "2026-02-04 20:00"}, "2026-02-04 20:00", []),
        ({"erp": "2026-02-04 20:00", "bank": "2026-02-04 18:00"}, "2026-02-04 18:00", []),
        ({"erp": "2026-02-06 08:00"}, "2026-02-05 08:00", []),
        ({"erp": "2026-02-03 20:00"}, "2026-02-04 08:00", ["erp/all is complete only up to"]),
        ({"erp": "nobody"}, "2026-02-05 08:00", ["erp/all: nobody says up to when"]),
    ],
)
async def test_without_a_status_time_it_takes_one_up_to_which_the_streams_of_all_controls_are_known(
    shared: Database, declared: dict[str, str], as_of: str, gaps: list[str]
) -> None:
    until = {k: v if v == "nobody" else f"2025-01-01 00:00 to {v}" for k, v in declared.items()}
    _, engine = await _bridge(shared, world("Never posted", APPROVED, declared=until))
    bridge = await prepared(engine, None, None, "test")
    assert bridge.as_of == instant(as_of)
    assert {run.as_of for run in bridge.runs} == {bridge.as_of}
    document = await _document(bridge)
    assert document["complete"] is (not gaps)
    assert len(document["gaps"]) == len(gaps)
    for said, gap in zip(document["gaps"], gaps, strict=True):
        assert said.startswith(gap)
    then = instant("2026-02-03 12:00")
    assert (await prepared(engine, None, then, "test")).as_of == then


@pytest.mark.asyncio(loop_scope="module")
async def test_what_becomes_known_later_changes_no_earlier_bridge(shared: Database) -> None:
    case = world("Posted in time, known late", APPROVED)
    first, engine = await _bridge(shared, case)
    shown = await _document(first)
    _, posting = facts(CHECK, world("The posting", LATE))
    async with engine.store.connect() as conn:
        await tell(conn, posting.stream, [posting.event], at(case.as_of + timedelta(hours=1)))
    now = await prepared(engine, case.as_of, None, "test")
    assert cells_of(await _document(now))[POSTED] == ARRIVED
    then = await prepared(engine, case.as_of, first.as_known, "test")
    assert await _document(then) == shown


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("seed", range(12))
async def test_a_random_world_is_as_counted_and_foots(shared: Database, seed: int) -> None:
    written, expected = random_facts(Random(seed))  # noqa: S311 -- a repeatable world
    bridge, _ = await _bridge(shared, world(str(seed), written))
    document = await _document(bridge)
    assert cells_of(document) == expected
    for row in document["rows"]:
        for measure in ("count", "amount_minor"):
            cells = {name: cell[measure] for name, cell in row["cells"].items()}
            assert cells.pop("from") == sum(cells.values())
    items = await bridge.items("2026-01", 1000)
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for item in items:
        if item["cell"] != "from":
            seen[f"{item['from']}→{item['to']}", item["number"]] += item["count"]
    assert set(seen.values()) == {1}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("seed", range(6))
async def test_what_passes_at_first_sight_changes_no_cell(shared: Database, seed: int) -> None:
    told = stories(Random(seed))  # noqa: S311 -- a repeatable world
    told = told.replace("status=posted", "status=paid").replace(
        "document_number=J", "document_number=P"
    )
    bridge, _ = await _bridge(shared, world(f"seed {seed}", told))
    assert (await _document(bridge))["rows"]
