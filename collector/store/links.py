"""What persons decided about documents: links added and cut, and taken back."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec
from asyncpg.pgproto.pgproto import UUID

from collector.errors import Permanent
from collector.model.reference import IDENTITY, fold, value_hash
from collector.store import ingest
from collector.store.ingest import Connection

Cuts = Mapping[bytes, frozenset[bytes]]
"""By document, the names that join nothing for it: all by content id."""

DECIDED = 0
"""Stands for the batch of a reference that a person decided and no source told."""

_DECISIONS = """
SELECT d.id, d.action, d.document, d.other, d.reason, d.actor, l.recorded_at, u.id AS undone_by
FROM tieout.link_decision d JOIN tieout.commit_log l ON l.seq = d.seq
LEFT JOIN tieout.link_decision u ON u.undoes = d.id
"""

_HOLDERS = """
SELECT d.id, d.content_id, d.component, d.kind, n.value AS number
FROM tieout.reference r JOIN tieout.document d ON d.id = r.document
JOIN tieout.reference n ON n.document = d.id AND n.role = 0
WHERE r.value_hash = $1 AND r.role = 0 AND ($2::uuid IS NULL OR d.content_id = $2)
ORDER BY d.content_id
"""


class Decision(msgspec.Struct, frozen=True):
    """A decision: `other` is the other document (add) or the name that joins nothing (cut).

    `undone_by` is the decision that took it back.
    """

    id: int
    action: str
    document: bytes
    other: bytes
    reason: str
    actor: str
    recorded_at: datetime
    undone_by: int | None


class Member(NamedTuple):
    """A stored document, as one who decides about it sees it. `id` is its content id."""

    document: int
    id: bytes
    component: int
    kind: str
    number: str


async def insert(  # noqa: PLR0913 -- a row's columns
    conn: Connection,
    seq: int,
    action: str,
    reason: str,
    actor: str,
    *,
    about: tuple[bytes, bytes] | None = None,
    undoes: int | None = None,
) -> int:
    """Enter a decision about a document and another, or the undoing of one; return its number."""
    document, other = map(UUID, about) if about is not None else (None, None)
    return int(
        await conn.fetchval(
            "INSERT INTO tieout.link_decision (seq, action, document, other, undoes, reason, actor)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
            seq,
            action,
            document,
            other,
            undoes,
            reason,
            actor,
        )
    )


async def decisions(conn: Connection) -> list[Decision]:
    """Return all links that were added or cut, in the order in which that was decided."""
    found = await conn.fetch(f"{_DECISIONS} WHERE d.action <> 'undo' ORDER BY d.id")
    return [_decision(*row) for row in found]


async def decision(conn: Connection, number: int) -> Decision:
    """Return a link that was added or cut.

    Raises:
        Permanent: there is none of that number.
    """
    row = await conn.fetchrow(f"{_DECISIONS} WHERE d.action <> 'undo' AND d.id = $1", number)
    if row is None:
        raise Permanent(f"There is no link {number}. See `tieout link list`.")
    return _decision(*row)


def _decision(  # noqa: PLR0913, PLR0917 -- a row's columns
    number: int,
    action: str,
    document: UUID,
    other: UUID,
    reason: str,
    actor: str,
    recorded_at: datetime,
    undone_by: int | None,
) -> Decision:
    about = document.bytes, other.bytes
    return Decision(number, action, *about, reason, actor, recorded_at, undone_by)


class Standing(NamedTuple):
    """What persons decided and nobody took back: cuts, and the documents that each document is linked with."""

    cuts: Cuts
    linked: Cuts


async def standing(conn: Connection) -> Standing:
    """Return the decisions that stand now."""
    cut: dict[bytes, set[bytes]] = defaultdict(set)
    linked: dict[bytes, set[bytes]] = defaultdict(set)
    for action, document, other in await conn.fetch(
        "SELECT action, document, other FROM tieout.link_standing"
    ):
        if action == "cut":
            cut[document.bytes].add(other.bytes)
        else:
            linked[document.bytes].add(other.bytes)
            linked[other.bytes].add(document.bytes)
    return Standing(*({d: frozenset(n) for d, n in names.items()} for names in (cut, linked)))


async def cuts(conn: Connection) -> Cuts:
    """Return what is cut now."""
    return (await standing(conn)).cuts


async def added(conn: Connection) -> list[tuple[bytes, bytes]]:
    """Return the pairs of documents that are linked now, by content id."""
    found = await conn.fetch(
        "SELECT document, other FROM tieout.link_standing WHERE action = 'add'"
    )
    return [(document.bytes, other.bytes) for document, other in found]


async def member(conn: Connection, key: str) -> Member:
    """Return the document that a key names: its id or its number.

    Raises:
        Permanent: none or several go by it.
    """
    key = key.strip()
    try:
        handle: UUID | None = UUID(key)
    except ValueError:
        handle = None
    by_value = value_hash(key)
    if handle is not None:
        by_value = int.from_bytes(handle.bytes[:8], "big", signed=True)
    found = [
        Member(row["id"], row["content_id"].bytes, *row[2:])
        for row in await conn.fetch(_HOLDERS, by_value, handle)
        if handle is not None or fold(row["number"]) == fold(key)
    ]
    if not found:
        raise Permanent(f"No document goes by '{key}': give its number or its id (`tieout trace`).")
    if len(found) > 1:
        named = ", ".join(f"{m.kind} {m.number} ({m.id.hex()})" for m in found)
        raise Permanent(f"Several documents go by '{key}': {named}. Give the id of the one meant.")
    return found[0]


async def shared_names(conn: Connection, a: int, b: int) -> dict[bytes, tuple[int, int]]:
    """Return the names by which two documents are joined: {content id: (role for a, role for b)}."""
    roles: dict[bytes, dict[int, int]] = defaultdict(dict)
    for document, role, name in await ingest.known_references(conn, [a, b]):
        if role <= IDENTITY:
            roles[name][document] = min(role, roles[name].get(document, IDENTITY))
    return {n: (held[a], held[b]) for n, held in roles.items() if a in held and b in held}
