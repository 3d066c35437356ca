"""The whole story behind a key: its transactions, their documents, steps and events."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from collector.model.calendar import Hours
from collector.model.reference import ROLE_NAMES
from collector.pipeline.publish import hours
from collector.pipeline.steps import Case, FlowSteps, Happening
from collector.settings.load import Configuration
from collector.store import stories
from collector.store.ingest import Connection

_decode = msgspec.json.Decoder(type=dict[str, Any]).decode


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
    """One event, as it is told."""

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


class Transaction(msgspec.Struct, frozen=True):
    """One business case end to end. `id` is the smallest id of its documents; each of them finds it."""

    id: str
    flow: str | None
    status: str
    documents: list[Document]
    steps: list[dict[str, Any]]
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
    """The answer to a key: transactions, or candidates where it names none or too many."""

    key: str
    transactions: list[Transaction]
    candidates: list[Candidate]
    has_more: bool = False


class Stories:
    """Tells stories by key, with the flows and calendars of a configuration."""

    def __init__(self, configuration: Configuration) -> None:
        settings = configuration.settings
        by_calendar = {name: hours(calendar) for name, calendar in settings.calendars.items()}
        self._hours: dict[str, Hours] = {
            name: by_calendar[entity.calendar] for name, entity in settings.entities.items()
        }
        self._systems = {name: source.system for name, source in settings.sources.items()}
        self._flows = [
            FlowSteps(flow, lambda entity: self._hours.get(entity or ""))
            for flow in configuration.flows
        ]

    async def tell(self, conn: Connection, key: str, as_of: datetime) -> Story:
        """Find what a key names and tell it as of a time.

        A key that names nothing is searched as a fragment: unique, it is followed; else there are
        candidates.
        """
        key = key.strip()
        found = await stories.events_by_key(conn, key)
        if not found and key:
            rows = await stories.candidates(conn, key)
            if len({row["component"] for row in rows}) != 1:
                more = len(rows) > stories.CANDIDATES_MAX
                listed = _candidates(rows[: stories.CANDIDATES_MAX])
                return Story(key, [], listed, more)
            found = await stories.events_by_key(conn, str(rows[0]["content_id"]))
        groups: dict[int, list[Any]] = {}
        for row in found:
            if row["occurred_at"] <= as_of:
                groups.setdefault(row["component"], []).append(row)
        told = [self._transaction(rows, as_of) for rows in groups.values()]
        return Story(
            key,
            sorted(told, key=lambda t: t.id)[: stories.TRANSACTIONS_MAX],
            [],
            len(told) > stories.TRANSACTIONS_MAX,
        )

    def _transaction(self, rows: Sequence[Any], as_of: datetime) -> Transaction:
        happenings, lines = [], []
        documents: dict[int, Document] = {}
        links: set[tuple[int, str, str]] = set()
        for row in rows:
            body = _decode(row["body"])
            document, event_id = row["id"], row["event_id"]
            if document not in documents:
                kind, scope, number = body["document"]
                system = self._systems.get(row["source"], row["source"])
                documents[document] = Document(row["content_id"].hex, kind, number, scope, system)
            links.update((role, name[0], name[2]) for role, name in body.get("references", ()))
            happenings.append(
                Happening(
                    document,
                    row["kind"],
                    row["type"],
                    row["occurred_at"],
                    row["sequence"],
                    event_id.bytes,
                    row["amount_minor"],
                    row["currency"],
                    row["entity"],
                    body.get("message"),
                )
            )
            lines.append(_line(row, body))
        case = self._case(happenings, as_of)
        lines.sort(key=lambda e: (e.occurred_at, e.id))
        return Transaction(
            min(d.id for d in documents.values()),
            case.flow if case is not None else None,
            case.state if case is not None else "no flow",
            list(documents.values()),
            [] if case is None else [_step(s) for s in case.steps],
            [Link(ROLE_NAMES[role], kind, value) for role, kind, value in sorted(links)],
            lines,
        )

    def _case(self, happenings: Sequence[Happening], as_of: datetime) -> Case | None:
        for flow in self._flows:
            found = flow.cases(happenings, as_of)
            if found:
                return found[0]
        return None


def _line(row: Any, body: Mapping[str, Any]) -> EventLine:  # noqa: ANN401 -- a database row
    return EventLine(
        row["event_id"].hex,
        row["type"],
        row["occurred_at"],
        row["source"],
        row["stream"],
        row["content_id"].hex,
        row["amount_minor"],
        row["currency"],
        body.get("status"),
        body.get("message"),
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
