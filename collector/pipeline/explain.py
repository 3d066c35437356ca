"""Why documents belong to one transaction: by which names, who told them, what a person decided, and since when."""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from collector.model.reference import CUT, IDENTITY, LINK, content_id, link_name
from collector.pipeline.correlate import COMPONENT_DOCUMENTS_MAX, Limit
from collector.store import evidence, explanations, ingest, links
from collector.store.evidence import Evidence
from collector.store.ingest import Connection
from collector.store.links import Decision


class Named(msgspec.Struct, frozen=True):
    """A document: what it is, its number and its id."""

    type: str
    number: str
    id: str


class Holding(msgspec.Struct, frozen=True):
    """Who holds a name, in which role; the stream and part that told it first, and when that became known.

    Where a person decided it, there is no stream.
    """

    document: str
    role: str
    stream: str | None
    part: str | None
    known_at: datetime | None


class Edge(msgspec.Struct, frozen=True):
    """A name and who holds it. `joins`, or why it does not: `why_not`. `decisions`: what persons decided of it."""

    kind: str
    scope: str
    value: str
    joins: bool
    why_not: str
    holders: list[Holding]
    decisions: list[int]


class Change(msgspec.Struct, frozen=True):
    """Documents that were one transaction went into others: one group, so they joined; several, so it was split."""

    at: datetime
    by: str
    groups: list[list[Named]]


class Decided(msgspec.Struct, frozen=True):
    """What a person or a rule decided; `undone_by` is the decision that took it back.

    `name` is the name that joins nothing (`other`), for the document or for all (action `ignore`).

    `evidence` is what a rule saw, also where a person accepted what it suggested.
    """

    id: int
    action: str
    document: str
    other: str
    name: str
    reason: str
    actor: str
    at: datetime
    undone_by: int | None
    evidence: Evidence | None


class Explanation(msgspec.Struct, frozen=True):
    """A transaction's documents, the names that join them (and those that do not), and its history.

    `path` are the names on the shortest way between the two documents that were asked about, if two were;
    empty where nothing joins them. `suspended`: so many documents are joined that each stands alone.
    """

    transaction: str
    suspended: bool
    documents: list[Named]
    edges: list[Edge]
    changes: list[Change]
    decisions: list[Decided]
    path: list[Edge] | None


async def decided(conn: Connection, decisions: Sequence[Decision]) -> list[Decided]:
    """Return decisions as they are shown, with what stands behind them."""
    behind = await evidence.of_decisions(conn, [d.id for d in decisions])
    return [
        Decided(
            d.id,
            d.action,
            d.document.hex(),
            d.other.hex(),
            d.name,
            d.reason,
            d.actor,
            d.recorded_at,
            d.undone_by,
            behind.get(d.id),
        )
        for d in decisions
    ]


async def explain(
    conn: Connection, limit: Limit, key: str, other: str | None = None
) -> Explanation:
    """Explain the transaction of the document that a key (number or id) names, or what joins it to another.

    Raises:
        Permanent: a key names no document, or several.
    """
    asked = await links.member(conn, key)
    target = await links.member(conn, other) if other is not None else None
    rows = await explanations.members(conn, asked.component, COMPONENT_DOCUMENTS_MAX + 1)
    named = {row["id"]: Named(row["kind"], row["number"], row["content_id"].hex) for row in rows}
    held: dict[bytes, list[Any]] = defaultdict(list)
    for row in await explanations.names(conn, list(named)):
        held[ingest.content_of(row["value_hash"], row["name_hash"])].append(row)
    about = [*(bytes.fromhex(n.id) for n in named.values()), *held]
    made = await links.decisions(conn, about)
    edges = await _edges(conn, limit, named, held, made)
    suspended = bool(rows) and rows[0]["suspended"]
    return Explanation(
        asked.id.hex() if suspended else min(n.id for n in named.values()),
        suspended,
        list(named.values()),
        edges,
        _changes(await explanations.moves(conn, list(named))),
        await decided(conn, made),
        None if target is None else _path(edges, asked.id.hex(), target.id.hex()),
    )


async def _edges(
    conn: Connection,
    limit: Limit,
    named: Mapping[int, Named],
    held: Mapping[bytes, Sequence[Any]],
    made: Sequence[Decision],
) -> list[Edge]:
    """Return the names that several documents hold, or would be joined by."""
    most = {name: limit(rows[0]["kind"]) for name, rows in held.items()}
    stored = await ingest.look_up(conn, list(most), list(most.values()))
    decisions: dict[bytes, list[int]] = defaultdict(list)
    for d in made:
        name = content_id(link_name(d.document, d.other)) if d.action == "add" else d.other
        decisions[name].append(d.id)
    edges = []
    for name, rows in held.items():
        everyone = len(stored.get(name, ()))
        cut = any(row["role"] == CUT for row in rows)
        if everyone < 2 and not cut:  # noqa: PLR2004 -- a name joins two
            continue
        why_not = ""
        if everyone > most[name]:
            why_not = f"more than {most[name]} documents hold it"
        elif everyone < 2:  # noqa: PLR2004 -- as above
            why_not = "cut"
        edges.append(_edge(rows, named, why_not, decisions[name]))
    return edges


def _edge(
    rows: Sequence[Any], named: Mapping[int, Named], why_not: str, decisions: list[int]
) -> Edge:
    roles = {0: "own", IDENTITY: "identity", CUT: "cut"}
    holders = [
        Holding(
            named[row["document"]].id,
            "linked" if row["kind"] == LINK else roles[row["role"]],
            None if row["source"] is None else f"{row['source']}/{row['stream']}",
            row["part_name"],
            row["recorded_at"],
        )
        for row in rows
    ]
    first = rows[0]
    return Edge(
        first["kind"], first["scope"], first["value"], not why_not, why_not, holders, decisions
    )


def _changes(rows: Iterable[Any]) -> list[Change]:
    moves: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for row in rows:
        moves[row["known_to"], row["component"]].append(row)
    changes = []
    for moved in moves.values():
        groups: dict[int, list[Named]] = defaultdict(list)
        for row in moved:
            groups[row["went_to"]].append(Named(row["kind"], row["number"], row["content_id"].hex))
        changes.append(Change(moved[0]["recorded_at"], moved[0]["what"], list(groups.values())))
    return changes


def _path(edges: Sequence[Edge], start: str, end: str) -> list[Edge]:
    """Return the names on the shortest way from one document to another; none where there is no way."""
    joining = [
        (edge, [h.document for h in edge.holders if h.role != "cut"])
        for edge in edges
        if edge.joins
    ]
    came: dict[str, tuple[str, Edge] | None] = {start: None}
    waiting = deque([start])
    while waiting and end not in came:
        document = waiting.popleft()
        for edge, held_by in joining:
            if document in held_by:
                for other in held_by:
                    if other not in came:
                        came[other] = document, edge
                        waiting.append(other)
    path: list[Edge] = []
    step = came.get(end)
    while step is not None:
        path.append(step[1])
        step = came[step[0]]
    return path[::-1]
