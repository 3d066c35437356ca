"""The configured controls and their runs, passes included."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from api.context import Context, With, answer
from api.errors import not_found
from api.openapi import shows
from api.paging import Pages, Paging
from api.present import control_document, exception_document, run_document, run_summary
from collector.store import findings, runs

EXCEPTIONS_MAX = 500
"""Exceptions shown with a run; the rest is on the pages of its `exceptions`."""

router = APIRouter(prefix="/v1/controls", tags=["controls"])

Id = Annotated[str, Path(max_length=63)]
Number = Annotated[int, Path(ge=1, lt=2**63)]


def _configured(context: Context, control: str) -> None:
    known = context.application.configuration.settings.controls
    if control not in known:
        raise not_found(f"There is no control '{control}'.", controls=sorted(known))


@router.get(
    "", summary="The configured controls, each with its last run", responses=shows("controls_page")
)
async def controls(paging: Annotated[Paging, Query()], request: Request, context: With) -> Response:
    """List the controls by id."""
    pages = Pages(request, paging)
    after = pages.after(str, "")
    configured = context.application.configuration.settings.controls
    names = [name for name in sorted(configured) if name > after]
    shown = names[: pages.limit]
    items = []
    async with context.pool.connect() as conn:
        for name in shown:
            last = await runs.runs(conn, name, None, 1)
            check = context.engine.checks[configured[name].check]
            items.append(control_document(name, configured[name], check, last[0] if last else None))
    more = len(names) > len(shown)
    return answer({"items": items, "next": pages.next(shown[-1]) if more else None})


@router.get(
    "/{control}/runs", summary="The runs of a control, newest first", responses=shows("runs_page")
)
async def runs_of(
    control: Id, paging: Annotated[Paging, Query()], request: Request, context: With
) -> Response:
    """List every run, whatever its verdict; exceptions are counted here and listed with each run."""
    _configured(context, control)
    pages = Pages(request, paging)
    before = pages.after(int, 2**63 - 1)
    async with context.pool.connect() as conn:
        found = await runs.runs(conn, control, before, pages.limit + 1)
    shown = found[: pages.limit]
    more = len(found) > len(shown)
    return answer(
        {
            "items": [run_summary(run) for run in shown],
            "next": pages.next(shown[-1].run) if more else None,
        }
    )


@router.get(
    "/{control}/runs/{run}", summary="One run with its exceptions", responses=shows("run_shown")
)
async def run_of(control: Id, run: Number, context: With) -> Response:
    """Show a run and its first exceptions; `has_more` says that `…/exceptions` has further ones."""
    _configured(context, control)
    async with context.pool.connect() as conn:
        found = await runs.runs(conn, control, run + 1, 1)
        if not found or found[0].run != run:
            raise not_found(f"Control '{control}' has no run {run}.")
        rows = await findings.exceptions_of(conn, run, -1, EXCEPTIONS_MAX + 1)
    shown = found[0]
    shown.exceptions = rows[:EXCEPTIONS_MAX]
    return answer({**run_document(shown), "has_more": len(rows) > EXCEPTIONS_MAX})


@router.get(
    "/{control}/runs/{run}/exceptions",
    summary="The exceptions of one run",
    responses=shows("run_exceptions_page"),
)
async def exceptions_of(
    control: Id, run: Number, paging: Annotated[Paging, Query()], request: Request, context: With
) -> Response:
    """List what a run found wrong, in the order of the run."""
    _configured(context, control)
    pages = Pages(request, paging)
    after = pages.after(int, -1)
    async with context.pool.connect() as conn:
        found = await runs.runs(conn, control, run + 1, 1)
        if not found or found[0].run != run:
            raise not_found(f"Control '{control}' has no run {run}.")
        rows = await findings.exceptions_of(conn, run, after, pages.limit + 1)
    shown = rows[: pages.limit]
    more = len(rows) > len(shown)
    return answer(
        {
            "items": [exception_document(e) for e in shown],
            "next": pages.next(after + len(shown)) if more else None,
        }
    )
