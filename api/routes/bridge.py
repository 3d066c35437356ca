"""The bridge of a month, and what stands in a cell of it: the one that is kept, for a GET runs no control.

At another T and K than that it is computed from kept runs, and so is each page of items.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.context import Context, Instant, With, answer
from api.errors import Problem, not_found, wrong_parameter
from api.openapi import shows
from api.paging import Pages, Paging, Parameters
from api.present import bridge_item
from collector.store import bridges
from collector.store.bridges import Kept
from control_checks.bridge.bridge import Bridge, bridged, kept_at, merged

router = APIRouter(prefix="/v1/bridge", tags=["bridge"])

Period = Annotated[
    str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="A month, by each entity's clock")
]
FlowId = Annotated[str, Field(max_length=63)]
Name = Annotated[str, Field(max_length=200)]
Place = Annotated[
    str,
    Field(
        max_length=200,
        pattern=r"^[^/]+/(from|to|in_transit|rejected_or_withdrawn|reversed|components|tolerance|rounding"
        r"|unexplained|excluded:.+|exceptions:.+)$",
        description="STEP/CELL: the later step of the hop, and the cell, as in `posted/unexplained`",
    ),
]


class Wanted(Parameters):
    """Of which month and flow; T and K are by default those of the bridge that is kept current."""

    period: Period
    flow: FlowId | None = None
    as_of: Instant | None = None
    as_known: Instant | None = None


class WantedItems(Paging):
    """Of which cell; `flow` may be left out where one flow alone has a bridge."""

    period: Period
    cell: Place
    flow: FlowId | None = None
    entity: Name | None = None
    currency: Name | None = None
    as_of: Instant | None = None
    as_known: Instant | None = None


@router.get("", summary="The bridge of a month, from step to step", responses=shows("bridge"))
async def bridge(wanted: Annotated[Wanted, Query()], context: With) -> Response:
    """Show the document of `tieout bridge --json`; for another T or K it is computed: seconds on a large store."""
    if wanted.as_of is wanted.as_known is None:
        kept = await _current(context, wanted.flow, wanted.period)
        if kept:
            return answer(merged([of.document for of in kept if of.document is not None]))
    found = await _kept(context, wanted.flow, wanted.period, (wanted.as_of, wanted.as_known))
    return answer(await found.document(wanted.period))


@router.get("/items", summary="What stands in a cell", responses=shows("bridge_items_page"))
async def items(
    wanted: Annotated[WantedItems, Query()], request: Request, context: With
) -> Response:
    """List the items of a cell, the largest first within an entity and currency; each page is computed.

    All pages of a walk show the T and K of its first page.
    """
    pages = Pages(request, wanted)
    as_of, as_known, skip = pages.after(
        tuple[datetime | None, datetime | None, int], (wanted.as_of, wanted.as_known, 0)
    )
    if as_of is as_known is None and (kept := await _current(context, wanted.flow, wanted.period)):
        as_of, as_known = kept[0].as_of, kept[0].as_known
    found = await _kept(context, wanted.flow, wanted.period, (as_of, as_known))
    if len(found.flows) > 1:
        names = ", ".join(flow.flow for flow in found.flows)
        raise wrong_parameter(
            [{"in": "query", "parameter": "flow", "what": f"name one of {names}"}]
        )
    (flow,) = found.flows
    to, _, cell = wanted.cell.partition("/")
    if to not in flow.bridge[1:]:
        raise not_found(f"No hop of '{flow.flow}' leads to '{to}'.", steps=flow.bridge[1:])
    only = {"to": to, "cell": cell, "entity": wanted.entity, "currency": wanted.currency}
    rows = await found.page(wanted.period, skip, pages.limit + 1, **only)
    shown = rows[: pages.limit]
    place = (found.as_of, found.as_known, skip + len(shown))
    return answer(
        {
            "as_of": found.as_of,
            "as_known": found.as_known,
            "items": [bridge_item(row) for row in shown],
            "next": pages.next(place) if len(rows) > len(shown) else None,
        }
    )


async def _current(context: Context, flow: str | None, period: str) -> list[Kept]:
    """Return the bridges that are kept current of a month; none unless all wanted flows have one at one T and K.

    Raises:
        Problem: one of them could not be computed; an older one would not say so.
    """
    flows = [f.flow for f in bridged(context.engine, flow)]
    async with context.pool.connect() as conn:
        found = await bridges.latest(conn, flows, period)
    if errors := sorted({of.error for of in found if of.error is not None}):
        raise Problem(
            HTTPStatus.CONFLICT,
            "not-computed",
            "The bridge could not be computed",
            f"As of {found[0].as_of.isoformat()}: {'; '.join(errors)}. Earlier ones are at their `as_of` and `as_known`.",
        )
    moments = {(of.as_of, of.as_known) for of in found}
    return found if len(found) == len(flows) and len(moments) == 1 else []


async def _kept(
    context: Context,
    flow: str | None,
    period: str,
    time: tuple[datetime | None, datetime | None],
) -> Bridge:
    """Find the kept runs that a bridge needs at T and K.

    Raises:
        Problem: there is no such flow with a bridge; or a control has no run.
    """
    flows = bridged(context.engine, flow)
    if not flows:
        known = [f.flow for f in bridged(context.engine)]
        about = "No flow" if flow is None else f"No flow '{flow}'"
        raise not_found(f"{about} has a bridge.", flows=known)
    found = await kept_at(context.engine, context.pool.connect, flows, *time)
    if found.lacking:
        at = f" --as-of {time[0].isoformat()}" if time[0] else ""
        at += f" --as-known {time[1].isoformat()}" if time[1] else ""
        raise Problem(
            HTTPStatus.CONFLICT,
            "no-run",
            "A control has no run",
            f"No run that evaluated is kept for this time of {', '.join(found.lacking)}, and asking runs none: "
            f"`tieout bridge --period {period}{at}` does.",
            controls=found.lacking,
        )
    return found
