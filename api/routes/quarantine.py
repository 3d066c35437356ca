"""What lies in quarantine, by defect: how many records, since when, what it means and who mends it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.context import Instant, With, answer
from api.openapi import shows
from api.paging import Pages, Paging
from api.present import defect_document
from collector.pipeline.defects import tell
from collector.store import findings, quarantine_groups, totals
from collector.store import quarantine as store

router = APIRouter(prefix="/v1/quarantine", tags=["quarantine"])

Name = Annotated[str, Field(max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Wanted(Paging):
    """Of which source, stream and reason, as known when."""

    source: Name | None = None
    stream: Name | None = None
    reason: Name | None = None
    as_known: Instant | None = None


@router.get(
    "",
    summary="What lies open in quarantine, by defect",
    responses=shows("defects_page"),
)
async def defects(wanted: Annotated[Wanted, Query()], request: Request, context: With) -> Response:
    """List groups of records with one reason, field and shape of the value, the most frequent first.

    All pages of a walk show the same state, that of its first page.
    """
    pages = Pages(request, wanted)
    async with context.pool.connect() as conn:
        until, records, group = pages.after(tuple[int, int, str], (0, *quarantine_groups.FIRST))
        as_known = wanted.as_known or await totals.last_recorded(conn, context.now())
        until = until or await findings.seq_at(conn, as_known)
        found = await quarantine_groups.groups(
            conn,
            until,
            store.Wanted(wanted.source, wanted.stream, wanted.reason),
            after=(records, group),
            limit=pages.limit + 1,
        )
        shown = await tell(conn, found[: pages.limit])
    more = len(found) > len(shown)
    place = (until, -shown[-1].group.records, shown[-1].group.id) if more else None
    return answer(
        {
            "items": [defect_document(defect) for defect in shown],
            "next": pages.next(place) if place else None,
        }
    )
