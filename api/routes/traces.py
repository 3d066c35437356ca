"""Any business key leads to the whole story."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api.context import Instant, With, answer
from api.errors import Problem
from api.openapi import shows
from api.paging import Parameters
from api.present import story_document

KEY_CHARACTERS_MAX = 200

router = APIRouter(prefix="/v1/traces", tags=["traces"])


class Wanted(Parameters):
    """Which story, as of when and as known when."""

    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=KEY_CHARACTERS_MAX,
            pattern=r"^[^\x00]+$",
            description="Any name of any document, an id, or a unique part of a name",
        ),
    ]
    as_of: Instant | None = None
    as_known: Instant | None = None


@router.get("", summary="The transactions that a business key leads to", responses=shows("story"))
async def traces(wanted: Annotated[Wanted, Query()], context: With) -> Response:
    """Tell them with documents, steps and events.

    A key that names nothing is looked for as a part of a name: unique, it is followed; else the answer is
    404 with the `candidates`. `has_more` says that there are more transactions, or candidates, than shown.
    """
    async with context.pool.connect() as conn:
        story = await context.stories.tell(
            conn, wanted.key, wanted.as_of or context.now(), wanted.as_known
        )
    document: dict[str, Any] = story_document(story)
    if not story.transactions:
        raise Problem(
            HTTPStatus.NOT_FOUND,
            "no-such-key",
            "No such key",
            "Several names contain this key: see `candidates`."
            if story.candidates
            else "No document has this key or contains it.",
            candidates=document["candidates"],
            has_more=story.has_more,
        )
    return answer(document)
