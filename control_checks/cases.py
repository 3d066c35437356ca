"""The cases of a check: small worlds and what the control must say of them, written by hand.

A check's `cases.yaml` is laid over `setting.yaml`, which describes the company, its systems' streams
and its flow. Each case lists facts, a line each, in columns that two blanks part:

    2026-01-30 17:02   expense_report 57EE1F   final_approved   EUR 1,250.00   cost=travel

- when it occurred, by the clock of Berlin, as all times here;
- the document that it is about: kind and number;
- what happened: the verb of an event type `kind.verb`, or the whole type where it has a dot;
- an amount, if the fact carries one;
- anything else as `name=value`. `for=57EE1F` names the expense report that it belongs to (or, with a
  kind, another document), `group=payment P-7` a document that it shares, `search=project 7` a name that only
  finds it; `known=...` says when it was recorded, at the earliest chance otherwise; `entity`, `message`,
  `actor` and other fields of an event go by their names, `dim.cost_center` is a dimension, `valid.from` and
  `valid.to` are the validity of a row; what is left over is an attribute.

Facts with the verb `listed` are rows of a list, whole as of the instant unless one says `cut=yes`; `row` tells
rows of one document apart.

`at` is the status time. Streams are declared complete from 2025 to `at`; `declared` says otherwise:
`{erp: 2025-01-01 00:00 to 2026-02-02 17:00}`, or `{erp: nobody}`. `unread` declares that many records
more than were read. A key that more than `most` documents hold joins nothing, and a transaction of
more than `transaction_most` is none. `expect` gives the class of every item in the population by its
number, and `says` the sentence of each exception. Verdict and completeness are written where they are
not those that follow from the classes.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import yaml

from collector.model.event import Event
from collector.model.money import to_minor
from collector.model.reference import CONTEXT, GROUP, IDENTITY, Name, digest
from collector.settings.definitions import Settings
from collector.settings.load import Configuration
from collector.settings.mapping import TEXT_FIELDS, AccountingRule
from control_checks.contract import Check

HERE = Path(__file__).parent
CLOCK = ZoneInfo("Europe/Berlin")
EVER = "2025-01-01 00:00"
STREAM = "all"
CONTROL = "control"

_COLUMNS = re.compile(r"\s{2,}")
_AMOUNT = re.compile(r"([A-Z]{3}) (-?[\d,.]+)")
_OUTCOME = re.compile(r"(OK|PENDING|EXCEPTION|EXCLUDED|UNEVALUABLE)(?:\((.+)\))?")
_ACCOUNTING = frozenset(AccountingRule.model_fields) - {"format"}


class Outcome(NamedTuple):
    """What a control must say of an item: its class and the reason, if it has one."""

    state: str
    reason: str


class Case(msgspec.Struct, forbid_unknown_fields=True):
    """One case, as written; see the module's own description."""

    case: str
    at: str
    facts: str
    expect: dict[str, str]
    why: str = ""
    trap: str = ""
    known: str | None = None
    parameters: dict[str, Any] = {}
    flow: dict[str, Any] = {}
    declared: dict[str, str] = {}
    unread: dict[str, int] = {}
    most: int = 20
    transaction_most: int = 1_000
    says: str | list[str] = []
    difference: str | None = None
    verdict: str | None = None
    complete: bool = True

    @property
    def as_of(self) -> datetime:
        """The status time."""
        return instant(self.at)

    @property
    def as_known(self) -> datetime | None:
        """The knowledge time; None: whatever is known."""
        return None if self.known is None else instant(self.known)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """What is expected of each item, by number."""
        return {number: _outcome(text) for number, text in self.expect.items()}

    @property
    def sentences(self) -> list[str]:
        """What is expected to be said, exception by exception; empty where nothing is written."""
        return [self.says] if isinstance(self.says, str) else self.says

    @property
    def concluded(self) -> str:
        """The verdict: as written, or as it follows from the classes."""
        states = {outcome.state for outcome in self.outcomes.values()}
        if self.verdict is not None:
            return self.verdict
        if "EXCEPTION" in states:
            return "FAIL"
        return "INCOMPLETE" if "UNEVALUABLE" in states or not self.complete else "PASS"


class Cases(msgspec.Struct, forbid_unknown_fields=True):
    """The cases of a check, and what they have in common."""

    cases: list[Case]
    parameters: dict[str, Any] = {}
    streams: dict[str, list[str]] = {}
    flow: dict[str, Any] = {}


class Fact(NamedTuple):
    """One fact: which stream shows it, when it was recorded, and the event; whether it is a row of a whole list."""

    stream: str
    known_at: datetime
    event: Event
    of_whole_list: bool


@cache
def cases(check: str) -> Cases:
    """Read the cases of a check."""
    return msgspec.convert(_read(HERE / "checks" / check / "cases.yaml"), Cases, strict=False)


@cache
def _setting() -> dict[str, Any]:
    return _read(HERE / "setting.yaml")


def _read(path: Path) -> dict[str, Any]:
    """Read a file in which everything is text: neither a number nor a time is guessed."""
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506 -- it makes nothing but texts
    return found


