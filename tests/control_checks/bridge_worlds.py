"""Worlds of the bridge: hand-written ones with every cell worked out by hand, and random ones with a plain count."""

from collections import defaultdict
from random import Random  # noqa: TID251 -- seeded by the tests
from typing import Any

import msgspec

from collector.settings.load import Configuration
from control_checks.cases import Case, configuration
from control_checks.registry import CHECKS

FLOW = "expense-to-reimbursement"
POSTED, PAID, RETURNED = "approved→posted", "posted→paid", "paid→returned"
CONTROLS: dict[str, dict[str, Any]] = {
    "amounts": {"check": "amount_differs"},
    "twice": {"check": "duplicate_posting"},
    "not_posted": {"check": "approved_not_posted"},
    "not_paid": {"check": "approved_not_paid"},
    "unapproved": {"check": "posted_not_approved"},
    "not_returned": {
        "check": "status_not_returned",
        "parameters": {"of": "paid", "statuses": ["paid"]},
    },
}
CHECK = CHECKS["approved_not_posted"]
NONE: tuple[int, int | None] = (0, 0)
Cells = dict[str, tuple[int, int | None]]


class World(Case, kw_only=True, frozen=False):
    """A case of the bridge: facts, and every cell of every hop as (count, minor units)."""

    bridge: dict[str, Cells] = msgspec.field(default_factory=dict)
    period: str = "2026-01"
    entities: dict[str, Any] = msgspec.field(default_factory=dict)


def world(case: str, facts: str, **cells: Any) -> World:  # noqa: ANN401 -- the fields of World
    hops = {"POSTED": POSTED, "PAID": PAID, "RETURNED": RETURNED}
    bridge = {hops[key]: cells.pop(key) for key in [*cells] if key in hops}
    options = {"at": "2026-02-05 08:00", **cells}
    return World(case=case, facts=facts, expect={}, bridge=bridge, **options)


