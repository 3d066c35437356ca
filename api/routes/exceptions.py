"""The open exceptions: what the last run of each control found wrong."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.context import Instant, With, answer
from api.openapi import shows
from api.paging import Pages, Paging
from api.present import open_exception_document
from collector.store import findings, totals

router = APIRouter(prefix="/v1/exceptions", tags=["exceptions"])


class Wanted(Paging):
    """Of which control, as known when."""

    control: Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9][a-z0-9_.-]*$")] | None = None
    as_known: Instant | None = None


@router.get(
    "",
    summary="The open exceptions of all controls, or of one",
    responses=shows("open_exceptions_page"),
)
async def exceptions(
    wanted: Annotated[Wanted, Query()], request: Request, context: With
) -> Response:
    """List those of each control's last run that evaluated its population; a run that failed closes none.

    All pages of a walk show the same state, that of its first page.
    """
    pages = Pages(request, wanted)
    async with context.pool.connect() as conn:
        until, run, ordinal = pages.after(tuple[int, int, int], (0, 0, -1))
        as_known = wanted.as_known or await totals.last_recorded(conn, context.now())
        until = until or await findings.seq_at(conn, as_known)
        found = await findings.open_exceptions(
            conn, until, wanted.control, (run, ordinal), pages.limit + 1
        )
    shown = found[: pages.limit]
    more = len(found) > len(shown)
    place = (until, shown[-1]["run"], shown[-1]["ordinal"]) if more else None
    return answer(
        {
            "items": [open_exception_document(row) for row in shown],
            "next": pages.next(place) if place else None,
        }
    )
