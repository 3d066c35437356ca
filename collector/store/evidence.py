"""What rules saw when they linked documents, and what they suggest to a person."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from asyncpg.pgproto.pgproto import UUID

from collector.store.ingest import Connection

QUESTIONED = "QUESTIONED"
"""Why something is suggested: a link that a rule made has a rival by now, or nothing speaks for it any more."""

_APART = """
SELECT d.document, d.other FROM tieout.link_decision d
WHERE d.action = 'add' AND EXISTS (SELECT FROM tieout.link_decision u WHERE u.undoes = d.id)
UNION ALL
SELECT c.document, d.content_id
FROM (SELECT document, replace(other::text, '-', '') AS name FROM tieout.link_standing WHERE action = 'cut') c
JOIN tieout.reference r ON r.value_hash = ('x' || left(c.name, 16))::bit(64)::bigint
                       AND r.name_hash = ('x' || right(c.name, 16))::bit(64)::bigint
JOIN tieout.document d ON d.id = r.document
"""

_SINCE = """
SELECT coalesce(d.document, u.document), coalesce(d.other, u.other) FROM tieout.link_decision d
LEFT JOIN tieout.link_decision u ON u.id = d.undoes WHERE d.seq > $1
"""

_INSERT = """
INSERT INTO tieout.link_decision (seq, action, document, other, reason, actor)
SELECT $1, 'add', * FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[]) RETURNING id, document, other
"""

_NAMED = """
SELECT d.content_id, d.kind, n.value FROM tieout.reference n JOIN tieout.document d ON d.id = n.document
WHERE n.value_hash = ANY ($2) AND n.role = 0 AND d.content_id = ANY ($1)
"""


class Rival(msgspec.Struct, frozen=True):
    """Another pair of one of two documents, by content id, and its score."""

    document: str
    other: str
    score: int


class Evidence(msgspec.Struct, frozen=True):
    """Why two documents were linked.

    `fields`: by name, "equal" or how alike from 0 to 100. `rivals`: the other pairs, the highest first.
    `seen` is the last commit that was known.
    """

    automatic: bool
    rule: str
    version: str
    score: int
    fields: dict[str, str | int]
    rivals: list[Rival]
    seen: int


class Candidate(msgspec.Struct, frozen=True):
    """A document that another one may belong to. `linked`: a rule linked it, to this or to another."""

    document: str
    score: int
    days_apart: int
    fields: dict[str, str | int]
    rivals: list[Rival]
    linked: str | None


class Suggestion(msgspec.Struct, frozen=True):
    """What a rule suggests about a document: its candidates, the likeliest first; `why` it did not link it.

    `more`: so many candidates it has beside these.
    """

    id: str
    rule: str
    version: str
    document: str
    why: str
    candidates: list[Candidate]
    more: int
    seen: int


class Made(NamedTuple):
    """A decision to be entered: to link two documents, by content id."""

    document: bytes
    other: bytes
    reason: str
    actor: str
    evidence: Evidence


async def insert(conn: Connection, seq: int, made: Sequence[Made]) -> list[int]:
    """Enter decisions with what stands behind them; return their numbers, in that order."""
    found = await conn.fetch(
        _INSERT,
        seq,
        [UUID(m.document) for m in made],
        [UUID(m.other) for m in made],
        [m.reason for m in made],
        [m.actor for m in made],
    )
    numbers = {(row["document"].bytes, row["other"].bytes): row["id"] for row in found}
    in_order = [numbers[m.document, m.other] for m in made]
    await conn.copy_records_to_table(
        "link_evidence",
        records=[(n, *_row(m.evidence)) for n, m in zip(in_order, made, strict=True)],
        schema_name="tieout",
    )
    return in_order


def _row(evidence: Evidence) -> tuple[Any, ...]:
    *before, fields, rivals, seen = msgspec.structs.astuple(evidence)
    return (*before, _json(fields), _json(rivals), seen)


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


async def of_decisions(conn: Connection, numbers: Iterable[int]) -> dict[int, Evidence]:
    """Return what stands behind decisions, by number, where anything does."""
    found = await conn.fetch(
        "SELECT * FROM tieout.link_evidence WHERE decision = ANY ($1)", list(numbers)
    )
    return {
        row["decision"]: Evidence(
            row["automatic"],
            row["rule"],
            row["version"],
            row["score"],
            msgspec.json.decode(row["fields"]),
            msgspec.json.decode(row["rivals"], type=list[Rival]),
            row["seen"],
        )
        for row in found
    }


async def made_by_rules(conn: Connection) -> list[tuple[bytes, bytes]]:
    """Return the pairs that rules linked and nobody took back."""
    found = await conn.fetch(
        "SELECT d.document, d.other FROM tieout.link_standing d"
        " JOIN tieout.link_evidence e ON e.decision = d.id AND e.automatic"
    )
    return [(document.bytes, other.bytes) for document, other in found]


async def number_of(conn: Connection, a: bytes, b: bytes) -> int | None:
    """Return the number of the decision by which a rule linked two documents, if it stands."""
    number: int | None = await conn.fetchval(
        "SELECT d.id FROM tieout.link_standing d JOIN tieout.link_evidence e ON e.decision = d.id AND e.automatic"
        " WHERE ARRAY[d.document, d.other] @> ARRAY[$1::uuid, $2::uuid]",
        UUID(a),
        UUID(b),
    )
    return number


async def apart(conn: Connection) -> set[frozenset[bytes]]:
    """Return the pairs that a person parted: took a link of them back, or cut one from a name of the other."""
    return {frozenset((d.bytes, o.bytes)) for d, o in await conn.fetch(_APART)}


async def decided_since(conn: Connection, seq: int) -> set[bytes]:
    """Return the documents, and names, about which something was decided after a commit."""
    return {about.bytes for row in await conn.fetch(_SINCE, seq) for about in row}


async def replace_suggestions(
    conn: Connection, rule: str, suggestions: Sequence[Suggestion]
) -> None:
    """Have a rule suggest this and nothing else."""
    async with conn.transaction():
        await conn.execute("LOCK TABLE tieout.link_suggestion IN EXCLUSIVE MODE")  # one at a time
        await conn.execute("DELETE FROM tieout.link_suggestion WHERE rule = $1", rule)
        await conn.copy_records_to_table(
            "link_suggestion",
            records=[
                (
                    s.id,
                    s.rule,
                    s.version,
                    UUID(s.document),
                    s.why,
                    _json(s.candidates),
                    s.more,
                    s.seen,
                )
                for s in suggestions
            ],
            schema_name="tieout",
        )


async def forget_rules(conn: Connection, rules: Sequence[str]) -> None:
    """Strike out what rules suggested that are not among these any more."""
    await conn.execute("DELETE FROM tieout.link_suggestion WHERE NOT rule = ANY ($1)", list(rules))


async def suggestions(
    conn: Connection, rule: str | None, after: str, most: int
) -> list[Suggestion]:
    """Return suggestions by id, of one rule or of all, at most so many after one."""
    found = await conn.fetch(
        "SELECT * FROM tieout.link_suggestion WHERE ($1::text IS NULL OR rule = $1) AND id > $2"
        " ORDER BY id LIMIT $3",
        rule,
        after,
        most,
    )
    return [_suggestion(row) for row in found]


async def suggestion(conn: Connection, id_: str) -> Suggestion | None:
    """Return a suggestion; None where there is none of that id, or not any more."""
    row = await conn.fetchrow("SELECT * FROM tieout.link_suggestion WHERE id = $1", id_)
    return None if row is None else _suggestion(row)


async def drop_suggestion(conn: Connection, id_: str) -> None:
    """Strike out a suggestion that a person has answered."""
    await conn.execute("DELETE FROM tieout.link_suggestion WHERE id = $1", id_)


def _suggestion(row: Mapping[str, Any]) -> Suggestion:
    return Suggestion(
        row["id"],
        row["rule"],
        row["version"],
        row["document"].hex,
        row["why"],
        msgspec.json.decode(row["candidates"], type=list[Candidate]),
        row["more"],
        row["seen"],
    )


async def named(conn: Connection, documents: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return (kind, number) of documents by content id, in hexadecimal."""
    ids = [bytes.fromhex(d) for d in set(documents)]
    values = [int.from_bytes(i[:8], "big", signed=True) for i in ids]
    found = await conn.fetch(_NAMED, [UUID(i) for i in ids], values)
    return {row["content_id"].hex: (row["kind"], row["value"]) for row in found}
