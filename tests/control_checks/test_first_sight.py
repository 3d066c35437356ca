"""What a check settles at first sight is what its query says is in order, and the rest is the same: over random worlds."""

from collections import Counter
from copy import deepcopy
from datetime import datetime
from random import Random  # noqa: TID251 -- seeded below
from typing import Any

import msgspec
import pytest

from collector import clock
from collector.pipeline.link import Links
from collector.store import runs, totals
from collector.store.runs import population
from control_checks import cases
from control_checks.cases import CLOCK, CONTROL, Case, instant
from control_checks.registry import CHECKS
from tests.control_checks.test_cases import prepared, run
from tests.support.postgres import Database

CLAIMS = 14
LATE = 0.1
"""The share of the facts that become known late."""
SEEDS = [*range(8), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(8, 40))]
FIRST_SIGHT = {name: check for name, check in CHECKS.items() if check.plain}
FLOW = "expense-to-reimbursement"
LATER = instant("2027-01-01 00:00")
PARAMETERS: dict[str, list[dict[str, Any]]] = {
    "approved_not_posted": [{}, {"go_live": instant("2026-01-12 00:00")}],
    "approval_missing": [
        {},
        {"commitment": "paid", "automatic": ["expense_report.auto_approved"]},
        {"sub_tests": ["before", "self"], "submitted": ["expense_report.submitted"]},
    ],
    "posted_not_approved": [{}, {"interface": {"actor": ["IF"]}, "manual": ["SA"]}],
    "status_not_returned": [{}, {"of": "paid", "statuses": ["paid", "posted"]}],
    "stuck_transaction": [{}, {"owned": []}],
}


def world(random: Random) -> str:
    """Tell claims that are in order, for the most part, each with something odd about it now and then."""
    lines = [line for n in range(CLAIMS) for line in _claim(random, n)]
    return "\n".join(sorted(lines))


def _claim(random: Random, n: int) -> list[str]:
    claim, journal, payment = f"expense_report C{n}", f"journal J{n}", f"payment P{n}"
    amount = random.choice(["EUR 10.00", "EUR 25.50", "USD 10.00"])
    story = [
        f"{claim}   submitted   {amount}   actor=E{n}",
        f"{claim}   final_approved   {amount}   actor=BOSS",
        f"{journal}   posted   {amount}   for=C{n}   actor=IF   fiscal_year=2026",
        f"{payment}   settled   {amount}   for=C{n}   fiscal_year=2026",
        f"{claim}   status_returned   document_number=J{n}   fiscal_year=2026   status=posted",
    ]
    other = random.choice([amount, amount, "EUR 9.00", "EUR 0.00"])
    odd = [
        [f"{claim}   sent_back", f"{claim}   resubmitted   {other}", f"{claim}   final_approved   {other}"],
        [f"{claim}   rejected"],
        [f"{claim}   held   reason_code=X   hold_until=2026-02-01T00:00Z"],
        [f"{claim}   changed   {other}"],
        [f"{claim}   company_paid"],
        [f"{claim}   auto_approved   {other}   policy=P   policy_version=1"],
        [f"{claim}   reimbursable_reduced   EUR -1.00"],
        [f"{claim}   final_approved   {other}   actor=E{n}"],
        [f"{claim}   status_returned   document_number=J{n}   fiscal_year=2026   status=paid"],
        [f"{journal}   reversed   {amount}   fiscal_year=2026"],
        [f"{journal}   refused   message=no"],
        [f"journal K{n}   posted   {other}   for=C{n}   actor=IF   fiscal_year=2026   line=1"],
        [f"journal L{n}   posted   {amount}   actor=MEIER   document_type=SA   source_document=C{n}"],
        [f"journal M{n}   posted   {amount}   for=C{n}   ledger=2L"],
        [f"journal N{n}   posted   {other}   for=C{n}   source_document=C{(n + 1) % CLAIMS}"],
        [f"{payment}   returned   {other}"],
        [f"payment Q{n}   settled   {other}   for=C{n}"],
        ["payment RUN   settled   EUR 99.00", f"{journal}   cleared   {amount}   group=payment RUN"],
        [f"expense_report D{n}   submitted   {other}   for=C{n}"],
        [f"expense_report D{n}   status_returned   for=C{n}"],
    ]  # fmt: skip
    if random.random() < 0.2:
        story.pop(random.randrange(len(story)))
    if random.random() < 0.6:
        where = random.randrange(len(story) + 1)
        story[where:where] = random.choice(odd)
    hour = random.randrange(24 * 25)
    told = []
    for line in story:
        told.append(f"2026-01-{1 + hour // 24:02} {hour % 24:02}:00   {line}")
        hour = min(hour + random.choice([0, 1, 5, 30]), 24 * 31 - 1)
    return told


def _flow(random: Random) -> dict[str, Any]:
    """Take the flow of all cases; now and then one in which a payment settles several claims."""
    flow = deepcopy(cases._setting()["flow"])
    if random.random() < 0.5:
        steps = {step["name"]: step for step in flow["steps"]}
        steps["paid"]["via"] = ["payment"]
        flow["compare"] += [
            {"left": "posted", "right": "paid", "grain": "group"},
            {"left": "posted", "right": "paid", "in_parts": True},
        ]
    found: dict[str, Any] = flow
    return found


