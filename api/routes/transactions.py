"""One transaction by the id of any of its documents."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.context import Instant, With, answer
from api.errors import not_found
from api.openapi import shows
from api.paging import Parameters
from api.present import story_document
from collector.errors import Permanent
from collector.pipeline.explain import explain

router = APIRouter(prefix="/v1/transactions", tags=["transactions"])


class AsOf(Parameters):
    """As of when, and as known when."""

    as_of: Instant | None = None
    as_known: Instant | None = None


@router.get("/{document}", summary="One transaction", responses=shows("transaction"))
async def transaction(document: UUID, wanted: Annotated[AsOf, Query()], context: With) -> Response:
    """Tell a transaction: its own id or that of any of its documents finds it, after a merge as well."""
    async with context.pool.connect() as conn:
        story = await context.stories.tell(
            conn, document.hex, wanted.as_of or context.now(), wanted.as_known
        )
    for found in story_document(story)["transactions"]:
        if any(d["id"] == document.hex for d in found["documents"]):
            return answer(found)
    raise not_found(f"There is no document {document.hex}.")


@router.get(
    "/{document}/explanation",
    summary="Why its documents belong together",
    responses=shows("explanation"),
)
async def explanation(document: UUID, context: With, other: UUID | None = None) -> Response:
    """Tell by which names documents are joined, who told them, what persons decided, and since when.

    With `other` the `path` holds the names that join these two.
    """
    async with context.pool.connect() as conn:
        try:
            found = await explain(
                conn, context.application.limit, document.hex, None if other is None else other.hex
            )
        except Permanent as absent:
            raise not_found(str(absent)) from None
    return answer(found)
