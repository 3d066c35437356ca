"""The whole story behind a key: its transactions, their documents, steps and events."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

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
        groups: dict[int, list[Any]] = {}
        for row in sorted(found, key=_place):
            if row["occurred_at"] <= as_of:
                groups.setdefault(row["component"], []).append(row)
        kinds = {row["id"]: row["kind"] for rows in groups.values() for row in rows}
        lent = await self._lent(conn, list(kinds), as_of, seq) if self._lending else {}
        told = [self._transaction(rows, lent, as_of) for rows in groups.values()]
        shared = [document for document, kind in kinds.items() if kind in self._lending]
        sharing = await stories.members(conn, shared, seq) if shared else []
        return Story(
            key,
            sorted(told, key=lambda t: t.id)[: stories.TRANSACTIONS_MAX],
            _candidates(sharing[: stories.CANDIDATES_MAX]),
            len(told) > stories.TRANSACTIONS_MAX or len(sharing) > stories.CANDIDATES_MAX,
        )

    async def _named(self, conn: Connection, key: str, seq: int | None) -> list[Any]:
        for spelling in self._spellings(key):
            if found := await stories.events_by_key(conn, spelling, seq):
                return found
        return []

    async def _lent(
        self, conn: Connection, documents: Sequence[int], as_of: datetime, seq: int | None
    ) -> dict[int, list[Any]]:
        """Look up what group documents lend, by the document that names them."""
        lent: dict[int, list[Any]] = {}
        rows = await stories.lent_events(conn, documents, self._lending, seq)
        for row in sorted(rows, key=_place):
            if row["occurred_at"] <= as_of:
                lent.setdefault(row["member"], []).append(row)
        return lent

    def _transaction(
        self, rows: Sequence[Any], lent: Mapping[int, Sequence[Any]], as_of: datetime
    ) -> Transaction:
        happenings, lines = [], []
        documents: dict[int, Document] = {}
        named: set[tuple[int, Name]] = set()
        for row in rows:
            body = kept_of(row["body"])
            document = row["id"]
            if document not in documents:
                kind, scope, number = body.document
                system = self._systems.get(row["source"], row["source"])
                documents[document] = Document(row["content_id"].hex, kind, number, scope, system)
            named.update(body.references)
            happenings.append(_happening(row, body, document, row["kind"], None))
            lines.append(_line(row, body, None))
        shared = {}
        for row in (row for document in documents for row in lent.get(document, ())):
            body, group = kept_of(row["body"]), Group(row["id"], row["kind"])
            happenings.append(_happening(row, body, row["member"], row["member_kind"], group))
            shared[row["kind"], row["type"], row["event_id"]] = _line(
                row, body, f"{row['kind']} {row['number']}"
            )
        case, lends = self._case(happenings, as_of)
        lines += [line for (kind, what, _), line in shared.items() if (kind, what) in lends]
        lines.sort(key=lambda e: (e.occurred_at, e.id))
        links = {(role, name.kind, name.value) for role, name in named}
        return Transaction(
            min(d.id for d in documents.values()),
            case.flow if case is not None else None,
            case.state if case is not None else "no flow",
            list(documents.values()),
            [] if case is None else [_step(s) for s in case.steps],
            [Link(ROLE_NAMES[role], kind, value) for role, kind, value in sorted(links)],
            lines,
        )

    def _case(
        self, happenings: Sequence[Happening], as_of: datetime
    ) -> tuple[Case | None, frozenset[tuple[str, str]]]:
        """Compute the case of the first flow that has one, and say what that flow takes from groups."""
        for flow in self._flows:
            found = flow.cases(happenings, as_of)
            if found:
                return found[0], flow.lends
        return None, frozenset()


def _place(row: Any) -> tuple[int, datetime, bytes]:  # noqa: ANN401 -- a database row
    """Return where an event is told: documents in the order of their arrival, however rows are found."""
    return row["id"], row["occurred_at"], row["event_id"].bytes


def _happening(
    row: Any,  # noqa: ANN401 -- a database row
    body: Kept,
    document: int,
    kind: str,
    via: Group | None,
) -> Happening:
    return Happening(
        document,
        kind,
        row["type"],
        row["occurred_at"],
        row["sequence"],
        row["event_id"].bytes,
        row["amount_minor"],
        row["currency"],
        row["entity"],
        body.message,
        via,
    )


def _line(row: Any, body: Kept, via: str | None) -> EventLine:  # noqa: ANN401 -- a database row
    return EventLine(
        row["event_id"].hex,
        row["type"],
        row["occurred_at"],
        row["source"],
        row["stream"],
        row["content_id"].hex,
        row["amount_minor"],
        row["currency"],
        body.status,
        body.message,
        via,
    )


def _step(state: Any) -> dict[str, Any]:  # noqa: ANN401 -- a StepState
    out: dict[str, Any] = msgspec.structs.asdict(state)
    return out


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
