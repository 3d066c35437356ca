"""How completely each stream is known, on whose word, and what is missing."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.context import Instant, With, answer
from api.openapi import shows
from api.paging import Pages, Paging
from api.present import coverage_document
from collector.pipeline.completeness import known_coverage
from collector.store import totals

router = APIRouter(prefix="/v1/coverage", tags=["coverage"])


class Wanted(Paging):
    """As known when."""

    as_known: Instant | None = None


@router.get(
    "",
    summary="Control totals, watermark and gaps of every stream",
    responses=shows("coverage_page"),
)
async def of_streams(
    wanted: Annotated[Wanted, Query()], request: Request, context: With
) -> Response:
    """List the streams of the configuration that was in force, with both sides' control totals."""
    pages = Pages(request, wanted)
    after = pages.after(tuple[str, str], ("", ""))
    async with context.pool.connect() as conn:
        as_known = wanted.as_known or await totals.last_recorded(conn, context.now())
        in_force = await totals.configuration(conn, as_known)
        covered = await known_coverage(conn, in_force, as_known) if in_force is not None else {}
    names = sorted(stream for stream in covered if stream > after)
    shown = names[: pages.limit]
    more = len(names) > len(shown)
    return answer(
        {
            **coverage_document({name: covered[name] for name in shown}, as_known),
            "next": pages.next(shown[-1]) if more else None,
        }
    )
