"""Which component a document belongs to, and how that changes: what was known before is kept."""

from collections.abc import Iterable, Mapping, Sequence

from collector.store.ingest import Connection, hashes_of

_NOTE_SUSPENDED = """
WITH large AS (
    SELECT component, count(*) AS documents FROM tieout.document
    WHERE component = ANY($1) GROUP BY 1 HAVING count(*) > $2),
gone AS (
    DELETE FROM tieout.suspended s
    WHERE component = ANY($1) AND component NOT IN (SELECT component FROM large) RETURNING *),
kept AS (
    INSERT INTO tieout.suspended_history SELECT component, known_from, $3 FROM gone WHERE known_from < $3)
INSERT INTO tieout.suspended SELECT component, documents, $3 FROM large
ON CONFLICT (component) DO UPDATE SET documents = excluded.documents
"""


async def sizes(conn: Connection, components: Iterable[int]) -> dict[int, int]:
    """Count the documents of components."""
    found = await conn.fetch(
        "SELECT component, count(*) FROM tieout.document WHERE component = ANY($1) GROUP BY 1",
        list(components),
    )
    return dict(map(tuple, found))


async def relabel(conn: Connection, moves: Mapping[int, int], seq: int) -> None:
    """Move all documents of components to another, keeping what was known: {from: to}."""
    if moves:
        found = await conn.fetch(
            "SELECT d.id, m.target FROM unnest($1::bigint[], $2::bigint[]) m(source, target)"
            " JOIN tieout.document d ON d.component = m.source",
            list(moves.keys()),
            list(moves.values()),
        )
        await place(conn, dict(map(tuple, found)), seq)


async def place(conn: Connection, component_of: Mapping[int, int], seq: int) -> None:
    """Move single documents to components, keeping what was known: {document: component}."""
    if component_of:
        await conn.execute(
            "WITH wanted AS (SELECT * FROM unnest($1::bigint[], $2::bigint[]) w(id, target)),"
            " before AS (SELECT d.id, d.component, d.known_from FROM tieout.document d"
            "            JOIN wanted w ON w.id = d.id WHERE d.component <> w.target),"
            " moved AS (UPDATE tieout.document d SET component = w.target, known_from = $3"
            "           FROM wanted w WHERE d.id = w.id AND d.component <> w.target)"
            " INSERT INTO tieout.membership_history SELECT id, component, known_from, $3 FROM before"
            " WHERE known_from < $3",  # what lasted for no commit was never known
            list(component_of.keys()),
            list(component_of.values()),
            seq,
        )


async def documents_of(conn: Connection, components: Iterable[int]) -> dict[int, int]:
    """Return {document: component} of all documents in components."""
    found = await conn.fetch(
        "SELECT id, component FROM tieout.document WHERE component = ANY($1)", list(components)
    )
    return dict(map(tuple, found))


async def own(conn: Connection, ids: Iterable[bytes]) -> dict[bytes, tuple[int, int]]:
    """Return (number, component) of documents by content id."""
    by_value, by_name = zip(*map(hashes_of, ids), strict=True)
    found = await conn.fetch(
        "SELECT d.content_id, d.id, d.component FROM unnest($1::bigint[], $2::bigint[]) q(by_value, by_name)"
        " JOIN tieout.reference r ON r.value_hash = q.by_value AND r.role = 0 AND r.name_hash = q.by_name"
        " JOIN tieout.document d ON d.id = r.document",
        by_value,
        by_name,
    )
    return {content.bytes: (number, component) for content, number, component in found}


async def components_of(conn: Connection, documents: Sequence[int]) -> set[int]:
    """Return the components of documents."""
    found = await conn.fetch(
        "SELECT DISTINCT component FROM tieout.document WHERE id = ANY($1)", documents
    )
    return {row[0] for row in found}


async def components_holding(conn: Connection, names: Iterable[bytes]) -> set[int]:
    """Return the components of all documents that hold one of these names, by content id, as identity."""
    by_value, by_name = zip(*map(hashes_of, names), strict=True)
    found = await conn.fetch(
        "SELECT DISTINCT d.component FROM unnest($1::bigint[], $2::bigint[]) q(by_value, by_name)"
        " JOIN tieout.reference r ON r.value_hash = q.by_value AND r.name_hash = q.by_name AND r.role <= 1"
        " JOIN tieout.document d ON d.id = r.document",
        by_value,
        by_name,
    )
    return {row[0] for row in found}


async def note_suspended(conn: Connection, components: Iterable[int], most: int, seq: int) -> None:
    """Enter components that hold more than `most` documents; strike out those that no longer do.

    What was known of them is kept.
    """
    touched = list(components)
    if touched:
        await conn.execute(_NOTE_SUSPENDED, touched, most, seq)
