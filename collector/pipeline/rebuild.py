"""Recompute everything derived from the facts and decisions: documents, references, components, steps.

The dump before and after is byte-equal, unless a rule has changed in between. Documents whose transaction
changes are moved as of now: what was known before is still known to have been known.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import NamedTuple

from collector.clock import Clock
from collector.model.reference import CUT, IDENTITY, OWN, Name, content_id, link_name
from collector.pipeline import correlate
from collector.pipeline.correlate import Limit
from collector.pipeline.prepare import references_hash
from collector.store import derived, ingest, links, membership, rows
from collector.store.ingest import Connection

COPY_ROWS = 20_000


class Document(NamedTuple):
    """A row of `document`, without its component."""

    number: int
    content: bytes
    references_hash: int
    span: rows.Span
    kind: str


class Reference(NamedTuple):
    """A row of `reference`: `content` is the content id of its name."""

    document: int
    batch: int
    role: int
    name: Name
    content: bytes


async def rebuild(conn: Connection, limit: Limit, clock: Clock) -> int:
    """Rebuild in one transaction, under the lock; return the number of documents."""
    async with conn.transaction():
        seq = await ingest.lock(conn) + 1
        placed = await derived.placements(conn)
        await derived.clear(conn)
        cuts = await links.cuts(conn)
        linked = _names_of_links(await links.added(conn))
        holders: dict[bytes, list[int]] = defaultdict(list)
        kinds: dict[bytes, str] = {}
        references: list[Reference] = []
        documents: list[Document] = []
        async for facts in derived.documents(conn):
            document, told = told_by(facts)
            documents.append(document)
            cut = cuts.of(document.content)
            of_links = _of_links(document, linked) if facts.stands else ()
            for r in (*_without(told, cut), *of_links):
                references.append(r)
                if r.role <= IDENTITY:
                    kinds[r.content] = r.name.kind
                    holders[r.content].append(r.document)
            if len(references) >= COPY_ROWS:
                await _copy_references(conn, references)
                references.clear()
        await _copy_references(conn, references)
        pieces = correlate.components(
            [d.number for d in documents],
            holders,
            lambda name: len(holders[name]) > limit(kinds[name]),
        )
        before = {document: component for document, (component, _) in placed.items()}
        fresh = iter(await ingest.next_documents(conn, len(pieces)))
        label_of = correlate.labels(pieces, before, fresh)
        await _copy_documents(conn, documents, placed, seq)
        await derived.fold_all(conn)
        moved = {d: label for d, label in label_of.items() if before.get(d, label) != label}
        await membership.place(conn, moved, seq)
        touched = {*label_of.values(), *before.values()}
        await membership.note_suspended(conn, touched, correlate.COMPONENT_DOCUMENTS_MAX, seq)
        if moved:
            await ingest.append_commit(conn, seq, "rebuild", clock())
    return len(documents)


def told_by(facts: derived.DocumentFacts) -> tuple[Document, list[Reference]]:
    """Return a document and its references as the events that stand tell them; none where none stands."""
    own = Name(*facts.name)
    facts.references.pop((IDENTITY, *own), None)
    told = [
        Reference(facts.document, batch, role, name := Name(*named), content_id(name))
        for (role, *named), batch in facts.references.items()
    ]
    hashed = references_hash((r.role, r.content) for r in told if r.role != OWN)
    span = reduce(rows.Span.joined, map(rows.span, facts.months))
    return Document(facts.document, content_id(own), hashed, span, own.kind), told


def _without(told: Iterable[Reference], cut: frozenset[bytes]) -> Iterable[Reference]:
    return (r._replace(role=CUT) if r.role == IDENTITY and r.content in cut else r for r in told)


def _names_of_links(pairs: Iterable[tuple[bytes, bytes]]) -> Mapping[bytes, list[Name]]:
    names: dict[bytes, list[Name]] = defaultdict(list)
    for pair in pairs:
        for document in pair:
            names[document].append(link_name(*pair))
    return names


def _of_links(document: Document, linked: Mapping[bytes, list[Name]]) -> Iterable[Reference]:
    return (
        Reference(document.number, links.DECIDED, IDENTITY, name, content_id(name))
        for name in linked.get(document.content, ())
    )


async def _copy_references(conn: Connection, references: Iterable[Reference]) -> None:
    packed: list[bytes] = []
    for r in references:
        packed += rows.reference_head(r.document, r.batch), rows.reference_tail(*r[2:])
    await ingest.copy(conn, "reference", packed)


async def _copy_documents(
    conn: Connection,
    documents: Iterable[Document],
    placed: Mapping[int, tuple[int, int]],
    seq: int,
) -> None:
    packed = [
        rows.document_row(
            d.number,
            *placed.get(d.number, (d.number, seq)),
            d.content,
            d.references_hash,
            d.span,
            d.kind,
        )
        for d in documents
    ]
    await ingest.copy(conn, "document", packed)
