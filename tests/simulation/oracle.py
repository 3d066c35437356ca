"""What must be in the store after a campaign: plain sets over the truth, and nothing of the product's own."""

from collections import Counter, defaultdict
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from tests.simulation.world import NAMESPACE, Fact, Log

HOLDERS_MAX = 3
COMPONENT_MAX = 6

Transactions = set[frozenset[str]]
Steps = dict[tuple[str, str], tuple[datetime, datetime, int, int, str]]


class Expected(NamedTuple):
    """All that the store must hold. A step is (first, last, how many, amount, currency).

    `raw` are the bytes that must be kept, `raw_most` those that may be: of a record that two streams
    tell, the first one's, and only one of the two keeps them.
    """

    events: Counter[tuple[str, str, datetime, int, str]]
    transactions: Transactions
    steps: Steps
    references: set[tuple[str, int, str, str]]
    quarantined: Counter[tuple[str, str, bytes]]
    raw: set[bytes]
    raw_most: set[bytes]
    amounts: dict[str, int]
    hash_total: int
    read: dict[str, int]


def expected(logs: list[Log]) -> Expected:
    """Say what the store must hold when all has been read."""
    told = {(log.stream, item.fact) for log in logs for item in log.items}
    facts = {fact for _, fact in told if fact.fate == "taken"}
    kept = {fact for stream, fact in told if fact in facts and stream == "a"}
    elsewhere = {fact for stream, fact in told if stream != "a"}
    amounts: Counter[str] = Counter()
    for fact in facts:
        amounts[fact.currency] += fact.minor
    return Expected(
        Counter((_name(f), f"doc.{f.verb}", f.at, f.minor, f.currency) for f in facts),
        _transactions(facts),
        _steps(facts),
        _references(facts),
        _quarantined(logs),
        {fact.raw() for fact in kept - elsewhere},
        {fact.raw() for fact in kept},
        {currency: minor for currency, minor in amounts.items() if minor},
        sum(int.from_bytes(_event_id(fact)) for fact in facts) % 2**128,
        {log.name: len(log.items) for log in logs},
    )


def _name(fact: Fact) -> str:
    return f"D{fact.document}"


def _event_id(fact: Fact) -> bytes:
    """Hash what names an event, laid out as docs/architecture.md says: lengths before the fields."""
    fields = [field.encode() for field in ("event", NAMESPACE, fact.key, "step")]
    laid_out = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return blake2b(laid_out, digest_size=16).digest()


def _revision(fact: Fact) -> bytes:
    """Hash a record's content: its JSON with sorted keys."""
    body = msgspec.json.encode(msgspec.json.decode(fact.raw()), order="sorted")
    return blake2b(body, digest_size=16).digest()


def _transactions(facts: set[Fact]) -> Transactions:
    """Join documents by shared values; leave out values with too many holders, suspend giants."""
    holders: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        for value in filter(None, fact.values):
            holders[value].add(_name(fact))
    parts = [{d} for d in {_name(fact) for fact in facts}]
    for held_by in holders.values():
        if len(held_by) <= HOLDERS_MAX:
            touched = [p for p in parts if p & held_by]
            parts = [p for p in parts if not p & held_by] + [set().union(*touched)]
    return {
        frozenset(piece)
        for p in parts
        for piece in ([p] if len(p) <= COMPONENT_MAX else [{d} for d in p])
    }


def _steps(facts: set[Fact]) -> Steps:
    """Of several records of one key the one that happened last counts, then the greater hash."""
    counting: dict[str, Fact] = {}
    for fact in sorted(facts, key=lambda f: (f.at, f.sequence, _revision(f))):
        counting[fact.key] = fact
    steps: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in counting.values():
        steps[_name(fact), f"doc.{fact.verb}"].append(fact)
    out: Steps = {}
    for step, members in steps.items():
        last = max(members, key=lambda f: (f.at, f.sequence, _event_id(f)))
        first = min(f.at for f in members)
        out[step] = first, last.at, len(members), last.minor, last.currency
    return out


def _references(facts: set[Fact]) -> set[tuple[str, int, str, str]]:
    own = {(_name(f), 0, "doc", _name(f)) for f in facts}
    identities = {(_name(f), 1, "value", v) for f in facts for v in f.values if v}
    return own | identities | {(_name(f), 2, "run", f.run) for f in facts}


def _quarantined(logs: list[Log]) -> Counter[tuple[str, str, bytes]]:
    """Count (stream, reason, bytes): once per place in a stream, or once where it gives records again."""
    again = {log.stream for log in logs if log.overlap}
    places = {
        (log.stream, item.fact, 0 if log.stream in again else position)
        for log in logs
        for position, item in enumerate(log.items)
        if item.fact.fate not in {"taken", "ignored"}
    }
    return Counter((stream, fact.fate, fact.raw()) for stream, fact, _ in places)
