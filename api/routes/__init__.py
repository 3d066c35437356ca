"""The routes there are: one module and one line per noun."""

from fastapi import APIRouter

from api.routes import (
    bridge,
    controls,
    coverage,
    exceptions,
    flows,
    health,
    links,
    metrics,
    quarantine,
    readiness,
    traces,
    transactions,
)

ROUTERS: tuple[APIRouter, ...] = (
    bridge.router,
    controls.router,
    coverage.router,
    exceptions.router,
    flows.router,
    health.router,
    links.router,
    metrics.router,
    quarantine.router,
    readiness.router,
    traces.router,
    transactions.router,
)

COLLECTOR_ROUTERS: tuple[APIRouter, ...] = (health.router, metrics.router)
"""What a process that only collects answers: whether it works, and what it measures."""
