"""The definitions of `links`: by what two documents are linked that share no name."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from collector.model.reference import digest
from collector.settings.mapping import Definition, EventType, Kind, text_or_section

_FIELD = (
    r"(-?amount|currency|entity|counterparty|actor|status|reason_code|message"
    r"|(dimensions|attributes|references)\.[a-z][a-z0-9_]*)"
)


def _known_field(name: str) -> str:
    if re.fullmatch(_FIELD, name) is None:
        raise ValueError(
            f"'{name}' is no field of an event; write for example counterparty, dimensions.cost_center or"
            " references.employee"
        )
    return name


EventField = Annotated[
    str,
    AfterValidator(_known_field),
    Field(
        description="A field of the event; `-amount` is the amount with its sign turned",
        examples=["counterparty", "dimensions.cost_center", "references.employee"],
        json_schema_extra={"pattern": f"^{_FIELD}$"},
    ),
]
Percent = Annotated[int, Field(ge=0, le=100)]


class LinkSide(Definition):
    """One side of a link: documents by type, or by the event that happened to them.

    What is held against the other side is a document's last event of these, among documents by type the last
    one with an amount.
    """

    events: list[EventType] = []
    documents: list[Kind] = []
    sources: list[str] = Field([], description="Of these sources alone; by default of all")

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.events and not self.documents:
            raise ValueError(
                "names neither events nor documents; write for example events: [payment.settled]"
            )
        return self

    def overlaps(self, other: "LinkSide") -> bool:
        """Say whether a document can be on both."""
        apart = self.sources and other.sources and not {*self.sources} & {*other.sources}
        same = {*self.events} & {*other.events} or {*self.documents} & {*other.documents}
        return bool(same) and not apart


class FieldPair(Definition):
    """A field of the left side and one of the right."""

    left: EventField
    right: EventField


class Similarity(FieldPair):
    """Two texts, and how alike they are, from 0 to 100.

    `name` compares names of people and companies: in any order of their words, and one letter may stand for a
    word. `text` looks for the words of the shorter text in the longer one; the last word may be cut. Below `least`
    the two documents are no candidates; a text that is missing counts as 0.
    """

    as_: Literal["name", "text"] = Field("text", alias="as")
    least: Percent = 0
    weight: int = Field(1, ge=1, le=100, description="Its weight in the score")

    @property
    def title(self) -> str:
        """What it is called where a score is shown."""
        return self.left if self.left == self.right else f"{self.left} ~ {self.right}"


class Window(Definition):
    """By how many days the right side's event may come before the left side's, or after it."""

    days_before: int = Field(0, ge=0, le=366)
    days_after: int = Field(0, ge=0, le=366)


class LinkRule(Definition):
    """By what two documents are linked that share no name.

    Candidates are pairs whose `equal` fields are the same on both sides, `within` so many days. A pair's score is
    the weighted mean of its `similar` texts, 100 where none is named. It is linked if the score is at least `accept`,
    every rival of either document is `margin` lower, and both sides are complete beyond the days in which a
    rival could lie; else it is suggested to a person.
    """

    left: LinkSide
    right: LinkSide
    equal: list[
        Annotated[
            Annotated[FieldPair, Tag("section")] | Annotated[EventField, Tag("text")],
            Discriminator(text_or_section),
        ]
    ] = ["amount", "currency", "entity"]
    within: Window
    similar: list[Similarity] = []
    accept: Percent = 85
    margin: int = Field(15, ge=1, le=100)

    @model_validator(mode="after")
    def _is_narrow(self) -> Self:
        for side in ("left", "right"):
            named = {name.removeprefix("-") for name in self.fields(side)}
            if not {"amount", "currency"} <= named:
                raise ValueError(
                    "`equal` lacks the amount or the currency: every document would be held against every"
                    " other; write for example equal: [amount, currency, entity]"
                )
        return self

    def fields(self, side: str) -> list[str]:
        """List the fields of a side that must be equal, in order."""
        return [str(e if isinstance(e, str) else getattr(e, side)) for e in self.equal]

    def titles(self) -> list[str]:
        """List what the equal fields are called, in order."""
        pairs = zip(self.fields("left"), self.fields("right"), strict=True)
        return [a if a == b else f"{a} = {b}" for a, b in pairs]

    def texts(self, side: str) -> list[str]:
        """List the fields of a side that are compared as texts, in order."""
        return [str(getattr(s, side)) for s in self.similar]

    def meets(self, other: "LinkRule") -> bool:
        """Say whether both sides of two rules can be the same documents, this way round or the other."""
        left, right = self.left, self.right
        return (left.overlaps(other.left) and right.overlaps(other.right)) or (
            left.overlaps(other.right) and right.overlaps(other.left)
        )

    @property
    def version(self) -> str:
        """What identifies the rule's content: another one makes other links."""
        return digest("link rule", self.model_dump_json(exclude_defaults=True)).hex()[:8]
