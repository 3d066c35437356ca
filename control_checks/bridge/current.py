"""The bridges kept current: computed again when something was told since, and kept, a row for each flow and month.

Computing costs the store seconds to minutes, so it rests in between: `bridge.every` of the configuration, and
several times as long as the last time took.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from collector.settings.definitions import Flow, elapsed
from collector.store import bridges
from collector.store.bridges import Kept
from control_checks.bridge.bridge import Bridge, Document, bridged, prepared
from control_checks.runner import Engine

REST_FACTOR = 10
"""The store rests this many times as long as the last time took: it has other work."""
MOVES_ON = timedelta(hours=1)
"""So often it is computed although nothing was told: what is on its way becomes overdue by itself."""
_DAY = timedelta(days=1)


async def is_due(engine: Engine) -> bool:
    """Say whether the bridges are to be computed now."""
    if not bridged(engine):
        return False
    async with engine.store.connect() as conn:
        last = await bridges.last_attempt(conn)
        if last is None:
            return True
        took = last.ended_at - last.begun_at
        every = elapsed(engine.configuration.settings.bridge.every)
        now = engine.clock()
        if now < last.ended_at + max(every, REST_FACTOR * took):
            return False
        told = last.failed or not await bridges.is_present(conn, last.as_known)
        return told or now >= last.begun_at + MOVES_ON


async def keep_current(engine: Engine) -> list[Kept]:
    """Compute the bridges of all flows at one T and K, for the months that may have changed, and keep them.

    Raises:
        Misconfigured: no flow has a bridge; or nothing was read yet.
    """
    begun_at = engine.clock()
    async with engine.store.connect() as conn:
        last = await bridges.last_attempt(conn)
    found = await prepared(engine, None, None, "scheduler", trigger="bridge")
    periods = await _periods(engine, found, None if last is None else last.as_known)
    computed = [
        (flow.flow, period, *await _computed(found.of(flow), period))
        for flow in found.flows
        for period in sorted(periods)
    ]
    ended_at = engine.clock()
    kept = [
        Kept(flow, period, found.as_of, found.as_known, begun_at, ended_at, document, error)
        for flow, period, document, error in computed
    ]
    async with engine.store.connect() as conn, conn.transaction():
        await bridges.keep(conn, kept)
    return kept


async def _computed(bridge: Bridge, period: str) -> tuple[Document | None, str | None]:
    """Return the bridge of a month, or why there is none."""
    if bridge.failed:
        return None, bridge.failed
    try:
        return await bridge.document(period), None
    except Exception as error:  # noqa: BLE001 -- whatever went wrong, that it did is kept
        return None, str(error) or type(error).__name__


async def _periods(engine: Engine, found: Bridge, since: datetime | None) -> set[str]:
    """Return this month and the one before, and the earlier ones whose bridges may have changed since a time."""
    first = (found.as_of - _DAY).replace(day=1)
    latest = _month(found.as_of + _DAY)  # by some entity's clock it may have begun
    periods = {_month(first - _DAY), _month(first), latest}
    if since is not None:
        async with engine.store.connect() as conn:
            earlier = await bridges.touched(conn, since, _types(found.flows))
            earlier |= await bridges.unsettled(conn, [flow.flow for flow in found.flows], since)
        periods |= {period for period in earlier if period < latest}
    return periods


def _types(flows: Iterable[Flow]) -> list[str]:
    """Return the event types that put a transaction into a month."""
    return sorted(
        {
            event_type
            for flow in flows
            for step in flow.steps
            if step.name in flow.bridge[:-1]
            for event_type in step.done_by
        }
    )


def _month(at: datetime) -> str:
    return f"{at:%Y-%m}"
