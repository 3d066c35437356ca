"""The steps of one transaction, computed from its events as of a time.

What `read.steps` says in SQL of whole populations, this says of a single case, fast enough to answer a
question by key; a test holds the two together.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from collector.model.calendar import Hours
from collector.model.due import due_at
from collector.settings.definitions import Flow, Step

Calendars = Callable[[str | None], Hours | None]
"""The business hours of an entity; None where it has no calendar."""


class Happening(msgspec.Struct, frozen=True, gc=False):
    """One event of a transaction, as far as steps are concerned."""

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

    @property
    def order(self) -> tuple[datetime, int, bytes]:
        """The place within its document: source clock, declared sequence, event id."""
        return self.occurred_at, -(2**63) if self.sequence is None else self.sequence, self.event_id


class StepState(msgspec.Struct, frozen=True):
    """One step of one case: PENDING, DONE, LATE, MISSING, FAILED, SKIPPED or UNEVALUABLE."""

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


class _Mark(NamedTuple):
    done_at: datetime | None
    failed: Happening | None
    amount_minor: int | None
    currency: str | None
    skipped: bool


def cases(
    flow: Flow, happenings: Iterable[Happening], as_of: datetime, calendars: Calendars
) -> list[Case]:
    """Compute the cases of a flow in one transaction: one per anchor document."""
    events = sorted((h for h in happenings if h.occurred_at <= as_of), key=lambda h: h.order)
    by_document: dict[int, list[Happening]] = {}
    for event in events:
        by_document.setdefault(event.document, []).append(event)
    types = _types(flow)
    anchors = [
        document
        for document, own in by_document.items()
        if own[0].kind == flow.anchor and any(e.type in types for e in own)
    ]
    unevaluable = len(anchors) > 1 and not flow.anchors_many
    return [
        _case(flow, anchor, anchors, by_document, as_of, calendars, unevaluable=unevaluable)
        for anchor in anchors
    ]


def _types(flow: Flow) -> set[str]:
    return {
        t
        for s in flow.steps
        for side in (s.done_by, s.undone_by, s.failed_by, s.skip_when)
        for t in side
    } | {t for e in flow.ends.values() for side in (e.by, e.until) for t in side}


def _case(  # noqa: PLR0913 -- what a case consists of
    flow: Flow,
    anchor: int,
    anchors: Sequence[int],
    by_document: dict[int, list[Happening]],
    as_of: datetime,
    calendars: Calendars,
    *,
    unevaluable: bool,
) -> Case:
    documents = [own for d, own in by_document.items() if d == anchor or d not in anchors]
    types = _types(flow)
    own = [e for e in by_document[anchor] if e.type in types]
    entity = next((e.entity for e in reversed(own) if e.entity is not None), None)
    claimed = next((e for e in reversed(own) if e.amount_minor is not None), None)
    hours = calendars(entity)
    marks = {step.name: _mark(step, documents) for step in flow.steps}
    finished = marks[flow.steps[-1].name].done_at is not None
    ended = _ended(flow, own)
    states = []
    for step in flow.steps:
        mark = marks[step.name]
        basis = marks[step.after].done_at if step.after is not None else None
        due = due_at(hours, basis, step.due)
        ready = step.after is None or basis is not None
        status = (
            "UNEVALUABLE"
            if unevaluable
            else _status(mark, due, as_of, ended=ended is not None, ready=ready)
        )
        paid = mark.amount_minor is not None
        states.append(
            StepState(
                step.name,
                step.title or step.name,
                step.system,
                step.waits_for,
                status,
                basis,
                due,
                mark.done_at,
                mark.failed.occurred_at if mark.failed is not None else None,
                mark.failed.message if mark.failed is not None else None,
                mark.amount_minor if paid else claimed.amount_minor if claimed else None,
                mark.currency if paid else claimed.currency if claimed else None,
            )
        )
    return Case(flow.flow, anchor, "completed" if finished else ended or "open", states)


def _status(mark: _Mark, due: datetime | None, as_of: datetime, *, ended: bool, ready: bool) -> str:
    if mark.done_at is not None:
        return "DONE" if due is None or mark.done_at <= due else "LATE"
    if mark.skipped or ended:
        return "SKIPPED"
    if mark.failed is not None:
        return "FAILED"
    return "MISSING" if ready and due is not None and due < as_of else "PENDING"


def _ended(flow: Flow, own: Sequence[Happening]) -> str | None:
    found: tuple[int, str] | None = None
    for state, end in flow.ends.items():
        reached, left = _last(own, end.by), _last(own, end.until)
        if reached > left and (found is None or reached > found[0]):
            found = reached, state
    return found[1] if found is not None else None


def _mark(step: Step, documents: Iterable[Sequence[Happening]]) -> _Mark:
    """Fold what happened to a step over the documents of a case."""
    done: list[Happening] = []
    tried: list[datetime] = []
    failures: list[Happening] = []
    skipped = False
    for own in documents:
        last_done, last_undone, last_failed = (
            _last(own, side) for side in (step.done_by, step.undone_by, step.failed_by)
        )
        skipped = skipped or _last(own, step.skip_when) >= 0
        if last_done >= 0:
            tried.append(own[last_done].occurred_at)
        if last_done > last_undone:
            done.append(own[last_done])
        if last_failed > last_done:
            failures.append(own[last_failed])
    failed = max(failures, key=lambda e: e.occurred_at, default=None)
    if done or (failed is not None and tried and failed.occurred_at <= max(tried)):
        failed = None  # another document's attempt came after it
    amounts = [e.amount_minor for e in done if e.amount_minor is not None]
    currencies = {e.currency for e in done if e.currency is not None}
    single = len(currencies) == 1
    return _Mark(
        min((e.occurred_at for e in done), default=None),
        failed,
        sum(amounts) if single and amounts else None,
        currencies.pop() if single else None,
        skipped,
    )


def _last(own: Sequence[Happening], types: Sequence[str]) -> int:
    """Return the place of a document's last event of some types; -1 where there is none."""
    return max((i for i, event in enumerate(own) if event.type in types), default=-1)
