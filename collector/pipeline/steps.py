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
from collector.model.step import Case, Happening, StepState
from collector.settings.definitions import Flow, Step

Calendars = Callable[[str | None], Hours | None]
"""The business hours of an entity; None where it has no calendar."""


class _Mark(NamedTuple):
    done_at: datetime | None
    failed: Happening | None
    amount_minor: int | None
    currency: str | None
    several_currencies: bool
    skipped: bool


class _Step(NamedTuple):
    definition: Step
    done_by: frozenset[str]
    undone_by: frozenset[str]
    failed_by: frozenset[str]
    skip_when: frozenset[str]
    via: frozenset[str]


class FlowSteps:
    """A flow, compiled: computes the cases of a transaction from its events."""

    def __init__(self, flow: Flow, calendars: Calendars) -> None:
        self._flow = flow
        self._calendars = calendars
        self._steps = [
            _Step(s, *map(frozenset, (s.done_by, s.undone_by, s.failed_by, s.skip_when, s.via)))
            for s in flow.steps
        ]
        self._ends = {
            state: (frozenset(end.by), frozenset(end.until)) for state, end in flow.ends.items()
        }
        self._types = flow.event_types()
        self._done_types = frozenset(t for s in flow.steps for t in s.done_by)
        self.lends = flow.lends()

    def cases(self, happenings: Iterable[Happening], as_of: datetime) -> list[Case]:
        """Compute the cases in one transaction: one per anchor document."""
        flow = self._flow
        by_document: dict[int, list[Happening]] = {}
        counted = [e for e in happenings if e.type in self._types and e.occurred_at <= as_of]
        for event in self._lent_once(counted):
            by_document.setdefault(event.document, []).append(event)
        for own in by_document.values():
            own.sort(key=_order)
            self._share(own)
        anchors = [
            d
            for d, own in by_document.items()
            if own[0].kind == flow.anchor and any(e.via is None for e in own)
        ]
        unevaluable = len(anchors) > 1 and not flow.anchors_many
        return [
            self._case(
                anchor,
                [o for d, o in by_document.items() if d == anchor or o[0].kind != flow.anchor],
                [e for e in by_document[anchor] if e.via is None],
                as_of,
                unevaluable=unevaluable,
            )
            for anchor in anchors
        ]

    def _lent_once(self, events: Sequence[Happening]) -> Iterable[Happening]:
        """Leave out what is lent to an anchor where another document names the same group document."""
        anchor = self._flow.anchor
        elsewhere = {e.via for e in events if e.kind != anchor}
        return (e for e in events if e.via is None or e.kind != anchor or e.via not in elsewhere)

    def _share(self, own: list[Happening]) -> None:
        """Give what is lent to a document the amount that it last stated before."""
        stated: tuple[int | None, str | None] = (None, None)
        for i, event in enumerate(own):
            if event.via is not None:
                own[i] = msgspec.structs.replace(event, amount_minor=stated[0], currency=stated[1])
            elif event.amount_minor is not None and event.type in self._done_types:
                stated = event.amount_minor, event.currency

    def _case(
        self,
        anchor: int,
        documents: Sequence[Sequence[Happening]],
        own: Sequence[Happening],
        as_of: datetime,
        *,
        unevaluable: bool,
    ) -> Case:
        entity = next((e.entity for e in reversed(own) if e.entity is not None), None)
        claimed = next((e for e in reversed(own) if e.amount_minor is not None), None)
        hours = self._calendars(entity)
        marks = self._marks(documents)
        finished = marks[self._flow.steps[-1].name].done_at is not None
        ended = self._ended(own)
        states = []
        for step in self._flow.steps:
            mark = marks[step.name]
            basis = marks[step.after].done_at if step.after is not None else None
            due = due_at(hours, basis, step.due)
            ready = step.after is None or basis is not None
            status = (
                "UNEVALUABLE"
                if unevaluable
                else _status(mark, due, as_of, ended=ended is not None, ready=ready)
            )
            unsaid = mark.amount_minor is None and not mark.several_currencies
            money = claimed if unsaid and claimed is not None else mark
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
                    money.amount_minor,
                    money.currency,
                )
            )
        state = ended or ("completed" if finished else "open")
        return Case(self._flow.flow, anchor, state, states)

    def _marks(self, documents: Sequence[Sequence[Happening]]) -> dict[str, _Mark]:
        """Say what happened to each step; most steps go through no group document, and see the same events."""
        seen: dict[frozenset[str], list[list[Happening]]] = {}
        for via in {step.via for step in self._steps}:
            seen[via] = [
                [e for e in events if e.via is None or e.via.kind in via] for events in documents
            ]
        return {step.definition.name: _mark(step, seen[step.via]) for step in self._steps}

    def _ended(self, own: Sequence[Happening]) -> str | None:
        """Return the terminal state that a case has reached and not left again."""
        found: tuple[int, str] | None = None
        for state, (by, until) in self._ends.items():
            reached = _last(own, by)
            if reached > _last(own, until) and (found is None or reached > found[0]):
                found = reached, state
        return found[1] if found is not None else None


def _order(event: Happening) -> tuple[datetime, int, bytes]:
    """Order events within a document: source clock, declared sequence, event id."""
    sequence = -(2**63) if event.sequence is None else event.sequence
    return event.occurred_at, sequence, event.event_id


def _status(mark: _Mark, due: datetime | None, as_of: datetime, *, ended: bool, ready: bool) -> str:
    if mark.done_at is not None:
        return "DONE" if due is None or mark.done_at <= due else "LATE"
    if mark.skipped or ended:
        return "SKIPPED"
    if mark.failed is not None:
        return "FAILED"
    return "MISSING" if ready and due is not None and due < as_of else "PENDING"


def _mark(step: _Step, documents: Iterable[Sequence[Happening]]) -> _Mark:
    """Fold what happened to a step over the documents of a case."""
    done: list[Happening] = []
    tried: list[datetime] = []
    failures: list[Happening] = []
    skipped = False
    for own in documents:
        last_done = _last(own, step.done_by)
        last_failed = _last(own, step.failed_by)
        skipped = skipped or _last(own, step.skip_when) >= 0
        if last_done >= 0:
            tried.append(own[last_done].occurred_at)
            if last_done > _last(own, step.undone_by):
                done.append(own[last_done])
        if last_failed > last_done:
            failures.append(own[last_failed])
    if not done:
        failed = max(failures, key=lambda e: e.occurred_at) if failures else None
        if failed is not None and tried and failed.occurred_at <= max(tried):
            failed = None  # another document's attempt came after it
        return _Mark(None, failed, None, None, several_currencies=False, skipped=skipped)
    amounts = [e.amount_minor for e in done if e.amount_minor is not None]
    currencies = {e.currency for e in done if e.currency is not None}
    single = len(currencies) == 1
    return _Mark(
        min([e.occurred_at for e in done]),
        None,
        sum(amounts) if single and amounts else None,
        next(iter(currencies)) if single else None,
        len(currencies) > 1,
        skipped,
    )


def _last(own: Sequence[Happening], types: frozenset[str]) -> int:
    """Return the place of a document's last event of some types; -1 where there is none."""
    if types:
        for i in range(len(own) - 1, -1, -1):
            if own[i].type in types:
                return i
    return -1
