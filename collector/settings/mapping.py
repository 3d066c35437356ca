r"""The definitions of a stream's mapping: data that says what a record means.

Expressions (type `Expr`) pick values out of a record:

- `amount` or `report.owner.id`: a field, by path; a backslash keeps a dot (`a\.b`); a list with a
  single item is passed through, and `lines.0.id` picks from a longer one. The whole text is tried
  as one key first, so `time:timestamp` or `v1.id` just work.
- `{BUKRS}/{BELNR}/{GJAHR}`: a template; empty as soon as one of its fields is empty.
- `=EUR`: a constant.

A value that is absent, blank or one of the mapping's `nulls` is empty.
"""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from collector.model.money import CURRENCIES

IN_VALUE = "in value"
TEXT_FIELDS = ("counterparty", "actor", "status", "reason_code", "message")
"""Fields of an event that are plain text, kept in its body."""

_FIELDS_OF_TEMPLATE = re.compile(r"\{([^{}]+)\}")
_IN_UTC = ("epoch_s", "epoch_ms", "odata")
_SAMPLE = datetime(2011, 12, 30, 21, 43, 56, tzinfo=UTC)


def _readable(expr: str) -> str:
    """Refuse an expression that would silently be something else than was meant."""
    if expr.startswith("="):
        if not expr[1:].strip():
            raise ValueError("the constant after '=' is empty; write for example =EUR")
        return expr
    if "{" in expr or "}" in expr:
        if re.search(r"[{}]", _FIELDS_OF_TEMPLATE.sub("", expr)):
            raise ValueError("a brace is not closed or empty; write for example {BUKRS}/{BELNR}")
        for field in _FIELDS_OF_TEMPLATE.findall(expr):
            if field.startswith("="):
                raise ValueError("a template holds no constants; write them outside the braces")
        return expr
    if expr != expr.strip():
        raise ValueError("a field's name has no blanks around it")
    return expr


def known_zone(name: str) -> str:
    """Refuse a name that the time zone database does not know."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, no such form, or a folder of names
        raise ValueError(
            f"there is no timezone '{name}'; write an IANA name such as Europe/Berlin"
        ) from None
    return name


def _whole_date(form: str) -> str:
    """Refuse a strptime format that does not read back what it writes, or says no whole date."""
    try:
        read = datetime.strptime(_SAMPLE.strftime(form), form)  # noqa: DTZ007 -- only its digits matter
    except ValueError as error:
        raise ValueError(f"'{form}' is no date format ({error})") from None
    if read.date() != _SAMPLE.date():
        raise ValueError(f"'{form}' does not say year, month and day; write for example %Y%m%d")
    return form


Expr = Annotated[
    str,
    Field(min_length=1, description="Field path, {template} or =constant"),
    AfterValidator(_readable),
]
DateFormat = Annotated[str, AfterValidator(_whole_date)]
Zone = Annotated[str, AfterValidator(known_zone)]
EventType = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$", examples=["expense_report.approved"])
]
Kind = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", examples=["expense_report"])]


class Definition(BaseModel):
    """Base of all configuration: unknown keys are errors, nothing changes after loading.

    A bare number where a text is expected is that text: `nulls: [0]` needs no quotes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


def text_or_section(value: object) -> str:
    """Tell which branch of `a text or a section` is meant, so that only its mistakes are named."""
    return "section" if isinstance(value, (dict, BaseModel)) else "text"


class Role(StrEnum):
    """What a reference does: identity joins, group links, context is only searched."""

    IDENTITY = "identity"
    GROUP = "group"
    CONTEXT = "context"


class ReferenceRule(Definition):
    """Another name that the record gives its document; its kind says how it is compared.

    A value as long as a field of `field_length` characters may be the beginning of a longer one, which others may share:
    it neither joins nor links, and is kept to be searched. A shorter one is whole.
    """

    kind: Kind
    role: Role
    value: Expr
    scope: Expr | None = Field(
        None, description="Within what the value is unique, e.g. {BUKRS}/{GJAHR}"
    )
    field_length: int | None = Field(
        None,
        description="How many characters the field holds, where its system cuts what is longer",
        ge=1,
    )

    @model_validator(mode="after")
    def _one_field_is_cut(self) -> Self:
        if self.field_length is not None and (self.value.startswith("=") or "{" in self.value):
            raise ValueError(
                "`field_length` is the length of a field; let `value` name that field alone"
            )
        return self


