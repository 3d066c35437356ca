"""Whether the records of the sources can be followed at all."""

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from api.context import With, answer
from api.openapi import shows
from collector.pipeline.readiness import assess

router = APIRouter(prefix="/v1/readiness", tags=["readiness"])


@router.get("", summary="What share of records carries a usable key", responses=shows("readiness"))
async def readiness(context: With) -> Response:
    """Show the document of `tieout readiness --json`, computed: seconds on a large store."""
    application = context.application
    async with context.pool.connect() as conn:
        found = await assess(conn, application.configuration, application.limit)
    return answer(msgspec.to_builtins(found))
