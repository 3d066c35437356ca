"""Documents told anew, where events that told of them stand no more: references, steps and transactions follow.

A document may lose references, and with them its place in a transaction; one of which no event stands has no name left
and stands alone. What it was called and where it belonged stays known as known before.
"""

from collections.abc import Collection

from collector.model.reference import CUT, IDENTITY, OWN
from collector.pipeline import correlate
from collector.pipeline.correlate import Limit
from collector.pipeline.rebuild import told_by
from collector.pipeline.regroup import regroup
from collector.store import derived, folds, ingest, membership, supersessions
from collector.store.ingest import Connection


async def retell(
    conn: Connection, steps: Collection[tuple[int, str]], limit: Limit, seq: int
) -> None:
    """Derive anew what hangs on steps, (document, event type), of which events were taken back."""
    documents = sorted({document for document, _ in steps})
    stored = await ingest.known_references(conn, documents)
    kind_of = {name: kind for _, name, kind in await ingest.identities(conn, documents)}
    told: set[tuple[int, int, bytes]] = set()
    hashes: dict[int, int] = {}
    retired: list[int] = []
    async for facts in derived.documents(conn, documents):
        document, references = told_by(facts)
        if not facts.stands:
            retired.append(facts.document)
        hashes[facts.document] = document.references_hash
        told.update((r.document, r.role, r.content) for r in references)
    dropped = {
        (document, role, name)
        for document, role, name in stored
        if role != OWN and (document, IDENTITY if role == CUT else role, name) not in told
    }
    loose = {name for _, role, name in dropped if role == IDENTITY}
    loose |= {name for document, role, name in stored if role == OWN and document in retired}
    await supersessions.drop_references(conn, dropped, seq)
    await supersessions.retire(conn, retired, seq)
    await ingest.note_references(conn, hashes)
    await folds.recompute_steps(conn, steps)
    await supersessions.drop_steps(conn, steps)
    if loose:
        await _regroup(conn, {name: limit(kind_of[name]) for name in loose}, documents, limit, seq)


async def _regroup(
    conn: Connection, loose: dict[bytes, int], documents: list[int], limit: Limit, seq: int
) -> None:
    """Recompute the transactions of documents, and of those that hold a name which fewer hold than before."""
    held = await ingest.look_up(conn, list(loose), list(loose.values()))
    touched = {holder.component for holders in held.values() for holder in holders}
    touched |= await membership.components_of(conn, documents)
    label_of = await regroup(conn, touched, limit, seq)
    touched |= set(label_of.values())
    await membership.note_suspended(conn, touched, correlate.COMPONENT_DOCUMENTS_MAX, seq)