class DocumentRule(Definition):
    """The document that the event is about; its own name is an identity reference of kind `type`."""

    type: Kind
    number: Expr
    scope: Expr | None = None


class TimeRule(Definition):
    """When it happened by the source's clock; the zone is stated, never guessed.

    `timezone: in value` demands an offset in the value; an IANA name is used for values without
    one, and then a value with an offset is a fault. A local time that the clock change makes
    ambiguous or impossible is quarantined unless `ambiguous` says which is meant.
    """

    value: Expr
    format: str = Field(
        "iso",
        description="iso, epoch_s, epoch_ms, odata (/Date(ms)/) or a strptime format such as %Y%m%d %H%M%S",
        min_length=1,
    )
    timezone: str = Field(
        description="'in value' or an IANA name", examples=["in value", "Europe/Berlin"]
    )
    ambiguous: Literal["quarantine", "earlier", "later"] = "quarantine"

    @model_validator(mode="after")
    def _zone_fits_format(self) -> Self:
        if self.timezone != IN_VALUE:
            known_zone(self.timezone)
        if self.format in _IN_UTC:
            if self.timezone != IN_VALUE:
                raise ValueError(f"`{self.format}` counts in UTC by itself; say timezone: in value")
        elif self.format != "iso":
            _whole_date(self.format)
            if ("%z" in self.format) != (self.timezone == IN_VALUE):
                raise ValueError(
                    f"`timezone: {self.timezone}` does not fit the format '{self.format}'; "
                    "with %z say timezone: in value, without it name the zone"
                )
        return self


class SnapshotRule(TimeRule):
    """Each part (file) of the stream is the whole list as of this instant, which each of its rows states.

    It is when every row's event occurred, and with the row's key it identifies it. What one whole list has and the
    next has not is gone. `total` is how many rows the list itself states to have.
    """

    total: Expr | None = None


class ValidRule(Definition):
    """From when until when a row is valid: days or instants as `format` and `timezone` say.

    `last_day` names the last day of validity, `until` the first instant after it; with neither a row is valid
    until the next one begins. Where the field is empty, or its year is 9999, the row has no end.
    """

    from_: Expr = Field(alias="from")
    last_day: Expr | None = None
    until: Expr | None = None
    format: str = Field(
        "iso", description="As in `occurred_at`; iso takes days too", examples=["%Y%m%d"]
    )
    timezone: str = Field(
        description="'in value' or an IANA name", examples=["in value", "Europe/Berlin"]
    )

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.last_day is not None and self.until is not None:
            raise ValueError(
                "`last_day` and `until` both say when it ends; keep the one that the source means"
            )
        TimeRule(value=self.from_, format=self.format, timezone=self.timezone)
        return self


class MoneyRule(Definition):
    """An amount in the source's notation; always with a currency.

    Without `round`, an amount with more decimals than its currency has is quarantined.
    `negative_when` names a condition under which the amount is negated (DBIT, debit indicator …).
    """

    value: Expr
    currency: Expr
    round: Literal["half_even", "half_up", "down"] | None = None
    decimal: Literal[".", ","] = "."
    implied_decimals: int | None = Field(
        None, description="The value is an integer of 10^-n units", ge=0, le=6
    )
    negative_when: "list[Condition]" = []

    @model_validator(mode="after")
    def _known_currency(self) -> Self:
        code = self.currency[1:]
        if self.currency.startswith("=") and code not in CURRENCIES:
            raise ValueError(f"'{code}' is no ISO 4217 currency code")
        return self


class Condition(Definition):
    """A test on one value; in a list all must hold. With nothing but `value`: it is not empty."""

    value: Expr
    is_: list[str] | None = Field(None, alias="is")
    is_not: list[str] | None = None
    empty: bool | None = None


class TypeByValue(Definition):
    """The event type by the value of a field, with an explicit answer for a value not listed."""

    value: Expr
    values: dict[str, EventType | Literal["ignore"]]
    unknown: EventType | Literal["quarantine", "ignore"]


class AccountingRule(Definition):
    """Accounting time, where the document has it (dates as `format`, default YYYY-MM-DD)."""

    format: DateFormat = "%Y-%m-%d"
    document_date: Expr | None = None
    posting_date: Expr | None = None
    value_date: Expr | None = None
    fiscal_year: Expr | None = None
    period: Expr | None = None
    ledger: Expr | None = None


