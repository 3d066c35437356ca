"""Recompute everything derived from the facts: documents, references, components, steps.

The dump before and after is byte-equal, unless a rule has changed in between. Documents whose transaction
changes are moved as of now: what was known before is still known to have been known.
"""

from collections import defaultdict
from collections.abc import Iterable

from collector.clock import Clock
from collector.model.reference import IDENTITY, OWN, Name, digest
from collector.pipeline import correlate
from collector.pipeline.commit import Limit
from collector.pipeline.prepare import references_hash
from collector.store import derived, ingest, rows
from collector.store.ingest import Connection

COPY_DOCUMENTS = 5_000


async def rebuild(conn: Connection, limit: Limit, clock: Clock) -> int:
    """Rebuild in one transaction, under the lock; return the number of documents."""
    async with conn.transaction():
        seq = await ingest.lock(conn) + 1
        placed = await derived.placements(conn)
        await derived.clear(conn)
        holders: dict[tuple[str, bytes], list[int]] = defaultdict(list)
        found: list[derived.DocumentFacts] = []
        seen: list[tuple[int, Name, derived.DocumentFacts]] = []
        async for document in derived.documents(conn):
            name = Name(*document.name)
            document.references.pop((IDENTITY, *name), None)
            for role, *reference in document.references:
                if role <= IDENTITY:
                    holders[reference[0], digest(*reference)].append(document.document)
            found.append(document)
            seen.append((document.document, name, document))
            if len(found) >= COPY_DOCUMENTS:
                await _copy_references(conn, found)
                found.clear()
        await _copy_references(conn, found)
        label_of = await _labels(conn, [d for d, _, _ in seen], holders, limit, placed)
        await _copy_documents(conn, seen, placed, seq)
        await derived.fold_all(conn)
        moved = {d: label for d, label in label_of.items() if placed.get(d, (label, 0))[0] != label}
        await ingest.place(conn, moved, seq)
        await ingest.note_suspended(conn, set(label_of.values()), correlate.COMPONENT_DOCUMENTS_MAX)
        if moved:
            await ingest.append_commit(conn, seq, "rebuild", clock())
    return len(seen)


async def _copy_references(conn: Connection, documents: Iterable[derived.DocumentFacts]) -> None:
    await ingest.copy(
        conn,
        "reference",
        [
            rows.reference_row(d.document, batch, role, Name(kind, scope, value))
            for d in documents
            for (role, kind, scope, value), batch in d.references.items()
        ],
    )


async def _copy_documents(
    conn: Connection,
    seen: Iterable[tuple[int, Name, derived.DocumentFacts]],
    placed: dict[int, tuple[int, int]],
    seq: int,
) -> None:
    await ingest.copy(
        conn,
        "document",
        [
            rows.document_row(
                d,
                *placed.get(d, (d, seq)),
                name,
                references_hash(
                    (role, Name(*reference)) for role, *reference in f.references if role != OWN
                ),
                f.first_month,
                f.last_month,
            )
            for d, name, f in seen
        ],
    )


async def _labels(
    conn: Connection,
    documents: list[int],
    holders: dict[tuple[str, bytes], list[int]],
    limit: Limit,
    placed: dict[int, tuple[int, int]],
) -> dict[int, int]:
    """Label the components; a component that is as it was keeps its label."""
    joining = {Name(kind, "", key.hex()): held for (kind, key), held in holders.items()}
    pieces = correlate.components(
        documents, joining, lambda name: len(joining[name]) > limit(name.kind)
    )
    before: dict[int, set[int]] = defaultdict(set)
    for document, (component, _) in placed.items():
        before[component].add(document)
    fresh = iter(await ingest.next_documents(conn, len(pieces)))
    label_of: dict[int, int] = {}
    for piece in pieces:
        old = placed.get(piece[0], (0, 0))[0]
        label = old if before.get(old) == set(piece) else next(fresh)
        label_of |= dict.fromkeys(piece, label)
    return label_of