async def _found(
    conn: Any,  # noqa: ANN401 -- a connection
    name: str,
    plain: str,
    parameters: str,
    case: Case,
    k: datetime = LATER,
) -> Counter[Any]:
    """Count what is OK by currency and sum it up; keep every other item whole."""
    settled, rows = await population(
        conn, plain, CHECKS[name].query, (), FLOW, case.as_of, k, parameters
    )
    found: Counter[Any] = Counter()
    for s in settled:
        (currency,) = s.kind
        found["ok", currency] += s.items
        found["sum", currency] += s.amount_minor or 0
    for row in rows:
        if row["finding"] == "ok":
            found["ok", row["currency"]] += 1
            found["sum", row["currency"]] += row["amount_minor"] or 0
        else:
            found[repr(row)] += 1
    return +found


@pytest.mark.parametrize("seed", SEEDS)
async def test_at_first_sight_a_check_settles_what_its_query_would(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(seed)  # noqa: S311 -- no secret
    at = f"2026-01-{random.randrange(20, 32)} {random.randrange(24):02}:00"
    case = Case(f"seed {seed}", at, world(random), {}, flow=_flow(random))
    monkeypatch.setattr(runs, "REST_SHARE_MAX", 1.0)
    engine = await prepared(database, CHECKS["approved_not_posted"], case)
    looked_closely = Counter[str]()
    async with engine.store.connect("tieout_reader") as conn:
        for name, check in FIRST_SIGHT.items():
            for given in PARAMETERS.get(name, [{}]):
                parameters = check.parameters.model_validate(given).model_dump_json()
                whole = await _found(conn, name, "", parameters, case)
                assert await _found(conn, name, check.plain, parameters, case) == whole, name
                settled, _ = await population(
                    conn, check.plain, check.query, (), FLOW, case.as_of, LATER, parameters
                )  # fmt: skip
                looked_closely[name] += sum(s.items for s in settled)
    assert all(looked_closely[name] for name in FIRST_SIGHT if name != "stuck_transaction")


@pytest.mark.parametrize("seed", SEEDS[:2] + SEEDS[8:])
async def test_as_known_earlier_it_settles_what_was_not_added_to_since(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(seed)  # noqa: S311 -- no secret
    lines = [
        f"{line}   known=2026-02-10 09:00" if random.random() < LATE else line
        for line in world(random).splitlines()
    ]
    case = Case(f"seed {seed}", "2026-01-31 08:00", "\n".join(lines), {}, flow=_flow(random))
    k = instant("2026-02-05 08:00")
    monkeypatch.setattr(runs, "REST_SHARE_MAX", 1.0)
    monkeypatch.setattr(runs, "GROWN_SHARE_MAX", 1.0)
    engine = await prepared(database, CHECKS["approved_not_posted"], case)
    settled_at_k = 0
    async with engine.store.connect("tieout_reader") as conn:
        for name, check in FIRST_SIGHT.items():
            parameters = check.parameters.model_validate({}).model_dump_json()
            whole = await _found(conn, name, "", parameters, case, k)
            assert await _found(conn, name, check.plain, parameters, case, k) == whole, name
            settled, _ = await population(
                conn, check.plain, check.query, (), FLOW, case.as_of, k, parameters
            )
            settled_at_k += sum(s.items for s in settled)
    assert settled_at_k


async def test_where_too_many_steps_are_asked_for_nothing_is_plain(database: Database) -> None:
    case = Case("all steps", "2026-01-31 08:00", world(Random(1)), {})  # noqa: S311 -- no secret
    engine = await prepared(database, CHECKS["approved_not_posted"], case)
    once = ["submitted", "sent", "posted", "paid", "returned"]
    async with engine.store.connect("tieout_reader") as conn:
        rows = await conn.fetch(
            "SELECT plain FROM read.plain($1, $2, 'infinity', 'approved', $3)",
            FLOW,
            case.as_of,
            once,
        )
    assert rows
    assert not any(row["plain"] for row in rows)


async def test_what_a_person_decides_later_changes_nothing_that_was_settled_at_first_sight(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "REST_SHARE_MAX", 1.0)
    lines = [
        "2026-01-12 09:00   expense_report C1   submitted        EUR 10.00",
        "2026-01-12 10:00   expense_report C1   final_approved   EUR 10.00",
        "2026-01-12 11:00   journal J1          posted           EUR 10.00",
    ]
    case = Case("linked later", "2026-01-30 08:00", "\n".join(lines), {})
    engine = await prepared(database, CHECKS["approved_not_posted"], case)
    async with engine.store.connect() as conn:
        known = await totals.last_recorded(conn, case.as_of)
        before = await run(engine, msgspec.structs.replace(case, known=_berlin(known)))
        links = Links(conn, lambda _kind: 20, clock.now, "a person")
        await links.add("C1", "J1", "told on the phone")
    again = await run(engine, msgspec.structs.replace(case, known=_berlin(known)))
    later = await engine.run(CONTROL, case.as_of, None, trigger="command", actor="test")
    assert [(r.population["ok"], r.population["exceptions"]) for r in (before, again, later)] == [
        (0, 1),
        (0, 1),
        (1, 0),
    ]


def _berlin(instant: datetime) -> str:
    return instant.astimezone(CLOCK).replace(tzinfo=None).isoformat()
