"""A shop whose mapping changes: its data, the changes, and what its store holds."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- a test of its own seeds
from typing import Any

import yaml

from api.wiring import Application, read_configuration
from collector.pipeline.dump import dump
from collector.pipeline.publish import publish
from collector.pipeline.rebuild import rebuild
from collector.pipeline.remap import Remapping, Report
from collector.pipeline.replay import Asked, Replay
from collector.store.totals import Totals, last_recorded, totals
from tests.support.postgres import Database, emptied
from tests.support.store import DatabaseStore, at

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
NOW = START + timedelta(days=90)
MAPPING: dict[str, Any] = {
    "key": "id",
    "document": {"type": "order", "number": "order"},
    "occurred_at": {"value": "at", "timezone": "in value"},
    "amount": {"value": "net", "currency": "=EUR"},
    "references": [{"kind": "invoice", "role": "identity", "value": "invoice"}],
    "attributes": {"partner": "partner"},
    "events": [
        {
            "rule": "told",
            "type": {
                "value": "what",
                "unknown": "quarantine",
                "values": {"made": "order.made", "paid": "order.paid", "void": "ignore"},
            },
        },
        {"rule": "marked", "type": "order.marked", "when": [{"value": "mark"}]},
    ],
}
PAYMENTS: dict[str, Any] = {
    "key": "id",
    "document": {"type": "payment", "number": "id"},
    "occurred_at": {"value": "at", "timezone": "in value"},
    "references": [
        {"kind": "invoice", "role": "identity", "value": "invoice"},
        {"kind": "order", "role": "context", "value": "order"},
    ],
    "events": [{"rule": "paid", "type": "payment.paid"}],
}
FLOW = {
    "flow": "orders",
    "title": "Orders",
    "anchor": "order",
    "steps": [
        {"name": "made", "system": "shop", "done_by": ["order.made"]},
        {
            "name": "paid",
            "system": "shop",
            "after": "made",
            "due": "9 days",
            "done_by": ["payment.paid"],
        },
    ],
}
NAMES = (
    "SELECT document_id, kind, scope, number FROM read.documents($1) ORDER BY document_id",
    (
        "SELECT d.document_id, n.role, n.kind, n.scope, n.value FROM read.names($1) n"
        " JOIN read.documents($1) d ON d.document = n.document ORDER BY 1, 2, 3, 4, 5"
    ),
    (
        "SELECT document_id, step, number, amount_minor FROM read.steps('orders', 'infinity', $1)"
        " ORDER BY document_id, ordinal"
    ),
)
TELLS, MARKED = MAPPING["events"]


def but(**changed: object) -> dict[str, Any]:
    return {**MAPPING, **changed}


def told(**values: str) -> dict[str, Any]:
    return {**TELLS, "type": {**TELLS["type"], "values": {**TELLS["type"]["values"], **values}}}


BATCH = {"kind": "run", "role": "group", "value": "run"}
CASE = {"kind": "case", "role": "identity", "value": "case"}
CHANGES = {
    "a new value": but(events=[told(sent="order.sent"), MARKED]),
    "a value that means something else": but(events=[told(paid="order.made"), MARKED]),
    "a value that is ignored now": but(events=[told(paid="ignore"), MARKED]),
    "another amount column": but(amount={"value": "gross", "currency": "=EUR"}),
    "another currency": but(amount={"value": "net", "currency": "currency"}),
    "no amount": {k: v for k, v in MAPPING.items() if k != "amount"},
    "a new identity": but(references=[*MAPPING["references"], CASE]),
    "a new group": but(references=[*MAPPING["references"], BATCH]),
    "an identity less": but(references=[]),
    "an identity that only is searched": but(
        references=[{**MAPPING["references"][0], "role": "context"}]
    ),
    "another identity": but(references=[CASE]),
    "another document number": but(document={"type": "order", "number": "case"}),
    "another type of document": but(document={"type": "sale", "number": "order"}),
    "another column of time": but(occurred_at={"value": "booked", "timezone": "Europe/Berlin"}),
    "a column that often is empty": but(document={"type": "order", "number": "invoice"}),
    "a condition more": but(events=[{**TELLS, "when": [{"value": "invoice"}]}, MARKED]),
    "a rule more": but(
        events=[
            TELLS,
            MARKED,
            {
                "rule": "dear",
                "type": "order.dear",
                "when": [{"value": "what", "is": ["made", "paid"]}],
            },
        ]
    ),
    "a rule less": but(events=[TELLS]),
    "another attribute": but(attributes={"friend": "partner"}),
    "a personal attribute": but(personal=["partner"]),
    "an entity": but(entity="entity"),
}

FIRST = {
    "a condition more",
    "another amount column",
    "another document number",
}
"""Those that every run of the suite tries; the others take longer."""


def orders(random: Random, n: int) -> list[dict[str, Any]]:
    """Records of few documents that share what they can; some say nothing that can be taken."""
    made = []
    for number in range(n):
        when = START + timedelta(minutes=random.randrange(60 * 24 * 40))
        made.append(
            {
                "id": f"r{number}",
                "order": f"O-{random.randrange(n // 3)}",
                "invoice": random.choice(["", f"I-{random.randrange(n // 3)}"]),
                "case": f"O-{random.randrange(n // 4)}" if random.random() < 0.9 else "",
                "run": random.choice(["", "RUN-1", "RUN-2"]),
                "what": random.choice(["made", "made", "paid", "void", "sent"]),
                "mark": random.choice(["", "", "x"]),
                "at": when.isoformat(),
                "booked": (when + timedelta(days=random.randrange(40))).strftime("%Y-%m-%dT%H:%M"),
                "net": f"{random.randrange(1000)}.00",
                "gross": f"{random.randrange(1000)}.50",
                "currency": random.choice(["EUR", "USD", "JPY"]),
                "partner": f"P{random.randrange(5)}",
                "entity": random.choice(["", "DE10"]),
            }
        )
    # the same key with other content: both are kept, one counts
    return made + [{**r, "net": "7.00", "order": r["order"]} for r in random.sample(made, n // 10)]


def payments(random: Random, n: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"P-{number}",
            "invoice": f"I-{random.randrange(n)}",
            "order": f"O-{random.randrange(n)}",
            "at": (START + timedelta(days=random.randrange(40))).isoformat(),
        }
        for number in range(n)
    ]


class Shop:
    """A store of orders and payments, and the configuration by which it is filled."""

    def __init__(self, folder: Path, database: Database, *, limit: int = 4) -> None:
        self.folder = folder
        self.store = DatabaseStore(database)
        self.limit = limit
        folder.mkdir(exist_ok=True)

    def configure(
        self, mapping: dict[str, Any], *, keep_raw: bool = True, form: str = "jsonl"
    ) -> None:
        read = {"path": f"orders*.{form}", "format": form}
        files = {"connector": "files", "system": "shop"}
        paid = {"path": "payments.jsonl", "format": "jsonl"}
        configuration = {
            "tieout": 1,
            "limits": {"max_documents": self.limit},
            "kinds": {name: {} for name in ("order", "sale", "invoice", "case", "run", "payment")},
            "sources": {
                "shop": {
                    **files,
                    "streams": {
                        "orders": {"read": read, "keep_raw": keep_raw, "mapping": mapping},
                        "payments": {"read": paid, "mapping": PAYMENTS},
                    },
                }
            },
            "flows": [{**FLOW, "anchor": mapping["document"]["type"]}],
        }
        (self.folder / "tieout.yaml").write_text(yaml.safe_dump(configuration))

    def write(self, name: str, records: list[dict[str, Any]]) -> None:
        (self.folder / name).write_text("".join(json.dumps(r) + "\n" for r in records))

    @property
    def application(self) -> Application:
        return Application(read_configuration(self.folder / "tieout.yaml"), self.store, at(NOW))

    async def read(self) -> None:
        app = self.application
        async with self.store.connect() as conn:
            await publish(conn, app.configuration, app.clock)
            with app.collector(conn) as collector:
                for source in app.sources():
                    await collector.sync(source)

    @asynccontextmanager
    async def remapping(self) -> AsyncIterator[Remapping]:
        app = self.application
        source = next(s for s in app.sources() if s.stream == "orders")
        async with self.store.connect() as conn:
            yield Remapping(conn, source, app.limit, app.clock, "tester")

    async def apply(self) -> Report:
        async with self.remapping() as remapping:
            return await remapping.apply()

    async def diff(self) -> Report:
        async with self.remapping() as remapping:
            return await remapping.diff()

    async def replay(self) -> None:
        app = self.application
        async with self.store.connect() as conn:
            await Replay(conn, app.limit, app.clock, "tester").run(app.sources(), Asked())

    async def known(self) -> datetime:
        async with self.store.connect() as conn:
            return await last_recorded(conn, NOW)

    async def as_known(self, known: datetime) -> list[Any]:
        """What could be said at a time of what had happened: events, transactions, the steps of cases, and names."""
        async with self.store.connect() as conn:
            lines = [line async for line in dump(conn, ["orders"], NOW, known)]
            return [lines, *[await conn.fetch(query, known) for query in NAMES]]

    async def content(self) -> list[dict[str, Any]]:
        """What the store holds, without the span of months that documents ever had."""
        known = await self.known()
        async with self.store.connect() as conn:
            lines = [json.loads(line) async for line in dump(conn, [], None, known)]
        return [
            {k: v for k, v in line.items() if k not in {"first_month", "last_month"}}
            for line in lines
        ]

    async def rebuilt(self) -> list[dict[str, Any]]:
        app = self.application
        async with self.store.connect() as conn:
            await rebuild(conn, app.limit, app.clock)
        return await self.content()

    async def totals(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        async with self.store.connect() as conn:
            known = await totals(conn, await last_recorded(conn, NOW))
        return {
            stream: (t.accepted, t.ignored, t.quarantined, t.events, t.hash_total, amounts(t))
            for stream, t in known.items()
        }


def amounts(held: Totals) -> dict[str, int]:
    return {currency: minor for currency, minor in held.amounts.items() if minor}


def fill(shop: Shop, mapping: dict[str, Any], seed: int = 0, n: int = 60) -> None:
    random = Random(seed)  # noqa: S311 -- a test's own data
    shop.configure(mapping)
    records = orders(random, n)
    half = len(records) // 2
    shop.write("orders-1.jsonl", records[:half])
    shop.write("orders-2.jsonl", records[half:])
    shop.write("payments.jsonl", payments(random, n // 3))


async def as_from_the_beginning(shop: Shop, database: Database) -> Shop:
    """Fill an empty store by the configuration as it is now."""
    fresh = Shop(shop.folder, await emptied(database), limit=shop.limit)
    await fresh.read()
    return fresh