APPROVED = "2026-01-30 17:02   expense_report 57EE1F   final_approved   EUR 1,250.00\n"
WAITS_FOR_PAYMENT = {"from": (1, 125000), "in_transit": (1, 125000), "unexplained": NONE}
ARRIVED = {"from": (1, 125000), "to": (1, 125000), "unexplained": NONE}
LATE = (
    APPROVED
    + "2026-01-31 09:15   journal 5100000456   posted   EUR 1,250.00   for=57EE1F   known=2026-02-04 09:00"
)
SETTLED = (
    "2026-01-20 10:00   expense_report 57EE1F   final_approved   EUR 1,250.00\n"
    "2026-01-21 09:15   journal 5100000456   posted    EUR 1,250.00   for=57EE1F\n"
    "2026-01-22 09:15   payment P-1          settled   EUR {paid}   for=57EE1F\n"
)
WORLDS = [
    world(
        "Posted, and payment is not due yet",
        APPROVED + "2026-02-02 09:15   journal 5100000456   posted   EUR 1,250.00   for=57EE1F",
        POSTED=ARRIVED,
    ),
    world(
        "Approved, and not due in the ledger yet",
        APPROVED,
        at="2026-02-02 18:00",
        POSTED=WAITS_FOR_PAYMENT,
    ),
    world(
        "Never posted",
        APPROVED,
        POSTED={"from": (1, 125000), "exceptions:not_posted": (1, 125000), "unexplained": NONE},
    ),
    world(
        "Never posted, and nobody says that the ledger was read: no control reports it",
        APPROVED,
        declared={"erp": "nobody"},
        complete=False,
        POSTED={"from": (1, 125000), "unexplained": (1, 125000)},
    ),
    world(
        "Rejected after its approval",
        APPROVED + "2026-01-31 09:00   expense_report 57EE1F   rejected",
        POSTED={"from": (1, 125000), "rejected_or_withdrawn": (1, 125000), "unexplained": NONE},
    ),
    world(
        "Posted for 45.00 too little",
        APPROVED + "2026-01-31 09:15   journal 5100000456   posted   EUR 1,205.00   for=57EE1F",
        POSTED={
            "from": (1, 125000),
            "to": (1, 120500),
            "exceptions:amounts": (0, 4500),
            "unexplained": NONE,
        },
        PAID={"from": (1, 120500), "in_transit": (1, 120500), "unexplained": NONE},
    ),
    world(
        "Three lines are each rounded by a cent, which amount_differs allows",
        APPROVED
        + "2026-01-31 09:15   journal 5100000456   posted   EUR 1,250.03   for=57EE1F   lines=3",
        POSTED={
            "from": (1, 125000),
            "to": (1, 125003),
            "rounding": (0, -3),
            "unexplained": NONE,
        },
        PAID={"from": (1, 125003), "in_transit": (1, 125003), "unexplained": NONE},
    ),
    world(
        "The pair has a tolerance, and rounding beside it",
        APPROVED
        + "2026-01-31 09:15   journal 5100000456   posted   EUR 1,249.96   for=57EE1F   lines=2",
        flow={"compare": [{"left": "approved", "right": "posted", "tolerance_minor": 2}]},
        POSTED={
            "from": (1, 125000),
            "to": (1, 124996),
            "rounding": (0, 4),
            "unexplained": NONE,
        },
        PAID={"from": (1, 124996), "in_transit": (1, 124996), "unexplained": NONE},
    ),
    world(
        "More than its lines may be rounded by",
        APPROVED
        + "2026-01-31 09:15   journal 5100000456   posted   EUR 1,250.06   for=57EE1F   lines=12",
        POSTED={
            "from": (1, 125000),
            "to": (1, 125006),
            "exceptions:amounts": (0, -6),
            "unexplained": NONE,
        },
        PAID={"from": (1, 125006), "in_transit": (1, 125006), "unexplained": NONE},
    ),
    world(
        "A payment rounds, but nobody compares it with the posting",
        APPROVED
        + "2026-01-31 09:15   journal 5100000456   posted    EUR 1,250.00   for=57EE1F\n"
        + "2026-02-02 09:15   payment P-1          settled   EUR 1,250.03   for=57EE1F   lines=3",
        POSTED=ARRIVED,
        PAID={"from": (1, 125000), "to": (1, 125003), "unexplained": (0, -3)},
    ),
    world(
        "A personal share of 50.00 is documented",
        APPROVED
        + "2026-01-30 17:03   expense_report 57EE1F   reimbursable_reduced   EUR -50.00\n"
        + "2026-01-31 09:15   journal 5100000456   posted   EUR 1,200.00   for=57EE1F",
        POSTED={
            "from": (1, 125000),
            "to": (1, 120000),
            "components": (0, 5000),
            "unexplained": NONE,
        },
        PAID={"from": (1, 120000), "in_transit": (1, 120000), "unexplained": NONE},
    ),
    world(
        "Posted twice, not paid yet",
        APPROVED
        + "2026-01-31 09:15   journal 5100000456   posted   EUR 1,250.00   for=57EE1F\n"
        + "2026-01-31 09:20   journal 5100000512   posted   EUR 1,250.00   for=57EE1F",
        POSTED={
            "from": (1, 125000),
            "to": (1, 250000),
            "exceptions:twice": (0, -125000),
            "unexplained": NONE,
        },
        PAID={
            "from": (1, 250000),
            "in_transit": (1, 125000),
            "exceptions:twice": (0, 125000),
            "unexplained": NONE,
        },
    ),
    world(
        "Posted twice, paid once",
        APPROVED
        + "2026-01-31 09:15   journal 5100000456   posted   EUR 1,250.00   for=57EE1F\n"
        + "2026-01-31 09:20   journal 5100000512   posted   EUR 1,250.00   for=57EE1F\n"
        + "2026-02-02 08:00   payment P-1   settled   EUR 1,250.00   for=57EE1F",
        POSTED={
            "from": (1, 125000),
            "to": (1, 250000),
            "exceptions:twice": (0, -125000),
            "unexplained": NONE,
        },
        PAID={
            "from": (1, 250000),
            "to": (1, 125000),
            "exceptions:twice": (0, 125000),
            "unexplained": NONE,
        },
    ),
    world(
        "Posted twice, and one of both reversed in the next month",
        APPROVED
        + "2026-01-31 09:15   journal 5100000456   posted     EUR 1,250.00    for=57EE1F\n"
        + "2026-01-31 09:20   journal 5100000512   posted     EUR 1,250.00    for=57EE1F\n"
        + "2026-02-02 09:00   journal 5100000512   reversed   EUR -1,250.00   for=57EE1F",
        POSTED=ARRIVED,
        PAID=WAITS_FOR_PAYMENT,
    ),
    world(
        "Reversed and posted again has no effect",
        APPROVED
        + "2026-01-31 09:15   journal 5100000456   posted     EUR 1,250.00    for=57EE1F\n"
        + "2026-01-31 09:20   journal 5100000456   reversed   EUR -1,250.00   for=57EE1F\n"
        + "2026-01-31 09:30   journal 5100000457   posted     EUR 1,250.00    for=57EE1F",
        POSTED=ARRIVED,
        PAID=WAITS_FOR_PAYMENT,
    ),
    world(
        "Reversed, and not posted again",
        APPROVED
        + "2026-01-31 09:15   journal 5100000456   posted     EUR 1,205.00    for=57EE1F\n"
        + "2026-01-31 09:20   journal 5100000456   reversed   EUR -1,205.00   for=57EE1F",
        POSTED={"from": (1, 125000), "exceptions:not_posted": (1, 125000), "unexplained": NONE},
        PAID={"from": (1, 120500), "reversed": (1, 120500), "unexplained": NONE},
    ),
    world(
        "Posted in dollars: never netted",
        APPROVED + "2026-02-02 09:15   journal 5100000456   posted   USD 1,250.00   for=57EE1F",
        POSTED={"from": (1, 125000), "exceptions:amounts": (1, 125000), "unexplained": NONE},
    ),
    world(
        "Paid by the company card",
        "2026-01-20 10:00   expense_report 57EE1F   company_paid\n"
        "2026-01-20 10:00   expense_report 57EE1F   final_approved   EUR 1,250.00\n"
        "2026-01-21 09:15   journal 5100000456   posted   EUR 1,250.00   for=57EE1F",
        POSTED=ARRIVED,
        PAID={"from": (1, 125000), "excluded:COMPANY_PAID": (1, 125000), "unexplained": NONE},
    ),
    world(
        "Returned by the bank, and overdue since",
        "2025-12-20 10:00   expense_report 57EE1F   final_approved   EUR 1,250.00\n"
        "2026-01-02 09:15   journal 5100000456   posted   EUR 1,250.00   for=57EE1F\n"
        "2026-01-05 09:15   payment P-1   settled    EUR 1,250.00   for=57EE1F\n"
        "2026-01-07 09:15   payment P-1   returned   EUR 1,250.00   for=57EE1F",
        PAID={"from": (1, 125000), "exceptions:not_paid": (1, 125000), "unexplained": NONE},
        RETURNED={"from": (1, 125000), "reversed": (1, 125000), "unexplained": NONE},
    ),
    world(
        "Paid, and shown as paid: a status without an amount stands for the claim's",
        SETTLED.format(paid="1,250.00")
        + "2026-01-22 15:00   expense_report 57EE1F   status_returned   document_number=P-1   status=paid",
        POSTED=ARRIVED,
        PAID=ARRIVED,
        RETURNED=ARRIVED,
    ),
    world(
        "Paid, and the day by which it is to be shown is not over",
        SETTLED.format(paid="1,250.00"),
        at="2026-01-23 18:00",
        POSTED=ARRIVED,
        PAID=ARRIVED,
        RETURNED=WAITS_FOR_PAYMENT,
    ),
    world(
        "Paid, and a second after that day it is not shown",
        SETTLED.format(paid="1,250.00"),
        at="2026-01-23 18:00:01",
        POSTED=ARRIVED,
        PAID=ARRIVED,
        RETURNED={"from": (1, 125000), "exceptions:not_returned": (1, 125000), "unexplained": NONE},
    ),
    world(
        "Paid, and shown for more than that: nobody explains it",
        SETTLED.format(paid="1,205.00")
        + "2026-01-22 15:00   expense_report 57EE1F   status_returned   EUR 1,250.00"
        + "   document_number=P-1   status=paid",
        POSTED=ARRIVED,
        PAID={"from": (1, 125000), "to": (1, 120500), "unexplained": (0, 4500)},
        RETURNED={"from": (1, 120500), "to": (1, 125000), "unexplained": (0, -4500)},
    ),
    world(
        "Paid for less than what was posted, and no pair is compared: nobody explains it",
        "2026-01-20 10:00   expense_report 57EE1F   final_approved   EUR 1,250.00\n"
        "2026-01-21 09:15   journal 5100000456   posted   EUR 1,250.00   for=57EE1F\n"
        "2026-02-02 09:15   payment P-1   settled   EUR 1,205.00   for=57EE1F",
        POSTED=ARRIVED,
        PAID={"from": (1, 125000), "to": (1, 120500), "unexplained": (0, 4500)},
    ),
    world(
        "Posted without any approval of its claim",
        "2026-01-05 10:00   expense_report 57EE1F   submitted   EUR 1,250.00\n"
        "2026-01-07 09:15   journal 5100000456   posted   EUR 1,250.00   for=57EE1F",
        PAID={"from": (1, 125000), "exceptions:unapproved": (1, 125000), "unexplained": NONE},
    ),
    world(
        "Nothing is payable",
        "2026-01-20 10:00   expense_report 57EE1F   final_approved   EUR 0.00",
        POSTED={"from": (1, 0), "excluded:ZERO_PAYABLE": (1, 0), "unexplained": NONE},
    ),
    world(
        "Two claims in one transaction: nothing can be said",
        "2026-01-20 10:00   expense_report 57EE1F   final_approved   EUR 10.00\n"
        "2026-01-20 10:00   expense_report 57EE20   final_approved   EUR 20.00   for=57EE1F",
        POSTED={"from": (2, 3000), "unexplained": (2, 3000)},
    ),
    world(
        "A late fact changes no earlier bridge: its record was unread then",
        LATE,
        known="2026-02-03 08:00",
        complete=False,
        POSTED={"from": (1, 125000), "unexplained": (1, 125000)},
    ),
    world("The late fact, as known now", LATE, POSTED=ARRIVED, PAID=WAITS_FOR_PAYMENT),
    world(
        "The month ends at midnight in Tokyo, where yen have no minor unit",
        "2026-01-31 15:59   expense_report A-1   final_approved   JPY 16,000   entity=JP10\n"
        "2026-01-31 16:00   expense_report A-2   final_approved   JPY 500   entity=JP10",
        at="2026-01-31 17:00",
        entities={"JP10": {"name": "Lindenau KK", "calendar": "japan"}},
        POSTED={"from": (1, 16000), "in_transit": (1, 16000), "unexplained": NONE},
    ),
    world(
        "The month ends at midnight in Berlin, and dinars have three decimals",
        "2026-01-31 23:59   expense_report A-1   final_approved   KWD 16.125\n"
        "2026-02-01 00:00   expense_report A-2   final_approved   KWD 1.001",
        at="2026-02-01 01:00",
        POSTED={"from": (1, 16125), "in_transit": (1, 16125), "unexplained": NONE},
    ),
]


