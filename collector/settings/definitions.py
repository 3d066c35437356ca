"""The definitions behind `tieout.yaml` and a flow's YAML: the JSON Schema is generated from them."""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from apscheduler.triggers.cron import CronTrigger
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from collector.model.number import void
from collector.settings.alerts import Destination
from collector.settings.kinds import Kinds, ReferenceKind, kinds
from collector.settings.links import LinkRule
from collector.settings.mapping import (
    Definition,
    EventType,
    Kind,
    Mapping,
    Zone,
    text_or_section,
)

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def _schedule(text: str) -> str:
    """Refuse what the scheduler refuses, what never comes, and what it would read unlike cron."""
    _, _, day, _, weekday, *_ = (*text.split(), *"*****")
    if re.search(r"\d", weekday):
        raise ValueError(
            "weekdays as numbers mean different days in different systems; write mon or mon-fri"
        )
    if day != "*" and weekday != "*":
        raise ValueError(
            "a day of the month and a weekday mean either of the two in cron and both at once elsewhere; "
            "write * for one of them, and a second control for the other"
        )
    try:
        trigger = CronTrigger.from_crontab(text, timezone=UTC)
    except ValueError as error:
        raise ValueError(f"is no cron expression ({error}); write for example 0 6 * * *") from None
    if trigger.get_next_fire_time(None, _LONG_AGO) is None:
        raise ValueError("this day never comes; write for example 0 6 * * *")
    return text


def _written(pattern: str, example: str) -> BeforeValidator:
    """Take only what is written so: a bare number would be taken for seconds since 1970."""

    def check(value: object) -> object:
        if isinstance(value, (int, str)) and re.fullmatch(pattern, str(value)) is None:
            raise ValueError(f"has the wrong form; write for example {example}")
        return value

    return BeforeValidator(check)


def _void(text: str) -> str:
    """Refuse what names no numbers."""
    void(text)
    return text


_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
Day = Annotated[date, _written(_DAY, "2026-01-31")]
Instant = Annotated[
    datetime,
    _written(_DAY + r"[Tt ][0-9]{2}:[0-9]{2}.*", "2026-01-31T00:00:00+01:00"),
]
TimeOfDay = Annotated[time, _written(r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?", '"18:00"')]
Schedule = Annotated[str, AfterValidator(_schedule)]
Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=63)]
Duration = Annotated[
    str,
    Field(
        pattern=r"^\d{1,4} (minutes?|hours?|days?|business hours?|business days?)$",
        examples=["30 days", "1 business day", "4 business hours"],
    ),
]
Elapsed = Annotated[
    str, Field(pattern=r"^\d{1,4} (minutes?|hours?|days?)$", examples=["4 hours", "1 day"])
]
VoidNumbers = Annotated[str, AfterValidator(_void), Field(examples=["R-2026-104..106"])]
Runbooks = Annotated[str, Field(pattern=r"^https?://[^/\s]+(/\S*)?$")]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def elapsed(text: str) -> timedelta:
    """Return `1 day` as a span of time."""
    number, unit = text.split()
    return timedelta(**{f"{unit.removesuffix('s')}s": int(number)})


class Calendar(Definition):
    """Business time: what "n business days" and "n business hours" mean for an entity.

    A business day ends at `closes`, the cut-off: what comes later counts for the next one.
    """

    timezone: Zone = Field(examples=["Europe/Berlin"])
    week: list[Weekday] = Field(["mon", "tue", "wed", "thu", "fri"], min_length=1)
    opens: TimeOfDay = time(8)
    closes: TimeOfDay = time(18)
    holidays: list[Day] = []

    @model_validator(mode="after")
    def _opens_first(self) -> Self:
        if self.opens >= self.closes:
            raise ValueError("`opens` is not before `closes`; a business day lies within one date")
        return self


class Entity(Definition):
    """A legal entity: the code that records carry, and its calendar."""

    name: str
    calendar: str


class Declaration(Definition):
    """Completeness of grade C: a named person declares what a stream holds.

    `covers` is [from, to): every event that occurred in it is in the stream. `records` is how many
    records the stream holds. `void` are numbers of the mapping's `number_range` that no record ever had.
    """

    covers: tuple[Instant, Instant]
    records: int | None = Field(None, ge=0)
    void: list[VoidNumbers] = []
    by: str = Field(min_length=1, description="Who declares it")

    @field_validator("covers")
    @classmethod
    def _aware_and_forward(cls, covers: tuple[datetime, datetime]) -> tuple[datetime, datetime]:
        if any(instant.tzinfo is None for instant in covers):
            raise ValueError("give both instants with an offset, e.g. 2019-01-31T00:00:00+01:00")
        if covers[0] >= covers[1]:
            raise ValueError("the second instant must be later than the first")
        return covers


