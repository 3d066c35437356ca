"""Look-ups by key: whatever name a person has leads to the transaction's events."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from collector.model.reference import CONTEXT, CUT, GROUP, IDENTITY, OWN, fold, value_hash
from collector.store.ingest import Connection

TRANSACTIONS_MAX = 10
"""More transactions than this are not told as stories but offered as candidates."""

CANDIDATES_MAX = 20

_EVER = 2**62
"""A commit number beyond all that there will be."""

_STORY = "SELECT * FROM tieout.story($1, $2, $3, $4, $5)"

_LENT = """
SELECT o.value, gp.component, g.id, g.content_id, g.kind, e.event_id, e.type, e.occurred_at, e.sequence,
       e.amount_minor, e.currency, e.entity, s.source, s.stream, e.body, n.document, m.kind
FROM tieout.naming n
JOIN tieout.batch nb ON nb.id = n.batch AND nb.seq <= $3
JOIN tieout.document m ON m.id = n.document
JOIN tieout.placement mp ON mp.document = n.document AND mp.known_from <= $3 AND mp.known_to > $3
JOIN tieout.naming o ON o.value_hash = n.value_hash AND o.role = 0 AND o.known_to > $3
                       AND (o.kind, o.scope, o.value) = (n.kind, n.scope, n.value)
JOIN tieout.placement gp ON gp.document = o.document AND gp.known_from <= $3 AND gp.known_to > $3
    AND (gp.component <> mp.component OR gp.document <> mp.document AND mp.component IN (
         SELECT component FROM tieout.suspension WHERE known_from <= $3 AND known_to > $3))
JOIN tieout.document g ON g.id = o.document
CROSS JOIN LATERAL (SELECT * FROM tieout.event e WHERE e.document = g.id
                    AND e.month >= g.first_month AND e.month <= g.last_month) e
JOIN tieout.batch b ON b.id = e.batch AND b.seq <= $3
LEFT JOIN tieout.supersession z ON z.event_id = e.event_id AND z.revision_no = e.revision_no AND z.month = e.month
    AND z.seq <= $3
JOIN tieout.stream s ON s.id = b.stream
WHERE n.document = ANY ($1) AND n.role = 2 AND n.known_to > $3 AND n.kind = ANY ($2) AND z.seq IS NULL
"""

_MEMBERS = """
SELECT DISTINCT own.kind, own.value, own.role, d.content_id, d.kind AS document_kind
FROM tieout.naming g
JOIN tieout.naming n ON n.value_hash = g.value_hash AND n.role = 2 AND n.known_to > $3
                       AND (n.kind, n.scope, n.value) = (g.kind, g.scope, g.value)
JOIN tieout.batch b ON b.id = n.batch AND b.seq <= $3
JOIN tieout.document d ON d.id = n.document AND d.id <> g.document
JOIN tieout.naming own ON own.document = d.id AND own.role = 0 AND own.known_to > $3
WHERE g.document = ANY ($1) AND g.role = 0 AND g.known_to > $3
ORDER BY own.value, d.content_id LIMIT $2
"""


class Told(msgspec.Struct, frozen=True, gc=False):
    """An event that a key leads to, with the document that it is about: a row of `tieout.story`.

    `value` is the name that the key found; `component` the transaction of the document, whose number is `document` and
    whose type is `kind`.
    """

    value: str
    component: int
    document: int
    content_id: UUID
    kind: str
    event_id: UUID
    type: str
    occurred_at: datetime
    sequence: int | None
    amount_minor: int | None
    currency: str | None
    entity: str | None
    source: str
    stream: str
    body: str


class Lent(Told, frozen=True, gc=False):
    """An event of a group document, which `member`, a document of the type `member_kind`, only names; `value` is its number."""

    member: int
    member_kind: str


def at(seq: int | None) -> int:
    """Return a commit number for what is known at `seq`, or now."""
    return _EVER if seq is None else seq


async def commit_at(conn: Connection, as_known: datetime) -> int:
    """Return the number of the last commit known at K."""
    return int(await conn.fetchval("SELECT read.seq_at($1)", as_known))


async def events_by_key(conn: Connection, key: str, seq: int | None) -> list[Told]:
    """Return the events of the transactions that a key names, any reference or a document's id; known at commit `seq`, or now.

    A value held as identity, also where a person has cut it, goes before one that only links (group), and that
    before context. The events of at most TRANSACTIONS_MAX + 1 transactions are returned.
    """
    handle = _handle(key)
    if handle is not None:
        number = int.from_bytes(handle.bytes[:8], "big", signed=True)
        if found := await _story(conn, number, [OWN], handle, seq):
            return found
    number, folded = value_hash(key), fold(key)
    for roles in ([OWN, IDENTITY, CUT], [GROUP], [CONTEXT]):
        found = await _story(conn, number, roles, None, seq)
        meant = {value for value in {told.value for told in found} if fold(value) == folded}
        if meant:
            return [told for told in found if told.value in meant]
    return []


async def _story(
    conn: Connection, number: int, roles: Sequence[int], handle: UUID | None, seq: int | None
) -> list[Told]:
    found = await conn.fetch(_STORY, number, roles, handle, TRANSACTIONS_MAX + 1, seq)
    return [Told(*row) for row in found]


async def lent_events(
    conn: Connection, documents: Sequence[int], kinds: Sequence[str], seq: int | None
) -> list[Lent]:
    """Return the events of the group documents of some kinds that documents of other transactions name.

    One is there for each document that names its group document.
    """
    return [Lent(*row) for row in await conn.fetch(_LENT, documents, kinds, at(seq))]


async def members(
    conn: Connection, documents: Sequence[int], seq: int | None
) -> list[asyncpg.Record]:
    """Return the documents that name one of some documents as a group, at most CANDIDATES_MAX + 1."""
    found: list[asyncpg.Record] = await conn.fetch(_MEMBERS, documents, CANDIDATES_MAX + 1, at(seq))
    return found


def _handle(key: str) -> UUID | None:
    try:
        return UUID(key)
    except ValueError:
        return None