def configured(case: World) -> Configuration:
    """Make the configuration of a world: the flow of all cases with a bridge, and the controls of one."""
    case.flow = {"bridge": ["approved", "posted", "paid", "returned"], **case.flow}
    found = configuration(CHECK, case)
    plain = found.settings.model_dump(mode="json")
    plain["controls"] = {name: {**c, "flows": [FLOW]} for name, c in CONTROLS.items()}
    plain["entities"] |= case.entities
    plain["calendars"] |= {"japan": {**plain["calendars"]["germany"], "timezone": "Asia/Tokyo"}}
    return Configuration(type(found.settings).model_validate(plain), found.path, {})


def cells_of(document: dict[str, Any]) -> dict[str, Cells]:
    return {
        f"{row['from']}→{row['to']}": {
            name: (cell["count"], cell["amount_minor"]) for name, cell in row["cells"].items()
        }
        for row in document["rows"]
    }


def _told(n: int, day: int, minor: int, fate: str) -> list[str]:
    money = f"EUR {'-' if minor < 0 else ''}{abs(minor) // 100}.{abs(minor) % 100:02}"
    lines = [f"2026-01-{day} 10:00   expense_report E-{n}   final_approved   {money}"]
    if fate == "rejected":
        lines.append(f"2026-01-{day} 12:00   expense_report E-{n}   rejected")
    elif fate != "never":
        lines.append(f"2026-01-{day} 11:00   journal J-{n}   posted   {money}   for=E-{n}")
    if fate == "reversed":
        lines.append(f"2026-01-{day} 12:00   journal J-{n}   reversed   {money}   for=E-{n}")
    if fate == "paid":
        lines.append(f"2026-01-{day} 15:00   payment P-{n}   settled   {money}   for=E-{n}")
    if fate == "twice" and minor > 0:
        lines.append(f"2026-01-{day} 11:30   journal K-{n}   posted   {money}   for=E-{n}")
    return lines


