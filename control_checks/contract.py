"""What a check is: a population, a rule over it in SQL, and a sentence about each exception.

A check says of every item of its population what it found; what may be concluded from that is the
engine's (`control_checks.runner`): absence counts only where the stream that should show the missing
thing is complete, and the verdict follows from the classes and the gaps.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from collector.model.money import from_minor
from collector.model.words import counted
from collector.settings.mapping import Definition


class Item(msgspec.Struct, frozen=True):
    """One item of a population, as a check's `query.sql` returns it.

    `finding` is `ok`, `pending`, `breach`, `excluded` or `unevaluable`, `reason` says why. A breach is
    proven by `presence`, or rests on the `absence` of what the steps in `missing` should show: from
    `since_at` (None: nobody knows since when) to `due_at` their streams must be complete. `details` is
    for the sentence.
    """

    subject: str
    number: str
    entity: str | None
    amount_minor: int | None
    currency: str | None
    finding: str
    reason: str
    proof: str
    missing: list[str]
    basis_at: datetime | None
    since_at: datetime | None
    due_at: datetime | None
    expected: str
    actual: str
    difference_minor: int | None
    details: Mapping[str, Any]


class Telling(NamedTuple):
    """What a sentence needs besides the item: the status time, the entity's clock, the document's noun.

    `complete` says whether the streams that the check needs are known to be complete to the status time.
    """

    as_of: datetime
    zone: ZoneInfo
    noun: str
    complete: bool = True

    def subject(self, item: Item) -> str:
        """Name the item: `Report 57EE1F (DE10, EUR 1,250.00)`; by its own `kind`, if details say it."""
        kind = item.details.get("kind")
        noun = self.noun if kind is None else str(kind).replace("_", " ").capitalize()
        about = [item.entity] if item.entity else []
        if item.amount_minor is not None and item.currency is not None:
            about.append(from_minor(item.amount_minor, item.currency))
        named = item.number.casefold().startswith(noun.casefold())
        number = item.number if named else f"{noun} {item.number}"
        return number[:1].upper() + number[1:] + (f" ({', '.join(about)})" if about else "")

    def day(self, instant: datetime | str | None) -> str:
        """Write a day by the entity's clock: `Fri 30 Jan 2026`."""
        return self._format(instant, "%a %-d %b %Y")

    def minute(self, instant: datetime | str | None) -> str:
        """Write a minute by the entity's clock: `Fri 30 Jan 2026 17:02`."""
        return self._format(instant, "%a %-d %b %Y %H:%M")

    def _format(self, instant: datetime | str | None, form: str) -> str:
        if instant is None:
            return "an unknown time"
        if isinstance(instant, str):
            instant = datetime.fromisoformat(instant)
        return instant.astimezone(self.zone).strftime(form)

    def days_since(self, instant: datetime | None) -> str:
        """Count the whole days from an instant to the status time: `1 day`."""
        return counted((self.as_of - instant).days if instant is not None else 0, "day")


class Check(NamedTuple):
    """A check, as the registry holds it. Its `title` is an expectation.

    The texts are its specification: `docs/controls/` and the README are made of them and of its
    `cases.yaml`, which must show every reason, every exclusion and every trap (a situation in which a
    careless check would raise a false alarm). `presence` names the reasons that are proven by what is
    there; the others rest on something absent. `due` is empty where nothing is ever pending.

    The streams of the steps that its parameters need must be complete for a PASS; where they need none,
    those of the whole flow. `not_tested` names sub-tests that the configuration leaves out. With
    `waits_for_streams` an item is pending, not unevaluable, while a stream has just not come far enough.

    `query` returns the items of the population. Where most of them are in order, that is slow: `plain`, if
    there is one, says of each transaction (`component`) whether it is `settled`, so plainly in order that
    the query need not look at it: then it has so many `items`, all OK, each of `amount_minor` and `currency`.
    """

    name: str
    title: str
    objective: str
    assertion: str
    catalogue: str
    population: str
    rule: str
    due: str
    pending: str
    reasons: Mapping[str, str]
    excluded: Mapping[str, str]
    unevaluable: Mapping[str, str]
    traps: tuple[str, ...]
    evidence: str
    parameters: type[Definition]
    query: str
    sentence: Callable[[Item, Telling], str]
    source: str
    plain: str = ""
    presence: frozenset[str] = frozenset()
    not_tested: Callable[[Any], list[str]] = lambda _parameters: []
    waits_for_streams: bool = False


def texts(check_file: str) -> tuple[str, str, str]:
    """Return a check's own source text, its `query.sql` and its `plain.sql` (empty if it has none)."""
    path = Path(check_file)
    plain = path.with_name("plain.sql")
    return (
        path.read_text(encoding="utf-8"),
        path.with_name("query.sql").read_text(encoding="utf-8"),
        plain.read_text(encoding="utf-8") if plain.exists() else "",
    )
