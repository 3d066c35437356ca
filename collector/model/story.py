"""The answer to a key, as it is told: transactions with their documents, steps and events, or candidates."""

from datetime import datetime

import msgspec

from collector.model.step import StepState


class Document(msgspec.Struct, frozen=True):
    """A document of a transaction."""

    id: str
    type: str
    number: str
    scope: str
    system: str


class Link(msgspec.Struct, frozen=True):
    """A name that the transaction's documents carry besides their own: identity, group or context."""

    role: str
    kind: str
    value: str


class EventLine(msgspec.Struct, frozen=True):
    """One event, as it is told.

    `via` names the group document (kind and number) that it happened to, where one of the transaction's
    documents only names that one and a step goes through it.
    """

    id: str
    type: str
    occurred_at: datetime
    source: str
    stream: str
    document: str
    amount_minor: int | None
    currency: str | None
    status: str | None
    message: str | None
    via: str | None


class Transaction(msgspec.Struct, frozen=True):
    """One business case end to end. `id` is the smallest id of its documents; each of them finds it."""

    id: str
    flow: str | None
    status: str
    documents: list[Document]
    steps: list[StepState]
    links: list[Link]
    events: list[EventLine]


class Candidate(msgspec.Struct, frozen=True):
    """Something that a key may have meant."""

    id: str
    document: str
    role: str
    kind: str
    value: str


class Story(msgspec.Struct, frozen=True):
    """The answer to a key: transactions, or candidates where it names none or too many.

    Beside transactions, candidates are the documents that name one of theirs as a group that a step goes
    through: the payments of a payment run.
    """

    key: str
    transactions: list[Transaction]
    candidates: list[Candidate]
    has_more: bool = False