class EventFields(Definition):
    """What may stand at the top of a mapping for all its events, and again in one of them."""

    document: DocumentRule | None = None
    occurred_at: TimeRule | None = None
    amount: MoneyRule | None = None
    references: list[ReferenceRule] = []
    entity: Expr | None = None
    counterparty: Expr | None = None
    actor: Expr | None = None
    status: Expr | None = None
    reason_code: Expr | None = None
    message: Expr | None = None
    month: Expr | None = None
    accounting: AccountingRule | None = None
    valid: ValidRule | None = None
    dimensions: dict[Kind, Expr] = {}
    attributes: dict[Kind, Expr] = {}
    sequence: Expr | None = None


class EventRule(EventFields):
    """One kind of event that a record can mean.

    `rule` names it for good: it enters the identity of its events, so it is never renamed.
    `discriminators` are raw values that tell two such events of one native key apart (the text of
    the submit date of a resubmitted report). References, dimensions and attributes add to the
    common ones; everything else replaces them.
    """

    rule: Kind
    type: Annotated[
        Annotated[EventType, Tag("text")] | Annotated[TypeByValue, Tag("section")],
        Discriminator(text_or_section),
    ]
    when: list[Condition] = []
    discriminators: list[Expr] = []


class NumberRange(Definition):
    """Consecutive numbers that the source gives its records: one that is missing among them is a gap.

    `number` ends in digits, which are the number; what stands before them tells ranges apart, as `within`
    does. `first` is what every range begins with; without it what precedes the lowest known is not missed.
    """

    number: Expr
    within: Expr | None = Field(None, examples=["{BUKRS}/{GJAHR}"])
    first: int | None = Field(None, ge=0)


class Mapping(EventFields):
    """How the records of a stream become events.

    `key` is the record's native key: what the source itself calls this record, immutable.
    `month` names a raw field whose text begins with year and month, if that is not the event's own
    time: it places the event in the store and must never change for the same fact.
    `sequence` breaks ties of events at the same instant (an integer of the source).
    `personal` lists attributes and other fields (`actor`, `counterparty`, `message`) that are
    personal data: they are stored apart, with a retention of their own.
    """

    key: Expr
    nulls: list[str] = []
    personal: list[str] = []
    number_range: NumberRange | None = None
    snapshot: SnapshotRule | None = None
    events: list[EventRule] = Field(min_length=1)

    @model_validator(mode="after")
    def _personal_is_there(self) -> Self:
        for name in self.personal:
            everywhere: list[EventFields] = [self, *self.events]
            if not any(name in _places(fields) for fields in everywhere):
                raise ValueError(
                    f"`personal` names '{name}', which is no attribute, dimension or mapped "
                    f"{', '.join(TEXT_FIELDS)}: what is meant would be kept with the facts"
                )
        return self

    @model_validator(mode="after")
    def _a_list_leaves_nothing_out(self) -> Self:
        if self.snapshot is None:
            return self
        for rule in self.events:
            if self.occurred_at is not None or rule.occurred_at is not None:
                raise ValueError("`snapshot` says when its rows occurred; remove `occurred_at`")
            chosen = rule.type
            if rule.when or (
                isinstance(chosen, TypeByValue)
                and "ignore" in {*chosen.values.values(), chosen.unknown}
            ):
                raise ValueError(
                    f"event '{rule.rule}' leaves rows out, and a row that is left out of a `snapshot` would be "
                    "told as deleted; take every row, and choose among them in the control"
                )
        return self

    @model_validator(mode="after")
    def _nulls_are_nowhere_meant(self) -> Self:
        for rule in self.events:
            meant = {v for c in rule.when for v in c.is_ or []}
            if isinstance(rule.type, TypeByValue):
                meant |= set(rule.type.values)
            for value in sorted(meant):
                if value in self.nulls or value != value.strip():
                    raise ValueError(
                        f"event '{rule.rule}' looks for '{value}', which never comes: `nulls` and "
                        "blanks around a value are taken away before"
                    )
        return self


def _places(fields: EventFields) -> set[str]:
    texts = {name for name in TEXT_FIELDS if getattr(fields, name) is not None}
    return texts | set(fields.dimensions) | set(fields.attributes)


def named_kinds(mapping: Mapping) -> set[str]:
    """List the kinds that a mapping names: those of its documents and of their references."""
    everywhere: list[EventFields] = [mapping, *mapping.events]
    documents = {fields.document.type for fields in everywhere if fields.document is not None}
    return documents | {r.kind for fields in everywhere for r in fields.references}
