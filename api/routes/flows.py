"""How many transactions are at which step of a flow, and for how much."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from api.context import Instant, With, answer
from api.errors import not_found
from api.openapi import shows
from api.paging import Parameters
from api.present import flow_document
from collector.store import flows, totals

router = APIRouter(prefix="/v1/flows", tags=["flows"])


class AsOf(Parameters):
    """As of when, as known when."""

    as_of: Instant | None = None
    as_known: Instant | None = None


@router.get("/{flow}", summary="A flow and the state of its steps", responses=shows("flow"))
async def flow(
    flow: Annotated[str, Path(max_length=63)], wanted: Annotated[AsOf, Query()], context: With
) -> Response:
    """Count the cases of a flow by step and status, computed for a time: seconds on a large store."""
    configured = {f.flow: f for f in context.application.configuration.flows}
    if flow not in configured:
        raise not_found(f"There is no flow '{flow}'.", flows=sorted(configured))
    as_of = wanted.as_of or context.now()
    async with context.pool.connect() as conn:
        as_known = wanted.as_known or await totals.last_recorded(conn, context.now())
        counts = await flows.counts(conn, flow, as_of, as_known)
    return answer(flow_document(configured[flow], counts, as_of, as_known))
