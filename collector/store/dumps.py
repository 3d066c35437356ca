"""The store's content in canonical form: what two stores that know the same have in common.

Left out is whatever depends on when, in which order or by whom something was read: batches, parts,
positions, surrogates, recorded times, and what an earlier mapping made of a record; so also control runs and the certificates that they stand on. Facts and derived state come as rows of one kind after the
other, each kind sorted bytewise.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec

from collector.store.ingest import Connection

FETCH_ROWS = 5_000

_EVENTS = """
SELECT e.event_id, e.revision, e.month, e.type, e.occurred_at, e.sequence, e.amount_minor, e.currency,
       e.entity, e.body
FROM tieout.event e JOIN tieout.batch b ON b.id = e.batch
LEFT JOIN tieout.supersession x ON (x.event_id, x.revision_no, x.month) = (e.event_id, e.revision_no, e.month)
WHERE b.seq <= (SELECT read.seq_at($1)) AND coalesce(x.seq > (SELECT read.seq_at($1)), true) AND e.occurred_at <= $2
ORDER BY e.event_id, e.revision
"""

_TRANSACTIONS = """
WITH seen AS MATERIALIZED (
    SELECT DISTINCT e.document FROM tieout.event e JOIN tieout.batch b ON b.id = e.batch
    LEFT JOIN tieout.supersession x ON (x.event_id, x.revision_no, x.month) = (e.event_id, e.revision_no, e.month)
    WHERE b.seq <= (SELECT read.seq_at($1)) AND coalesce(x.seq > (SELECT read.seq_at($1)), true)
      AND e.occurred_at <= $2),
member AS (
    SELECT m.component, m.content_id, m.kind FROM tieout.membership((SELECT read.seq_at($1))) m
    JOIN seen ON seen.document = m.document)
SELECT array_agg(replace(content_id::text, '-', '') ORDER BY content_id) AS documents
FROM member GROUP BY component ORDER BY 1
"""

_STEPS = """
SELECT d.content_id, s.type, s.first_at, s.last_at, s.n, s.amount_minor, s.currency
FROM tieout.step s JOIN tieout.document d ON d.id = s.document
ORDER BY d.content_id, s.type COLLATE "C"
"""

_REFERENCES = """
SELECT d.content_id, r.role, r.kind, r.scope, r.value
FROM tieout.reference r JOIN tieout.document d ON d.id = r.document
ORDER BY d.content_id, r.role, r.kind COLLATE "C", r.scope COLLATE "C", r.value COLLATE "C"
"""

_DOCUMENTS = """
SELECT d.content_id, d.kind, d.first_month, d.last_month FROM tieout.document d
WHERE EXISTS (SELECT FROM tieout.reference r WHERE r.document = d.id AND r.role = 0) ORDER BY d.content_id
"""

_REVISED = """
SELECT r.event_id FROM tieout.revised r
WHERE (SELECT count(*) FROM tieout.standing_event e WHERE e.event_id = r.event_id) > 1 ORDER BY r.event_id
"""

_QUARANTINED = """
SELECT q.content, q.reason FROM tieout.quarantine q JOIN tieout.batch b ON b.id = q.batch
WHERE b.seq <= (SELECT read.seq_at($1)) AND NOT EXISTS (
    SELECT FROM tieout.quarantine_resolution r WHERE r.quarantine = q.id AND r.seq <= (SELECT read.seq_at($1)))
ORDER BY q.content, q.reason COLLATE "C"
"""

_LINKS = """
SELECT d.action, d.document, d.other, d.reason, d.actor, e.automatic, e.rule, e.version, e.score, e.fields, e.rivals,
       EXISTS (SELECT FROM tieout.link_decision u WHERE u.undoes = d.id AND u.seq <= (SELECT read.seq_at($1))) AS undone
FROM tieout.link_decision d LEFT JOIN tieout.link_evidence e ON e.decision = d.id
WHERE d.action <> 'undo' AND d.seq <= (SELECT read.seq_at($1))
ORDER BY d.document, d.other, d.action, d.reason COLLATE "C", d.actor COLLATE "C", undone
"""

_DELETED = """
SELECT event_id FROM (
    SELECT DISTINCT ON (event_id) event_id, kind FROM tieout.deletion
    WHERE seq <= (SELECT read.seq_at($1)) ORDER BY event_id, seq DESC) d
WHERE kind = 'deleted' ORDER BY event_id
"""

_LISTS = """
SELECT list, at, rows, believed FROM tieout.whole_lists((SELECT read.seq_at($1))) WHERE at <= $2
ORDER BY list COLLATE "C", at
"""

_UNLISTED = """
SELECT d.content_id AS document, u.list, u.line, u.last_at, u.gone_at, u.again_at
FROM tieout.unlisted((SELECT read.seq_at($1)), $2) u JOIN tieout.document d ON d.id = u.document
ORDER BY u.list COLLATE "C", u.line COLLATE "C", u.gone_at, d.content_id
"""

_CASES = """
SELECT document_id, step, status, basis_at, due_at, done_at, failed_at, amount_minor, currency, state
FROM read.steps($1, $2, $3) ORDER BY document_id, ordinal
"""


def _plain(value: Any) -> Any:  # noqa: ANN401 -- whatever a column holds
    """Bring a value to its canonical form: UTC microseconds, ids as 32 hexadecimal digits."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if hasattr(value, "hex") and hasattr(value, "int"):
        return value.hex
    return value


async def rows(
    conn: Connection, flows: list[str], as_of: datetime | None, as_known: datetime
) -> AsyncIterator[dict[str, Any]]:
    """Yield all rows; call it inside a transaction.

    Without `as_of` the derived tables come as they are stored; with it, what can be said of that time:
    events, transactions and the cases of the flows.
    """
    until = as_of or datetime.max.replace(tzinfo=as_known.tzinfo)
    sections: list[tuple[str, str, tuple[Any, ...]]] = [
        ("event", _EVENTS, (as_known, until)),
        ("transaction", _TRANSACTIONS, (as_known, until)),
        ("quarantined", _QUARANTINED, (as_known,)),
        ("link_decision", _LINKS, (as_known,)),
        ("deleted", _DELETED, (as_known,)),
        ("list", _LISTS, (as_known, until)),
        ("unlisted", _UNLISTED, (as_known, until)),
    ]
    if as_of is None:
        sections += [
            ("document", _DOCUMENTS, ()),
            ("reference", _REFERENCES, ()),
            ("step", _STEPS, ()),
            ("revised", _REVISED, ()),
        ]
    else:
        sections += [(f"case {flow}", _CASES, (flow, as_of, as_known)) for flow in flows]
    for kind, query, arguments in sections:
        async for row in conn.cursor(query, *arguments, prefetch=FETCH_ROWS):
            out = {name: _plain(value) for name, value in row.items() if value is not None}
            for name in ("body", "fields", "rivals"):
                if name in out:
                    out[name] = msgspec.json.decode(out[name])
            out["row"] = kind
            yield out
