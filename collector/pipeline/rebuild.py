"""Recompute everything derived from the facts: documents, references, components, steps.

The dump before and after is byte-equal, unless a rule has changed in between. Documents whose transaction
changes are moved as of now: what was known before is still known to have been known.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from collector.clock import Clock
from collector.model.reference import IDENTITY, OWN, Name, content_id
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
        holders: dict[bytes, list[int]] = defaultdict(list)
        kinds: dict[bytes, str] = {}
        found: list[derived.DocumentFacts] = []
        seen: list[tuple[int, Name, derived.DocumentFacts]] = []
        async for document in derived.documents(conn):
            name = Name(*document.name)
            document.references.pop((IDENTITY, *name), None)
            for role, *reference in document.references:
                if role <= IDENTITY:
                    key = content_id(Name(*reference))
                    kinds[key] = reference[0]
                    holders[key].append(document.document)
            found.append(document)
            seen.append((document.document, name, document))
            if len(found) >= COPY_DOCUMENTS:
                await _copy_references(conn, found)
                found.clear()
        await _copy_references(conn, found)
        label_of = await _labels(
            conn, [d for d, _, _ in seen], holders, lambda key: limit(kinds[key]), placed
        )
        await _copy_documents(conn, seen, placed, seq)
        await derived.fold_all(conn)
        moved = {d: label for d, label in label_of.items() if placed.get(d, (label, 0))[0] != label}
        await ingest.place(conn, moved, seq)
        await ingest.note_suspended(conn, set(label_of.values()), correlate.COMPONENT_DOCUMENTS_MAX)
        if moved:
            await ingest.append_commit(conn, seq, "rebuild", clock())
    return len(seen)


async def _copy_references(conn: Connection, documents: Iterable[derived.DocumentFacts]) -> None:
    packed: list[bytes] = []
    for d in documents:
        for (role, *reference), batch in d.references.items():
            name = Name(*reference)
            packed += (
                rows.reference_head(d.document, batch),
                rows.reference_tail(role, name, content_id(name)),
            )
    await ingest.copy(conn, "reference", packed)


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
                content_id(name),
                references_hash(
                    (role, content_id(Name(*reference)))
                    for role, *reference in f.references
                    if role != OWN
                ),
                (rows.days(f.first_month), rows.days(f.last_month)),
                name.kind,
            )
            for d, name, f in seen
        ],
    )


async def _labels(
    conn: Connection,
    documents: list[int],
    holders: dict[bytes, list[int]],
    limit: Callable[[bytes], int],
    placed: dict[int, tuple[int, int]],
) -> dict[int, int]:
    """Label the components; a component that is as it was keeps its label."""
    pieces = correlate.components(documents, holders, lambda name: len(holders[name]) > limit(name))
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