def instant(text: str) -> datetime:
    """Read a time by the clock of Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=CLOCK).astimezone(UTC)


def _outcome(text: str) -> Outcome:
    found = _OUTCOME.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is no outcome; write for example EXCLUDED(ZERO_PAYABLE)")
    return Outcome(found[1], found[2] or "")


def configuration(check: Check, case: Case) -> Configuration:
    """Make the configuration in which a case plays."""
    common, setting = cases(check.name), _setting()
    streams = setting["streams"] | common.streams
    flow = setting["flow"] | common.flow | case.flow
    listed = facts(check, case)
    settings = {
        "tieout": 1,
        "entities": setting["entities"],
        "calendars": setting["calendars"],
        "limits": {"earliest": "2025-01-01", "max_documents": case.most},
        "sources": {
            name: _source(name, types, case, sum(fact.stream == name for fact in listed))
            for name, types in streams.items()
        },
        "flows": [flow, *(f for f in [setting["flow"]] if f["flow"] != flow["flow"])],
        "controls": {
            CONTROL: {
                "check": check.name,
                "flows": [flow["flow"]],
                "parameters": common.parameters | case.parameters,
            }
        },
    }
    return Configuration(Settings.model_validate(settings), HERE / "setting.yaml", {})


def _source(name: str, types: list[str], case: Case, records: int) -> dict[str, Any]:
    stream: dict[str, Any] = {
        "mapping": {
            "key": "id",
            "events": [{"rule": f"rule_{n}", "type": t} for n, t in enumerate(types)],
        }
    }
    declared = case.declared.get(name, f"{EVER} to {case.at}")
    if declared != "nobody":
        stream["complete"] = {
            "covers": [instant(end).isoformat() for end in declared.split(" to ")],
            "records": records + case.unread.get(name, 0),
            "by": "the case",
        }
    return {"connector": "files", "system": name, "streams": {STREAM: stream}}


def facts(check: Check, case: Case) -> list[Fact]:
    """Turn a case's facts into events."""
    streams = _setting()["streams"] | cases(check.name).streams
    stream_of = {event_type: name for name, types in streams.items() for event_type in types}
    lines = [line.strip() for line in case.facts.splitlines() if line.strip()]
    return [_fact(n, _COLUMNS.split(line), stream_of) for n, line in enumerate(lines)]


def _fact(n: int, columns: list[str], stream_of: dict[str, str]) -> Fact:
    at, document, verb, *rest = columns
    kind, _, number = document.partition(" ")
    event_type = verb if "." in verb else f"{kind}.{verb}"
    money = _AMOUNT.fullmatch(rest[0]) if rest else None
    fields = dict(_pairs(rest[1:] if money else rest))
    known, cut = fields.pop("known", None), fields.pop("cut", None)
    occurred_at = instant(at)
    row = {"list": stream_of[event_type], "row": fields.pop("row", number)}
    listed = row if verb == "listed" else None
    references = tuple(_references(fields))
    entity = fields.pop("entity", "DE10")
    key = digest("case", str(n), *columns)
    event = Event(
        event_id=key,
        revision=key,
        month=occurred_at.date().replace(day=1),
        position=n,
        occurred_at=occurred_at,
        type=event_type,
        document=Name(kind, "", number),
        references=references,
        sequence=n,
        amount_minor=to_minor(money[2].replace(",", ""), money[1]) if money else None,
        currency=money[1] if money else None,
        entity=entity,
        body=_body(fields, references, listed),
        personal=None,
    )
    known_at = occurred_at if known is None else instant(known)
    return Fact(stream_of[event_type], known_at, event, listed is not None and cut is None)


def _pairs(columns: list[str]) -> Iterator[tuple[str, str]]:
    for column in columns:
        name, equals, value = column.partition("=")
        if not equals:
            raise ValueError(f"'{column}' is neither an amount nor name=value")
        yield name, value


def _references(fields: dict[str, str]) -> Iterator[tuple[int, Name]]:
    for name, role in (("for", IDENTITY), ("group", GROUP), ("search", CONTEXT)):
        for value in fields.pop(name, "").split(", "):
            if value:
                kind, blank, number = value.partition(" ")
                yield role, Name(kind, "", number) if blank else Name("expense_report", "", value)


def _body(
    fields: dict[str, str],
    references: tuple[tuple[int, Name], ...],
    listed: dict[str, str] | None,
) -> bytes:
    body: dict[str, Any] = {} if listed is None else {"listed": listed}
    for name, value in fields.items():
        if name in TEXT_FIELDS:
            body[name] = value
        elif name in _ACCOUNTING:
            body.setdefault("accounting", {})[name] = value
        elif name.startswith("dim."):
            body.setdefault("dimensions", {})[name[4:]] = value
        elif name.startswith("valid."):
            text = value if value == "infinity" else instant(value).isoformat()
            body.setdefault("valid", {})[name[6:]] = text
        else:
            body.setdefault("attributes", {})[name] = value
    if references:
        body["references"] = references
    return msgspec.json.encode(body)