class Stream(Definition):
    """One sequence of records within a source.

    `read` holds the options of the source's connector. `namespace` is the immutable id that enters
    the identity of every event; by default `<source>/<stream>`. Two streams with one namespace give
    the same events.

    `entity` says that it holds records of that entity alone, such as one company's bank statements:
    what it lacks says nothing about another entity. A record of another one is quarantined.
    """

    entity: str | None = Field(None, description="The one entity whose records it holds")
    read: dict[str, Any] = {}
    mapping: Annotated[
        Annotated[Mapping, Tag("section")] | Annotated[str, Tag("text")],
        Discriminator(text_or_section),
    ] = Field(description="The mapping, or the path of a YAML file with it")
    namespace: str | None = Field(None, min_length=1, max_length=200)
    complete: Declaration | None = None
    retained_days: int | None = Field(
        None,
        ge=1,
        description="How long the source keeps a record, where it does not say so itself",
    )
    sweep_every: Elapsed | None = Field(
        None, description="How often `tieout run` holds all its keys against the store"
    )
    keep_raw: bool = Field(False, description="Keep accepted records' bytes, apart from the facts")


class Source(Definition):
    """One configured instance of a system."""

    connector: Id
    system: Id = Field(description="What flows and traces call this system, e.g. erp")
    streams: dict[Id, Stream] = Field(min_length=1)


class Step(Definition):
    """One expected step of a flow.

    Done by the last event of `done_by` on a document, as long as no event of `undone_by` followed on
    the same document; failed by an event of `failed_by` with no `done_by` after it. `due` counts from
    the completion of the step named `after`. `skip_when` names event types that make the step
    needless for this document (an amount that is paid by the company, nothing payable).

    What happens to a group document of a kind in `via` happens, for this step, to each document of the
    case that names it as a group reference, with the document's own share as its amount: a payment run
    pays every claim in it.
    """

    name: Kind
    title: str = ""
    system: Id
    done_by: list[EventType] = Field(min_length=1)
    undone_by: list[EventType] = []
    failed_by: list[EventType] = []
    skip_when: list[EventType] = []
    via: list[Kind] = Field(
        [],
        description="Kinds of group documents that the step may go through",
        examples=[["payment_run"]],
    )
    after: Kind | None = None
    due: Duration | None = None
    waits_for: str | None = Field(None, description="The person's role, where a person acts")


class EndState(Definition):
    """A terminal state of the flow: reached by an event of `by` with none of `until` after it."""

    by: list[EventType] = Field(min_length=1)
    until: list[EventType] = []


class Comparison(Definition):
    """Two steps whose amounts must agree, and by how much they may differ (minor units).

    With the grain `group` a document of the step `right` (a payment) is held against the sum of the
    documents of `left` that name it as a group reference, for it often settles several of them.
    """

    left: Kind
    right: Kind
    tolerance_minor: int = Field(0, ge=0)
    grain: Literal["case", "group"] = "case"
    in_parts: bool = Field(
        False, description="`right` may come in parts: too little is pending until its due time"
    )
    components: list[EventType] = Field(
        [],
        description="Facts whose signed amounts explain `right` less `left`: advances, personal shares, charges",
    )
    tax: list[EventType] = Field(
        [], description="Facts that state the tax, so that a difference of just that is named"
    )


class Flow(Definition):
    """The expected steps of one kind of transaction.

    `anchor` is the document type that a step instance hangs on: one per transaction, unless
    `anchors_many` declares that each anchor document is a case of its own. `bridge` is the chain of
    steps whose money must tie out, in order: approved, posted, paid, returned.
    """

    flow: Id
    title: str
    anchor: Kind
    anchors_many: bool = False
    steps: list[Step] = Field(min_length=1)
    ends: dict[Kind, EndState] = {}
    compare: list[Comparison] = []
    bridge: list[Kind] = []

    def event_types(self) -> frozenset[str]:
        """Return every event type that the flow names."""
        return frozenset().union(
            *((*s.done_by, *s.undone_by, *s.failed_by, *s.skip_when) for s in self.steps),
            *((*end.by, *end.until) for end in self.ends.values()),
        )

    def hops(self) -> list[tuple[str, str, str, str]]:
        """Return the hops of the bridge: from step, to step, and the systems of both."""
        systems = {step.name: step.system for step in self.steps}
        return [
            (left, right, systems[left], systems[right]) for left, right in pairwise(self.bridge)
        ]

    def lends(self) -> frozenset[tuple[str, str]]:
        """Return which events of group documents do something to a step: (kind, event type)."""
        return frozenset(
            (kind, event_type)
            for step in self.steps
            for kind in step.via
            for event_type in (*step.done_by, *step.undone_by, *step.failed_by, *step.skip_when)
        )

    @field_validator("steps")
    @classmethod
    def _order(cls, steps: list[Step]) -> list[Step]:
        seen: set[str] = set()
        for step in steps:
            if step.name in seen:
                raise ValueError(f"step '{step.name}' stands twice; rename one of them")
            if step.after is not None and step.after not in seen:
                raise ValueError(
                    f"step '{step.name}' comes after '{step.after}', which is no earlier step"
                )
            if step.due is not None and step.after is None:
                raise ValueError(
                    f"step '{step.name}' has a due time but no 'after' to count it from"
                )
            seen.add(step.name)
        return steps

    @field_validator("bridge")
    @classmethod
    def _chain(cls, bridge: list[str]) -> list[str]:
        if len(bridge) == 1 or len(set(bridge)) < len(bridge):
            raise ValueError("a bridge leads from one step to another: name two or more, each once")
        return bridge


