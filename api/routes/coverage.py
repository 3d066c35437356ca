"""How completely each stream is known, on whose word, and what is missing."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from api.context import Instant, With, answer
from api.errors import Problem, not_found
from api.openapi import shows
from api.paging import Pages, Paging
from api.present import coverage_document
from collector.pipeline.certificate import Sealed, is_genuine
from collector.pipeline.completeness import known_coverage
from collector.store import certificates, totals

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


@router.get(
    "/certificates/{hash}",
    summary="A coverage certificate, to the byte",
    responses=shows("certificate"),
)
async def certificate(
    hashed: Annotated[str, Path(alias="hash", pattern="^[0-9a-f]{64}$")], context: With
) -> Response:
    """Answer with canonical JSON (RFC 8785), as it was kept: the SHA-256 of the body is the hash."""
    async with context.pool.connect() as conn:
        body = await certificates.body_of(conn, hashed)
    if body is None:
        raise not_found(f"There is no certificate {hashed}.")
    if not is_genuine(Sealed(hashed, body)):
        raise Problem(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "altered",
            "Certificate altered",
            f"The text that is stored as certificate {hashed} has another hash.",
        )
    return Response(body, media_type="application/json")
