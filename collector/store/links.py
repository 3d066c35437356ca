"""What persons and rules decided about documents: links added and cut, and taken back."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from asyncpg.pgproto.pgproto import UUID

from collector.errors import Permanent
from collector.model.reference import IDENTITY, Name, fold, value_hash
from collector.store import ingest
from collector.store.ingest import Connection


class Cuts(msgspec.Struct, frozen=True):
    """The names that join nothing: for single documents, and for all. All by content id."""

    by_document: Mapping[bytes, frozenset[bytes]] = {}
    ignored: frozenset[bytes] = frozenset()

    def of(self, document: bytes) -> frozenset[bytes]:
        """Return the names that join nothing for a document."""
        own = self.by_document.get(document)
        return self.ignored if own is None else self.ignored | own

    def __bool__(self) -> bool:
        """Tell whether anything is cut."""
        return bool(self.by_document or self.ignored)


DECIDED = 0
"""Stands for the batch of a reference that a person or a rule decided and no source told."""

_DECISIONS = """
SELECT d.id, d.action, d.document, d.other, coalesce(n.name, ''), d.reason, d.actor, l.recorded_at, u.id AS undone_by
FROM tieout.link_decision d JOIN tieout.commit_log l ON l.seq = d.seq
LEFT JOIN tieout.link_decision u ON u.undoes = d.id
LEFT JOIN LATERAL (SELECT concat_ws(' ', r.kind, nullif(r.scope, ''), r.value) AS name FROM tieout.reference r
    WHERE d.action IN ('cut', 'ignore') AND r.kind <> 'link:decided'
      AND r.value_hash = ('x' || left(replace(d.other::text, '-', ''), 16))::bit(64)::bigint
      AND r.name_hash = ('x' || right(replace(d.other::text, '-', ''), 16))::bit(64)::bigint LIMIT 1) n ON true
"""

_LINKED = """
SELECT s.document, s.other FROM unnest($1::uuid[]) q(id)
JOIN tieout.link_standing s ON s.action = 'add' AND s.document = q.id
UNION ALL
SELECT s.other, s.document FROM unnest($1::uuid[]) q(id)
JOIN tieout.link_standing s ON s.action = 'add' AND s.other = q.id
"""

_HOLDERS = """
SELECT d.id, d.content_id, d.component, d.kind, n.value AS number
FROM tieout.reference r JOIN tieout.document d ON d.id = r.document
JOIN tieout.reference n ON n.document = d.id AND n.role = 0
WHERE r.value_hash = $1 AND r.role = 0 AND ($2::uuid IS NULL OR d.content_id = $2)
ORDER BY d.content_id
"""


class Decision(msgspec.Struct, frozen=True):
    """A decision: `other` is the other document (add) or the name that joins nothing (cut, ignore).

    `name` is that name as people read it. `undone_by` is the decision that took it back.
    """

    id: int
    action: str
    document: bytes
    other: bytes
    name: str
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


async def decisions(conn: Connection, about: Iterable[bytes] | None = None) -> list[Decision]:
    """Return the links of some documents, or all, that were added or cut, in the order in which that was decided."""
    ids = None if about is None else [UUID(document) for document in about]
    found = await conn.fetch(
        f"{_DECISIONS} WHERE d.action <> 'undo' AND ($1::uuid[] IS NULL OR d.document = ANY ($1)"
        " OR d.other = ANY ($1)) ORDER BY d.id",
        ids,
    )
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


def _decision(
    number: int,
    action: str,
    document: UUID,
    other: UUID,
    *rest: Any,  # noqa: ANN401 -- as in Decision
) -> Decision:
    return Decision(number, action, document.bytes, other.bytes, *rest)


async def cuts(conn: Connection) -> Cuts:
    """Return what is cut now."""
    found = await conn.fetch(
        "SELECT action, document, other FROM tieout.link_standing WHERE action IN ('cut', 'ignore')"
    )
    names: dict[bytes, set[bytes]] = defaultdict(set)
    for action, document, name in found:
        if action == "cut":
            names[document.bytes].add(name.bytes)
    ignored = frozenset(name.bytes for action, _, name in found if action == "ignore")
    return Cuts({document: frozenset(cut) for document, cut in names.items()}, ignored)


async def linked(conn: Connection, documents: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Return which documents are linked now with each of these, by content id."""
    others: dict[bytes, list[bytes]] = defaultdict(list)
    for document, other in await conn.fetch(_LINKED, [UUID(d) for d in documents]):
        others[document.bytes].append(other.bytes)
    return others


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


async def name_held(conn: Connection, kind: str, value: str, scope: str | None) -> Name:
    """Return the name of a kind that documents hold to be joined by it, as it is stored.

    Raises:
        Permanent: none holds it, or it is held in several scopes.
    """
    found = await conn.fetch(
        "SELECT DISTINCT kind, scope, value FROM tieout.reference WHERE value_hash = $1 AND kind = $2"
        " AND role IN (1, 4) AND ($3::text IS NULL OR scope = $3) ORDER BY 1, 2, 3",
        value_hash(value),
        kind,
        scope,
    )
    names = [Name(*row) for row in found if fold(row["value"]) == fold(value)]
    if not names:
        raise Permanent(f"No document is joined by the {kind} '{value}'.")
    if len(names) > 1:
        scopes = ", ".join(f"'{name.scope}' ({name.value})" for name in names)
        raise Permanent(f"Several go by the {kind} '{value}', in {scopes}: say which by --scope.")
    return names[0]


async def shared_names(conn: Connection, a: int, b: int) -> dict[bytes, tuple[int, int]]:
    """Return the names by which two documents are joined: {content id: (role for a, role for b)}."""
    roles: dict[bytes, dict[int, int]] = defaultdict(dict)
    for document, role, name in await ingest.known_references(conn, [a, b]):
        if role <= IDENTITY:
            roles[name][document] = min(role, roles[name].get(document, IDENTITY))
    return {n: (held[a], held[b]) for n, held in roles.items() if a in held and b in held}