class Control(Definition):
    """One scheduled control: a check applied to flows with parameters.

    `completeness` is the least grade that a PASS needs. `parameters` are those of the check. A run
    that is given no status time takes the latest one up to which its streams are known, at most `lag_max`
    back: what has fallen behind further is a gap.
    """

    check: Id
    flows: list[Id] = Field(min_length=1)
    parameters: dict[str, Any] = {}
    completeness: Literal["A", "B", "C"] = "C"
    lag_max: Elapsed = Field("1 day", description="How far its streams may lag behind the present")
    schedule: Schedule | None = Field(
        None, description="cron, five fields, UTC", examples=["0 6 * * *"]
    )
    severity: Literal["low", "medium", "high", "critical"] = "high"
    owner: str = ""

    @property
    def lag(self) -> timedelta:
        """`lag_max` as a span of time."""
        return elapsed(self.lag_max)


class Bridges(Definition):
    """How often `tieout run` computes the bridges again, at most, while something is told.

    It rests at least ten times as long as the last time took.
    """

    every: Elapsed = Field("15 minutes", description="The shortest time between two")


class Limits(Definition):
    """Bounds that keep one weak key from swallowing the house.

    `max_documents`: a reference value that more documents hold as identity joins nothing; single kinds
    say so themselves, under `kinds`. `earliest`: a date before it is impossible.
    """

    max_documents: int = Field(20, ge=2)
    earliest: Day = Field(date(2000, 1, 1), ge=date(1970, 1, 1), le=date(2040, 12, 31))


class Retention(Definition):
    """How many days after recording raw bodies and personal fields are kept; by default for good.

    `tieout run` erases what is older. Facts, hashes and quarantined records' bytes always stay.
    """

    raw_days: int | None = Field(None, ge=1)
    personal_days: int | None = Field(None, ge=1)


class Api(Definition):
    """The HTTP interface: loopback unless told otherwise, and never without a key."""

    host: str = "127.0.0.1"
    port: int = Field(8484, ge=0, le=65535)
    keys: list[str] = Field([], description="API keys, as ${env:NAME} or ${file:PATH}")


class Telemetry(Definition):
    """OpenTelemetry: where finished transactions go as traces. Empty: nothing is sent."""

    otlp_endpoint: str | None = Field(None, examples=["http://127.0.0.1:4318"])
    headers: dict[str, str] = {}


class Store(Definition):
    """PostgreSQL: embedded, unless `dsn` names a server."""

    dsn: str | None = Field(None, examples=["${env:TIEOUT_DSN}"])


class Settings(Definition):
    """The whole of `tieout.yaml`. Paths are relative to the file."""

    tieout: Literal[1] = Field(description="Version of this format")
    store: Store = Store()
    entities: dict[str, Entity] = {}
    calendars: dict[Id, Calendar] = {}
    sources: dict[Id, Source] = {}
    flows: list[
        Annotated[
            Annotated[Flow, Tag("section")] | Annotated[str, Tag("text")],
            Discriminator(text_or_section),
        ]
    ] = Field([], description="Flows, or paths of YAML files with one each")
    controls: dict[Id, Control] = {}
    kinds: dict[Kind, ReferenceKind] = {}
    links: dict[Id, LinkRule] = {}
    alerts: dict[Id, Destination] = {}
    bridge: Bridges = Bridges()
    runbooks: Runbooks | None = Field(
        None,
        description="Where the pages of docs/controls are published; notices then link to them",
        examples=["https://github.com/acme/tieout/blob/main/docs/controls"],
    )
    limits: Limits = Limits()
    retention: Retention = Retention()
    api: Api = Api()
    telemetry: Telemetry = Telemetry()

    @cached_property
    def known_kinds(self) -> Kinds:
        """The kinds of references there are, built in and of its own."""
        return kinds(self.kinds)
