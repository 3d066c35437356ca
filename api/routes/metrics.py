"""What Prometheus scrapes; its `authorization` setting carries the key."""

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from api.context import With
from collector.telemetry.metrics import CONTENT_TYPE, render

router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics", summary="Metrics in the Prometheus text format", response_class=PlainTextResponse
)
async def metrics(context: With) -> Response:
    """Measure the store and write the catalogue's metrics."""
    return Response(render(await context.meter.measure()), headers={"Content-Type": CONTENT_TYPE})