def random_facts(dice: Random) -> tuple[str, dict[str, Cells]]:
    """Make claims whose fates are drawn, and count independently what the bridge must show of them.

    T is Thu 5 Feb 08:00. What was approved by 28 January is overdue in the ledger, and nothing
    of January is overdue for payment.
    """
    lines: list[str] = []
    expected: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))

    def count(hop: str, cell: str, items: int, minor: int) -> None:
        expected[hop][cell][0] += items
        expected[hop][cell][1] += minor

    for n in range(dice.randint(5, 25)):
        minor = dice.randint(1, 10**7) * dice.choice([1, 1, 1, -1])
        fate = dice.choice(["never", "rejected", "posted", "twice", "reversed", "paid"])
        lines += _told(n, dice.randint(10, 28), minor, fate)
        count(POSTED, "from", 1, minor)
        ends = {"never": "exceptions:not_posted", "reversed": "exceptions:not_posted"}
        count(POSTED, {**ends, "rejected": "rejected_or_withdrawn"}.get(fate, "to"), 1, minor)
        if fate in {"never", "rejected"}:
            continue
        count(PAID, "from", 1, minor)
        cell = {"reversed": "reversed", "paid": "to"}.get(fate, "in_transit")
        count(PAID, cell, 1, minor)
        if fate == "paid":
            count(RETURNED, "from", 1, minor)
            count(RETURNED, "exceptions:not_returned", 1, minor)
        if fate == "twice" and minor > 0:
            for hop, name, more in (
                (POSTED, "to", minor),
                (POSTED, "exceptions:twice", -minor),
                (PAID, "from", minor),
                (PAID, "exceptions:twice", minor),
            ):
                count(hop, name, 0, more)
    cells = {hop: {c: (v[0], v[1]) for c, v in found.items()} for hop, found in expected.items()}
    return "\n".join(lines), {hop: {**found, "unexplained": NONE} for hop, found in cells.items()}
