"""The HTTP API, put together."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import APIRouter, FastAPI

from api import errors
from api.auth import Guard, Keys
from api.context import Check, Context
from api.openapi import PROBLEM, Described
from api.routes import ROUTERS
from api.wiring import Application
from collector.pipeline.measure import Meter
from collector.pipeline.story import Stories
from collector.store.pool import pooled
from control_checks.runner import Engine

CONNECTIONS_MAX = 8
WAIT_S_MAX = 5.0
QUERY_S_MAX = 30.0
PROBE_S_MAX = 2.0
"""A store that does not answer readiness within this time counts as down."""


def create_app(
    application: Application,
    engine: Engine,
    keys: Keys,
    checks: Mapping[str, Check] | None = None,
    meter: Meter | None = None,
    routers: Iterable[APIRouter] = ROUTERS,
) -> FastAPI:
    """Make the API of an open store.

    `checks` are asked for readiness, besides the database; a `meter` may be shared with whoever pushes.
    Needs the ASGI lifespan: it opens the pools.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            store, configuration = application.store, application.configuration
            pool = await stack.enter_async_context(
                pooled(store, CONNECTIONS_MAX, wait_s_max=WAIT_S_MAX, query_s_max=QUERY_S_MAX)
            )
            probe = await stack.enter_async_context(
                pooled(store, 1, wait_s_max=PROBE_S_MAX, query_s_max=PROBE_S_MAX)
            )
            measuring = meter or Meter(store, configuration, application.clock)
            stack.push_async_callback(measuring.close)
            app.state.context = Context(
                application,
                engine,
                Stories(configuration.settings),
                measuring,
                pool,
                probe,
                checks or {},
            )
            yield

    app = Described(
        title="Tieout",
        summary="Traces, controls and coverage of money flows between finance systems",
        version="1",
        lifespan=lifespan,
        responses=PROBLEM,
        redirect_slashes=False,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    errors.install(app)
    for router in routers:
        app.include_router(router)
    app.add_middleware(Guard, keys=keys)
    return app
