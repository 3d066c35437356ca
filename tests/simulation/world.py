"""What one seed makes happen: records, which of them are wrong and how, and how the sources give them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random  # noqa: TID251 -- seeded by whoever makes a world
from typing import Any, NamedTuple

import msgspec

from collector.connector import Chunk, Cursor, End, Ending, Fault, Part, Record, Redelivers
from collector.errors import Transient
from collector.pipeline.ahead import Source
from collector.pipeline.mapping import CompiledMapping
from collector.settings.mapping import Mapping as Definition

START = datetime(2026, 1, 27, tzinfo=UTC)
HOURS = 24 * 10  # over the end of a month
NOW = START + timedelta(days=100)
VERBS = ("made", "sent", "paid")
ROUNDS = 2
VANISHED = "The file has vanished while it was read."
NAMESPACE = "sim"

MAPPING = Definition.model_validate(
    {
        "key": "id",
        "document": {"type": "doc", "number": "doc"},
        "occurred_at": {"value": "at", "timezone": "in value"},
        "amount": {"value": "amount", "currency": "currency"},
        "sequence": "n",
        "references": [
            {"kind": "value", "role": "identity", "value": "v1"},
            {"kind": "value", "role": "identity", "value": "v2"},
            {"kind": "run", "role": "group", "value": "run"},
        ],
        "events": [
            {
                "rule": "step",
                "type": {
                    "value": "what",
                    "unknown": "quarantine",
                    "values": {"note": "ignore"} | {verb: f"doc.{verb}" for verb in VERBS},
                },
            }
        ],
    }
)


class Fact(NamedTuple):
    """One record's truth. `fate` says what must become of it: taken, ignored, or why it is kept out."""

    key: str
    document: int
    values: tuple[str, str]
    run: str
    verb: str
    hour: int
    sequence: int
    minor: int
    currency: str
    fate: str = "taken"

    @property
    def at(self) -> datetime:
        return START + timedelta(hours=self.hour)

    def raw(self) -> bytes:
        """The record's bytes, as its source writes them."""
        body = {
            "id": self.key,
            "doc": f"D{self.document}",
            "v1": self.values[0],
            "v2": self.values[1],
            "run": self.run,
            "what": self.verb,
            "at": self.at.isoformat(),
            "n": self.sequence,
            "amount": f"{'-' if self.minor < 0 else ''}{abs(self.minor) // 100}.{abs(self.minor) % 100:02}",
            "currency": self.currency,
        }
        raw = msgspec.json.encode(body)
        return raw[: len(raw) // 2] if self.fate == "INVALID_JSON" else raw

    def record(self, position: int) -> Record:
        raw = self.raw()
        if self.fate == "INVALID_JSON":
            fault = Fault("INVALID_JSON", "This is no JSON.")
            return Record(position, None, raw, fault, length=len(raw))
        body: dict[str, Any] = msgspec.json.decode(raw)
        return Record(position, body, raw)


class Item(NamedTuple):
    """A record at its place in a part, and the round from which on it is there."""

    fact: Fact
    appears: int


class Log(NamedTuple):
    """A part: `overlap` records before the cursor are given again; in `gone` rounds it is not listed."""

    stream: str
    name: str
    items: list[Item]
    overlap: int
    gone: frozenset[int]
    torn: frozenset[int]


class World(NamedTuple):
    """All that the sources give in one campaign, and what was injected."""

    logs: list[Log]
    injected: Counter[str]


def world(seed: str) -> World:
    """Make the world of a seed."""
    random = Random(f"world {seed}")  # noqa: S311 -- no secret
    injected: Counter[str] = Counter()
    facts = [_fact(random, n) for n in range(random.randint(5, 15))]
    facts = [_spoilt(random, fact, injected) for fact in facts]
    for fact in [f for f in facts if f.fate == "taken"]:
        if random.random() < 0.12:
            facts.append(_revised(random, fact))
            injected["same key, other content"] += 1
    names = [("a", "a1", 0), ("a", "a2", 0), ("b", "b1", random.randint(0, 3))]
    placed: dict[str, list[Fact]] = {name: [] for _, name, _ in names}
    for fact in facts:
        places = [random.choice(sorted(placed))]
        if random.random() < 0.2:
            places.append(random.choice(sorted(placed)))
            same = places[0] == places[1]
            injected["twice in one part" if same else "copied into another part"] += 1
        for place in places:
            placed[place].append(fact)
    logs = [_log(random, stream, name, placed[name], overlap) for stream, name, overlap in names]
    for log in logs:
        hours = [item.fact.hour for item in log.items]
        injected["reordered"] += sum(b < a for a, b in pairwise(hours))
        injected["late"] += sum(item.appears > 0 for item in log.items)
    return World(logs, injected)


def _fact(random: Random, n: int) -> Fact:
    values = [random.choice(("", "", *(f"V{v}" for v in range(6)))) for _ in range(2)]
    return Fact(
        f"k{n}",
        random.randint(0, 7),
        (values[0], values[1]),
        f"R{random.randint(0, 1)}",
        random.choice(VERBS),
        random.randrange(HOURS),
        random.randint(0, 2),
        random.randint(-50_000, 50_000),
        random.choice(("EUR", "EUR", "USD")),
    )


def _spoilt(random: Random, fact: Fact, injected: Counter[str]) -> Fact:
    """Corrupt some records, and set the clock of some sources wrong."""
    chance = random.random()
    if chance < 0.05:
        injected["unreadable"] += 1
        return fact._replace(fate="INVALID_JSON")
    if chance < 0.10:
        injected["unmappable"] += 1
        return fact._replace(fate="UNKNOWN_VALUE", verb="unheard of")
    if chance < 0.14:
        injected["clock ahead by a year"] += 1
        return fact._replace(fate="IN_THE_FUTURE", hour=fact.hour + 365 * 24)
    if chance < 0.18:
        injected["of no concern"] += 1
        return fact._replace(fate="ignored", verb="note")
    if chance < 0.30:
        injected["clock skewed by hours"] += 1
        return fact._replace(hour=max(0, fact.hour + random.randint(-12, 12)))
    return fact


def _revised(random: Random, fact: Fact) -> Fact:
    """Tell a record again with other content: another amount, perhaps in another month."""
    hour = random.choice((fact.hour, random.randrange(HOURS)))
    return fact._replace(hour=hour, minor=fact.minor + random.randint(1, 999))


def _log(random: Random, stream: str, name: str, facts: list[Fact], overlap: int) -> Log:
    facts = list(facts)
    random.shuffle(facts)
    appears = sorted(random.choice((0, 0, 1)) for _ in facts)
    gone = frozenset(r for r in range(ROUNDS) if random.random() < 0.12)
    torn = frozenset(n for n in range(8) if random.random() < 0.15)
    return Log(stream, name, list(map(Item, facts, appears)), overlap, gone, torn)


class LogReader:
    """Reads the parts of a stream as far as they have grown. One instance serves all collectors."""

    def __init__(self, seed: str, logs: list[Log]) -> None:
        self._seed = seed
        self._logs = {log.name: log for log in logs}
        self._passes: Counter[str] = Counter()
        self.round = 0

    def parts(self, known: Mapping[str, Cursor]) -> list[Part]:
        return [Part(log.name, log.name) for log in self._logs.values() if not self._gone(log)]

    def _gone(self, log: Log) -> bool:
        return self.round in log.gone

    def read(self, part: Part, cursor: Cursor | None) -> Iterator[Chunk]:
        log = self._logs[part.id]
        turn = self._passes[log.name]
        self._passes[log.name] += 1
        random = Random(f"pass {self._seed} {log.name} {turn}")  # noqa: S311 -- no secret
        end = sum(item.appears <= self.round for item in log.items)
        at = int(cursor["at"]) if cursor is not None else 0
        at = max(0, at - log.overlap)
        torn = turn in log.torn and self.round < ROUNDS
        while at < end:
            size = random.randint(1, 9)
            chosen = range(at, min(end, at + size))
            at = chosen.stop
            yield Chunk([log.items[i].fact.record(i + 1) for i in chosen], {"at": at})
            if torn and random.random() < 0.5:
                raise Transient(VANISHED)
        yield Chunk([], {"at": end}, End(Ending.OPEN))


def sources(seed: str, logs: list[Log]) -> tuple[list[Source], list[LogReader]]:
    """Open the streams of a world. Both have one namespace: what both tell is one event."""
    mapping = CompiledMapping(MAPPING, NAMESPACE, date(2000, 1, 1))
    opened, readers = [], []
    for stream in sorted({log.stream for log in logs}):
        own = [log for log in logs if log.stream == stream]
        reader = LogReader(seed, own)
        redelivers = Redelivers.OVERLAP if any(log.overlap for log in own) else Redelivers.NEVER
        opened.append(Source("sim", stream, NAMESPACE, reader, mapping, redelivers, stream == "a"))
        readers.append(reader)
    return opened, readers
