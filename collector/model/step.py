"""The steps of a business case: what happened to its documents, and where each step stands."""

from datetime import datetime
from typing import NamedTuple

import msgspec


class Group(NamedTuple):
    """A group document that lends an event: its number in the store, and its kind."""

    document: int
    kind: str


class Happening(msgspec.Struct, frozen=True, gc=False):
    """One event of a transaction, as far as steps are concerned.

    `via` is the group document that the event is about, where `document` only names it; the amount is
    then the group document's, and the document's own share takes its place.
    """

    document: int
    kind: str
    type: str
    occurred_at: datetime
    sequence: int | None
    event_id: bytes
    amount_minor: int | None
    currency: str | None
    entity: str | None
    message: str | None
    via: Group | None = None


class StepState(msgspec.Struct, frozen=True):
    """One step of one case: PENDING, DONE, LATE, MISSING, FAILED, SKIPPED or UNEVALUABLE.

    The amount is the sum of what did it; the claimed one where it is not done or carries none; None
    where it was done in several currencies.
    """

    name: str
    title: str
    system: str
    waits_for: str | None
    status: str
    basis_at: datetime | None
    due_at: datetime | None
    done_at: datetime | None
    failed_at: datetime | None
    message: str | None
    amount_minor: int | None
    currency: str | None


class Case(msgspec.Struct, frozen=True):
    """One anchor document of a flow with the state of its steps; `state` is open, completed or an end."""

    flow: str
    anchor: int
    state: str
    steps: list[StepState]
