r"""The definitions of a stream's mapping: data that says what a record means.

Expressions (type `Expr`) pick values out of a record:

- `amount` or `report.owner.id`: a field, by path; a backslash keeps a dot (`a\.b`); a list with a
  single item is passed through, and `lines.0.id` picks from a longer one. The whole text is tried
  as one key first, so `time:timestamp` or `v1.id` just work.
- `{BUKRS}/{BELNR}/{GJAHR}`: a template; empty as soon as one of its fields is empty.
- `=EUR`: a constant.

A value that is absent, blank or one of the mapping's `nulls` is empty.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Expr = Annotated[str, Field(min_length=1, description="Field path, {template} or =constant")]
EventType = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$", examples=["expense_report.approved"])
]
Kind = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", examples=["expense_report"])]


class Definition(BaseModel):
    """Base of all configuration: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Normalise(StrEnum):
    """What is done to a value before it is compared."""

    STRIP_ZEROS = "strip_zeros"  # leading zeros, as SAP pads numbers
    UPPER = "upper"
    ALNUM = "alnum"  # keep letters and digits only


class Role(StrEnum):
    """What a reference does: identity joins, group links, context is only searched."""

    IDENTITY = "identity"
    GROUP = "group"
    CONTEXT = "context"


class ReferenceRule(Definition):
    """Another name that the record gives its document."""

    kind: Kind
    role: Role
    value: Expr
    scope: Expr | None = Field(
        None, description="Within what the value is unique, e.g. {BUKRS}/{GJAHR}"
    )
    normalise: list[Normalise] = []


class DocumentRule(Definition):
    """The document that the event is about; its own name is an identity reference of kind `type`."""

    type: Kind
    number: Expr
    scope: Expr | None = None
    normalise: list[Normalise] = []


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
    )
    timezone: str = Field(
        description="'in value' or an IANA name", examples=["in value", "Europe/Berlin"]
    )
    ambiguous: Literal["quarantine", "earlier", "later"] = "quarantine"


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


class Condition(Definition):
    """A test on one value; in a list all must hold. Without `is`/`is_not`: the value is not empty."""

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

    format: str = "%Y-%m-%d"
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
    type: EventType | TypeByValue
    when: list[Condition] = []
    discriminators: list[Expr] = []


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
    events: list[EventRule] = Field(min_length=1)
