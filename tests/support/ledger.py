"""Two sides of a link rule in one store, told item by item: bank lines and payments."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import msgspec

from collector.clock import now
from collector.model.event import Event
from collector.model.reference import IDENTITY, Name, content_id, digest
from collector.pipeline.commit import batch_of, commit
from collector.pipeline.link import Links
from collector.pipeline.match import Matched, Matcher
from collector.pipeline.suggestions import Suggested, suggestions
from collector.settings.definitions import Settings
from collector.settings.load import Configuration
from collector.store import evidence, ingest, links, streams

START = datetime(2026, 1, 5, tzinfo=UTC)
LONG_AFTER = 1_000
DAYS = 3
worlds = itertools.count()


class Item(NamedTuple):
    """A bank line (left) or a payment (right): when, how much, of whom, and a value that joins, if any."""

    side: str
    number: str
    day: int
    name: str
    amount: int = 1000
    value: str = ""
    currency: str = "EUR"
    text: str = ""


def limit(_kind: str) -> int:
    return 20


class Ledgers:
    """A world of its own within a store: its event types, its rule, and how far each side is known.

    A payment is made up to DAYS before its bank line.
    """

    def __init__(self, conn: asyncpg.Connection, **rule: Any) -> None:  # noqa: ANN401 -- as in YAML
        self.conn = conn
        self.name = f"w{next(worlds)}"
        self.links = Links(conn, limit, now, "a person")
        self.rule = {
            "left": {"events": [f"left_{self.name}.booked"]},
            "right": {"events": [f"right_{self.name}.booked"]},
            "within": {"days_before": DAYS},
            "similar": [{"left": "counterparty", "right": "counterparty", "as": "name"}],
            **rule,
        }

    def id(self, item: Item) -> bytes:
        return content_id(self._document(item))

    def _document(self, item: Item) -> Name:
        return Name(f"{item.side}_{self.name}", "", item.number)

    def event(self, item: Item) -> Event:
        at = START + timedelta(days=item.day)
        document = self._document(item)
        references = ((IDENTITY, Name(f"value_{self.name}", "", item.value)),) if item.value else ()
        body = {"document": document, "references": references, "message": item.text}
        return Event(
            digest("ledgers", self.name, item.side, item.number),
            digest("content", repr(item)),
            at.date().replace(day=1),
            1,
            at,
            f"{item.side}_{self.name}.booked",
            document,
            references,
            None,
            item.amount,
            item.currency,
            "HQ",
            msgspec.json.encode(body),
            {"counterparty": item.name},
        )

    async def tell(self, *items: Item) -> None:
        """Have sources tell items, in one batch."""
        stream = await streams.register(self.conn, "test", "test", "test")
        row = ingest.BatchRow(0, stream, None, "test", "m", None, None, read=len(items))
        await commit(self.conn, batch_of(row, [self.event(i) for i in items]), limit, now)

    def configuration(self, known: Mapping[str, int]) -> Configuration:
        """Return the settings; each side is declared complete up to a day."""
        sources = {
            side: {
                "connector": "files",
                "system": "test",
                "streams": {"s": self._stream(side, until)},
            }
            for side, until in known.items()
        }
        settings = {"tieout": 1, "sources": sources, "links": {self.name: self.rule}}
        return Configuration(Settings.model_validate(settings), Path(), {})

    def _stream(self, side: str, until: int) -> dict[str, Any]:
        covers = [(START + timedelta(days=day)).isoformat() for day in (-LONG_AFTER, until)]
        mapping = {
            "key": "id",
            "document": {"type": f"{side}_{self.name}", "number": "id"},
            "occurred_at": {"value": "at", "timezone": "in value"},
            "events": [{"rule": "booked", "type": f"{side}_{self.name}.booked"}],
        }
        return {"mapping": mapping, "complete": {"covers": covers, "by": "a person"}}

    async def match(
        self, left: int = LONG_AFTER, right: int = LONG_AFTER, *, dry_run: bool = False
    ) -> Matched:
        """Match, with both sides complete up to a day."""
        configuration = self.configuration({"left": left, "right": right})
        (done,) = await Matcher(self.conn, configuration, limit, now).match(dry_run=dry_run)
        return done

    async def linked(self, items: Sequence[Item]) -> set[tuple[str, str]]:
        """Name the pairs that are linked, by whomever."""
        number = {self.id(i): i.number for i in items}
        found = await links.added(self.conn)
        return {(number[a], number[b]) for a, b in found if a in number and b in number}

    async def suggested(self) -> dict[str, Suggested]:
        """Return suggestions by the number of their document."""
        return {s.document.number: s for s in await suggestions(self.conn, self.name, "", 500)}

    async def proof(self, left: Item, right: Item) -> evidence.Evidence:
        """Return what stands behind the link of two items."""
        pair = {self.id(left), self.id(right)}
        (number,) = [
            d.id for d in await links.decisions(self.conn) if {d.document, d.other} == pair
        ]
        return (await evidence.of_decisions(self.conn, [number]))[number]
