"""The whole story behind a key: its transactions, their documents, steps and events."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from collector.model.calendar import Hours
from collector.model.event import Kept, kept_of
from collector.model.reference import ROLE_NAMES, Name
from collector.model.step import Case, Group, Happening
from collector.model.story import Candidate, Document, EventLine, Link, Story, Transaction
from collector.pipeline.publish import hours, settings_of
from collector.pipeline.steps import FlowSteps
from collector.pipeline.values import compile_spellings
from collector.settings.definitions import Flow, Settings
from collector.store import fragments, stories, totals
from collector.store.ingest import Connection
from collector.store.stories import Lent, Told


class Stories:
    """Tells stories by key, with the flows and calendars of a configuration."""

    def __init__(self, settings: Settings) -> None:
        by_calendar = {name: hours(calendar) for name, calendar in settings.calendars.items()}
        self._hours: dict[str, Hours] = {
            name: by_calendar[entity.calendar] for name, entity in settings.entities.items()
        }
        self._spellings = compile_spellings(settings.known_kinds)
        self._systems = {name: source.system for name, source in settings.sources.items()}
        self._flows = [
            FlowSteps(flow, lambda entity: self._hours.get(entity or ""))
            for flow in settings.flows
            if isinstance(flow, Flow)
        ]
        self._lending = sorted({kind for flow in self._flows for kind, _ in flow.lends})

    async def tell(
        self, conn: Connection, key: str, as_of: datetime, as_known: datetime | None = None
    ) -> Story:
        """Find what a key names and tell it as of a time; as known at K, by the flows and calendars of then, or now.

        A key is also tried as kinds compare their values: without the blanks of a printed IBAN, say. One
        that names nothing is searched as a fragment: unique, it is followed; else there are candidates.
        """
        if as_known is None:
            return await self._tell(conn, key.strip(), as_of, None)
        document = await totals.configuration(conn, as_known)
        by = self if document is None else Stories(settings_of(document))
        seq = await stories.commit_at(conn, as_known)
        return await by._tell(conn, key.strip(), as_of, seq)  # noqa: SLF001 -- its own class

    async def _tell(self, conn: Connection, key: str, as_of: datetime, seq: int | None) -> Story:
        found = await self._named(conn, key, seq)
        if not found and key:
            rows = await fragments.find(conn, key, stories.CANDIDATES_MAX + 1, seq)
            more = len(rows) > stories.CANDIDATES_MAX
            if more or len({row["component"] for row in rows}) != 1:
                listed = _candidates(rows[: stories.CANDIDATES_MAX])
                return Story(key, [], listed, more)
            found = await stories.events_by_key(conn, str(rows[0]["content_id"]), seq)
        groups: dict[int, list[Told]] = {}
        for told in sorted(found, key=_place):
            if told.occurred_at <= as_of:
                groups.setdefault(told.component, []).append(told)
        kinds = {told.document: told.kind for events in groups.values() for told in events}
        lent = await self._lent(conn, list(kinds), as_of, seq) if self._lending else {}
        transactions = [self._transaction(events, lent, as_of) for events in groups.values()]
        shared = [document for document, kind in kinds.items() if kind in self._lending]
        sharing = await stories.members(conn, shared, seq) if shared else []
        return Story(
            key,
            sorted(transactions, key=lambda t: t.id)[: stories.TRANSACTIONS_MAX],
            _candidates(sharing[: stories.CANDIDATES_MAX]),
            len(transactions) > stories.TRANSACTIONS_MAX or len(sharing) > stories.CANDIDATES_MAX,
        )

    async def _named(self, conn: Connection, key: str, seq: int | None) -> list[Told]:
        for spelling in self._spellings(key):
            if found := await stories.events_by_key(conn, spelling, seq):
                return found
        return []

    async def _lent(
        self, conn: Connection, documents: Sequence[int], as_of: datetime, seq: int | None
    ) -> dict[int, list[Lent]]:
        """Look up what group documents lend, by the document that names them."""
        by_member: dict[int, list[Lent]] = {}
        found = await stories.lent_events(conn, documents, self._lending, seq)
        for lent in sorted(found, key=_place):
            if lent.occurred_at <= as_of:
                by_member.setdefault(lent.member, []).append(lent)
        return by_member

    def _transaction(
        self, events: Sequence[Told], lent: Mapping[int, Sequence[Lent]], as_of: datetime
    ) -> Transaction:
        happenings, lines = [], []
        documents: dict[int, Document] = {}
        named: set[tuple[int, Name]] = set()
        bodies: dict[str, Kept] = {}  # most events of a document say the same of it
        for told in events:
            body = bodies.get(told.body)
            if body is None:
                body = bodies[told.body] = kept_of(told.body)
                named.update(body.references)
            number = told.document
            if number not in documents:
                documents[number] = self._document(told, body)
            happenings.append(_happening(told, body, number, told.kind, None))
            lines.append(_line(told, body, None))
        shared = {}
        for by in (by for number in documents for by in lent.get(number, ())):
            body, group = kept_of(by.body), Group(by.document, by.kind)
            happenings.append(_happening(by, body, by.member, by.member_kind, group))
            shared[by.kind, by.type, by.event_id] = _line(by, body, f"{by.kind} {by.value}")
        case, lends = self._case(happenings, as_of)
        lines += [line for (kind, what, _), line in shared.items() if (kind, what) in lends]
        if len(documents) > 1 or shared:
            lines.sort(key=lambda e: (e.occurred_at, e.id))
        links = {(role, name.kind, name.value) for role, name in named}
        return Transaction(
            min(d.id for d in documents.values()),
            case.flow if case is not None else None,
            case.state if case is not None else "no flow",
            list(documents.values()),
            case.steps if case is not None else [],
            [Link(ROLE_NAMES[role], kind, value) for role, kind, value in sorted(links)],
            lines,
        )

    def _document(self, told: Told, body: Kept) -> Document:
        kind, scope, number = body.document
        system = self._systems.get(told.source, told.source)
        return Document(told.content_id.hex, kind, number, scope, system)

    def _case(
        self, happenings: Sequence[Happening], as_of: datetime
    ) -> tuple[Case | None, frozenset[tuple[str, str]]]:
        """Compute the case of the first flow that has one, and say what that flow takes from groups."""
        for flow in self._flows:
            found = flow.cases(happenings, as_of)
            if found:
                return found[0], flow.lends
        return None, frozenset()


def _place(told: Told) -> tuple[int, datetime, bytes]:
    """Return where an event is told: documents in the order of their arrival, however rows are found."""
    return told.document, told.occurred_at, told.event_id.bytes


def _happening(told: Told, body: Kept, document: int, kind: str, via: Group | None) -> Happening:
    return Happening(
        document,
        kind,
        told.type,
        told.occurred_at,
        told.sequence,
        told.event_id.bytes,
        told.amount_minor,
        told.currency,
        told.entity,
        body.message,
        via,
    )


def _line(told: Told, body: Kept, via: str | None) -> EventLine:
    return EventLine(
        told.event_id.hex,
        told.type,
        told.occurred_at,
        told.source,
        told.stream,
        told.content_id.hex,
        told.amount_minor,
        told.currency,
        body.status,
        body.message,
        via,
    )


def _candidates(rows: Sequence[Any]) -> list[Candidate]:
    return [
        Candidate(
            row["content_id"].hex,
            row["document_kind"],
            ROLE_NAMES[row["role"]],
            row["kind"],
            row["value"],
        )
        for row in rows
    ]
