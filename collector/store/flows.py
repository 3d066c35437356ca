"""What the store answers about flows: counts per step, and cases by status."""

from datetime import datetime
from typing import Any

from collector.store.ingest import Connection

_COUNTS = """
SELECT ordinal, step, system, status, currency, count(*) AS items, sum(amount_minor)::bigint AS amount
FROM read.steps($1, $2, $3) GROUP BY ordinal, step, system, status, currency
ORDER BY ordinal, status, currency
"""

_CASES = """
SELECT s.transaction_id, s.document_id, s.number, s.entity, s.state, s.step, s.status, s.due_at,
       s.done_at, s.amount_minor, s.currency
FROM read.steps($1, $2, $3) s
WHERE ($4::text IS NULL OR s.status = $4) AND ($5::text IS NULL OR s.step = $5)
  AND (s.document_id, s.ordinal) > ($6::uuid, $7::bigint)
ORDER BY s.document_id, s.ordinal LIMIT $8
"""


async def counts(
    conn: Connection, flow: str, as_of: datetime, as_known: datetime
) -> list[dict[str, Any]]:
    """Count a flow's cases per step: items and amounts (minor units by currency) per status."""
    steps: dict[str, dict[str, Any]] = {}
    for r in await conn.fetch(_COUNTS, flow, as_of, as_known):
        step = steps.setdefault(
            r["step"], {"name": r["step"], "system": r["system"], "statuses": {}}
        )
        status = step["statuses"].setdefault(r["status"], {"count": 0, "amounts": {}})
        status["count"] += r["items"]
        if r["currency"] is not None:
            status["amounts"][r["currency"]] = r["amount"]
    return list(steps.values())


async def cases(  # noqa: PLR0913 -- a query's filters
    conn: Connection,
    flow: str,
    as_of: datetime,
    as_known: datetime,
    *,
    status: str | None = None,
    step: str | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """List steps of cases, of a status or of one step."""
    zero = "00000000-0000-0000-0000-000000000000"
    found = await conn.fetch(_CASES, flow, as_of, as_known, status, step, zero, -1, limit)
    return [
        {**row, "transaction_id": row["transaction_id"].hex, "document_id": row["document_id"].hex}
        for row in found
    ]
