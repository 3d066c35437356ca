"""Recompute stored components from their edges: where a value stopped joining, or a person decided."""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from collector.pipeline import correlate
from collector.store import ingest, membership


class Arriving(NamedTuple):
    """What a batch that is being committed adds: its new documents, who holds which name, and the names' limits."""

    documents: set[int]
    held: Mapping[bytes, set[int]]
    limits: Mapping[bytes, int]


NOTHING = Arriving(set(), {}, {})


async def regroup(
    conn: ingest.Connection,
    components: set[int],
    limit: correlate.Limit,
    seq: int,
    arriving: Arriving = NOTHING,
) -> dict[int, int]:
    """Recompute components and what arrives from the edges; return the component of every document.

    Stored documents are moved; one whose component is as it was stays where it is.
    """
    before = await membership.documents_of(conn, components)
    label_of = await regrouped(conn, before, limit, arriving)
    await membership.place(conn, {d: label_of[d] for d in before}, seq)
    return label_of


async def regrouped(
    conn: ingest.Connection,
    before: Mapping[int, int],
    limit: correlate.Limit,
    arriving: Arriving = NOTHING,
    without: frozenset[bytes] = frozenset(),
) -> dict[int, int]:
    """Say into which components whole components fall, `before` by document, if some names joined nothing."""
    holders: dict[bytes, set[int]] = defaultdict(set)
    most = dict(arriving.limits)
    for document, name, kind in await ingest.identities(conn, before):
        if name not in without:
            holders[name].add(document)
            most[name] = limit(kind)
    for name, held_by in arriving.held.items():
        members = held_by & (arriving.documents | before.keys())
        if members:
            holders[name] |= members
    stored = await ingest.look_up(conn, list(holders), [most[name] for name in holders])
    blocked = {
        name
        for name, members in holders.items()
        if len(
            {h.document for h in stored.get(name, ())} | arriving.held.get(name, set()) | members
        )
        > most[name]
    }
    pieces = correlate.components(
        [*before, *arriving.documents],
        {n: list(m) for n, m in holders.items()},
        blocked.__contains__,
    )
    fresh = iter(await ingest.next_documents(conn, len(pieces)))
    return correlate.labels(pieces, before, fresh)
