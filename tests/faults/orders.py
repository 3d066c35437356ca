"""A shop that goes on writing orders into a file, and what must be in the store of all that it wrote."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below

import asyncpg

START = datetime(2026, 1, 5, tzinfo=UTC)
VERBS = ("ordered", "invoiced", "paid", "cancelled")
SPOILT_SHARE = AGAIN_SHARE = 0.001
"""Of the lines: nonsense, and a line told again."""

CONFIGURATION = """
tieout: 1
entities:
  HQ: {name: Head office, calendar: office}
calendars:
  office: {timezone: Europe/Berlin}
sources:
  shop:
    connector: files
    system: shop
    streams:
      orders:
        read: {path: "orders*.jsonl", format: jsonl, follow: true}
        complete: {covers: ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"], by: the shop}
        mapping:
          key: id
          document: {type: sales_order, number: order}
          occurred_at: {value: at, timezone: in value}
          amount: {value: amount, currency: currency}
          entity: =HQ
          events:
            - rule: order
              type:
                value: what
                unknown: quarantine
                values:
                  ordered: sales_order.ordered
                  invoiced: sales_order.invoiced
                  paid: sales_order.paid
                  cancelled: sales_order.cancelled
flows:
  - flow: orders
    title: Order to cash
    anchor: sales_order
    steps:
      - {name: ordered, system: shop, done_by: [sales_order.ordered]}
controls: {}
"""

Step = tuple[datetime, datetime, int, int]
"""First and last time, how many, the last amount."""


class Shop:
    """Writes lines and remembers, in a dictionary, what they come to."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(exist_ok=True)
        self.config = folder / "tieout.yaml"
        self.file = folder / "orders.jsonl"
        self.steps: dict[tuple[str, str], Step] = {}
        self.spoilt = self.repeated = self.accepted = self.minor = 0
        self._random = Random(seed)  # noqa: S311 -- no secret
        self.config.write_text(CONFIGURATION, encoding="utf-8")
        self.file.touch()

    @property
    def lines(self) -> int:
        """How many lines there are in all."""
        return self.accepted + self.repeated + self.spoilt

    def sell(self, lines: int) -> None:
        """Write so many lines at once."""
        with self.file.open("a", encoding="utf-8") as file:
            file.writelines(self._more(lines))

    def _more(self, lines: int) -> Iterator[str]:
        said = ""
        for _ in range(lines):
            if said and self._random.random() < AGAIN_SHARE:
                self.repeated += 1
                yield said
            elif self._random.random() < SPOILT_SHARE:
                yield self._line("unheard of")
                self.spoilt += 1
            else:
                yield (said := self._sale())

    def _sale(self) -> str:
        what, minor = self._random.choice(VERBS), self._random.randrange(1, 100_000)
        order, at = f"SO-{self._random.randrange(1 + self.lines // 4)}", self._at()
        first, _, times, _ = self.steps.get((order, f"sales_order.{what}"), (at, at, 0, 0))
        self.steps[order, f"sales_order.{what}"] = first, at, times + 1, minor
        line = self._line(what, order, minor)
        self.accepted += 1
        self.minor += minor
        return line

    def _at(self) -> datetime:
        return START + timedelta(seconds=self.lines)

    def _line(self, what: str, order: str = "SO-0", minor: int = 0) -> str:
        record = {
            "id": f"e{self.lines}",
            "at": self._at().isoformat(),
            "what": what,
            "order": order,
            "amount": f"{minor // 100}.{minor % 100:02}",
            "currency": "EUR",
        }
        return json.dumps(record) + "\n"

    async def check(self, conn: asyncpg.Connection) -> None:
        """Compare the store with what was written: steps, events, quarantine, totals, cursors."""
        rows = await conn.fetch(
            "SELECT r.value, s.type, s.first_at, s.last_at, s.n, s.amount_minor"
            " FROM tieout.step s JOIN tieout.reference r ON r.document = s.document AND r.role = 0"
        )
        assert {(row[0], row[1]): tuple(row)[2:] for row in rows} == self.steps
        assert len(rows) == len(self.steps)
        found = await conn.fetchrow(
            "SELECT count(*), count(DISTINCT event_id), sum(amount_minor)::bigint FROM tieout.event"
        )
        assert tuple(found) == (self.accepted, self.accepted, self.minor)
        assert await conn.fetchval("SELECT count(*) FROM tieout.quarantine") == self.spoilt
        batches = await conn.fetch("SELECT * FROM tieout.batch ORDER BY seq")
        assert [b["cursor_from"] for b in batches] == [
            None,
            *(b["cursor_to"] for b in batches[:-1]),
        ]
        totals = [
            sum(b[what] for b in batches) for what in ("accepted", "duplicate", "quarantined")
        ]
        assert totals == [self.accepted, self.repeated, self.spoilt]
        assert sum(json.loads(b["amounts"]).get("EUR", 0) for b in batches) == self.minor
