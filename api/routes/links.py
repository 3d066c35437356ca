"""What rules take for belonging together without being sure: suggestions to a person."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.context import With, answer
from api.openapi import shows
from api.paging import Pages, Paging
from collector.pipeline.suggestions import suggestions

router = APIRouter(prefix="/v1/links", tags=["links"])


class Wanted(Paging):
    """Of which rule."""

    rule: Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9][a-z0-9_.-]*$")] | None = None


@router.get(
    "/suggestions",
    summary="What rules suggest to link, of all rules or of one",
    responses=shows("link_suggestions_page"),
)
async def suggested(
    wanted: Annotated[Wanted, Query()], request: Request, context: With
) -> Response:
    """List the suggestions of each rule's last match; a person accepts or rejects them by `tieout link`."""
    pages = Pages(request, wanted)
    async with context.pool.connect() as conn:
        found = await suggestions(conn, wanted.rule, pages.after(str, ""), pages.limit + 1)
    shown = found[: pages.limit]
    more = len(found) > len(shown)
    return answer(
        {
            "items": msgspec.to_builtins(shown),
            "next": pages.next(shown[-1].id) if more else None,
        }
    )
