"""Whether the process lives, and whether it can do its work. Open: they tell no more than that."""

from fastapi import APIRouter
from starlette.responses import Response

from api.context import Context, With, answer
from api.errors import not_ready
from api.openapi import shows
from collector.errors import TieoutError
from collector.store.connection import DATABASE_ERRORS
from collector.store.migrate import missing

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Whether the process is alive", responses=shows("alive"))
async def healthz() -> Response:
    """Answer: then the event loop runs. The store is not asked, for a restart would not mend it."""
    return answer({"status": "alive"})


@router.get("/readyz", summary="Whether everything that is needed works", responses=shows("ready"))
async def readyz(context: With) -> Response:
    """Ask everything that is needed; 503 names what is not ready."""
    found = {
        **await _store(context),
        **{what: check() for what, check in context.checks.items()},
    }
    lacking = [{"what": what, "detail": said} for what, said in found.items() if said is not None]
    if lacking:
        raise not_ready(" ".join(f["detail"] for f in lacking), not_ready=lacking)
    return answer({"status": "ready", "checked": list(found)})


async def _store(context: Context) -> dict[str, str | None]:
    """Ask the database, over a connection that nothing else uses."""
    down, old = "The database cannot be reached.", "The database's schema is not current."
    try:
        async with context.probe.connect() as conn:
            lacks = await missing(conn)
    except (TieoutError, *DATABASE_ERRORS, TimeoutError):
        return {"database": down, "migrations": "The database's schema cannot be seen."}
    return {"database": None, "migrations": old if lacks else None}
