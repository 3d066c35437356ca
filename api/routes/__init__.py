"""The routes there are: one module and one line per noun."""

from fastapi import APIRouter

from api.routes import controls, coverage, exceptions, flows, health, metrics, traces, transactions

ROUTERS: tuple[APIRouter, ...] = (
    controls.router,
    coverage.router,
    exceptions.router,
    flows.router,
    health.router,
    metrics.router,
    traces.router,
    transactions.router,
)
