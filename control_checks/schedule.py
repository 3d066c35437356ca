"""Run controls by their schedules, each once, however many processes there are; and keep the bridges current.

Every process may call `Schedule.serve`. One leads, by a lock that lives as long as its connection; when
it dies another takes over within LEAD_S and makes up for what fell due in between.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger

from collector.clock import Clock
from collector.errors import TieoutError
from collector.store import findings
from collector.store.connection import DATABASE_ERRORS
from collector.store.ingest import Connection
from collector.store.leader import still_leads, try_lead
from control_checks.bridge import current
from control_checks.runner import Engine

OFFICE = "schedule"
LEAD_S = 2.0
"""How often a leader makes sure that it leads, and a follower tries to."""
BRIDGE_LOOK_S = 5.0
"""How often a leader asks whether the bridges are to be computed again."""
GRACE_S = 3_600
"""A run that could not start when it was due is started up to an hour later, once."""
RUNS_MAX = 2
"""Controls that run at the same time: many are due at six o'clock."""

_log = logging.getLogger(__name__)


class Schedule:
    """The schedules of an engine's controls. `alive` says whether the scheduler runs."""

    def __init__(self, engine: Engine, clock: Clock, lead_s: float = LEAD_S) -> None:
        self.engine = engine
        self._clock = clock
        self._lead_s = lead_s
        self._since = clock()
        self._runs: dict[str, asyncio.Task[Any]] = {}
        self._slots = asyncio.Semaphore(RUNS_MAX)
        self._made_up: set[asyncio.Task[bool]] = set()
        self.alive = False
        self._leading = asyncio.Event()
        self.triggers = {
            control_id: CronTrigger.from_crontab(control.schedule, timezone=UTC)
            for control_id, control in engine.configuration.settings.controls.items()
            if control.schedule is not None
        }
        self.scheduler = AsyncIOScheduler(timezone=UTC)
        for control_id, trigger in self.triggers.items():
            self.scheduler.add_job(
                self.fire,
                trigger,
                (control_id,),
                id=control_id,
                coalesce=True,
                max_instances=1,
                misfire_grace_time=GRACE_S,
            )

    @property
    def leads(self) -> bool:
        """Whether this process is the one that starts controls."""
        return self._leading.is_set()

    async def serve(self, stop: asyncio.Event) -> None:
        """Lead or wait to lead until told to stop; then let what runs end."""
        self.scheduler.start()
        self.alive = True
        bridges = asyncio.create_task(self._keep_bridges(stop))
        try:
            while not stop.is_set():
                try:
                    async with self.engine.store.connect() as conn:
                        await self._serve_over(conn, stop)
                except (TieoutError, *DATABASE_ERRORS, TimeoutError) as error:
                    _log.warning("The scheduler lost the store: %s", error)
                    await pause(stop, self._lead_s)
        finally:
            self.alive = False
            self.scheduler.shutdown(wait=False)
            bridges.cancel()  # it may take minutes, and the next leader begins again
            await asyncio.wait([bridges])
            await self._rest()

    async def _serve_over(self, conn: Connection, stop: asyncio.Event) -> None:
        """Lead over one connection as soon as nobody else does, until it breaks."""
        try:
            while not stop.is_set():
                if self._leading.is_set():
                    await still_leads(conn)
                elif await try_lead(conn, OFFICE):
                    self._leading.set()
                    _log.info("This process now runs the scheduled controls.")
                    await self._catch_up(conn)
                await pause(stop, self._lead_s)
            self._leading.clear()  # what waits for a slot stays out; the lock is held to the end
            await self._rest()
        finally:
            self._leading.clear()

    async def fire(self, control_id: str) -> bool:
        """Run a control that is due, if this process leads; return whether it ran."""
        current = asyncio.current_task()
        if not self._leading.is_set() or control_id in self._runs or current is None:
            return False
        self._runs[control_id] = current
        try:
            async with self._slots:
                if not self._leading.is_set():
                    return False
                run = await self.engine.run(
                    control_id, None, None, trigger="schedule", actor="scheduler"
                )
        except (TieoutError, *DATABASE_ERRORS) as error:
            _log.error("The run of %s could not be kept: %s", control_id, error)
            return False
        finally:
            del self._runs[control_id]
        _log.info("Control %s ran by schedule: %s (run %d).", control_id, run.verdict, run.run)
        return True

    async def _catch_up(self, conn: Connection) -> None:
        """Start what fell due while nobody led, within the grace, once each."""
        now = self._clock()
        ran = await findings.last_scheduled(conn)
        for control_id, trigger in self.triggers.items():
            due = _last_due(trigger, now)
            since = ran.get(control_id)
            if due is None or (since is not None and since >= due):
                continue
            if since is not None or due >= self._since:
                task = asyncio.create_task(self.fire(control_id))
                self._made_up.add(task)
                task.add_done_callback(self._made_up.discard)

    async def _keep_bridges(self, stop: asyncio.Event) -> None:
        """Compute the bridges again whenever they are due, in the place of one control."""
        while not stop.is_set():
            await pause(stop, BRIDGE_LOOK_S)
            try:
                if self.leads and not stop.is_set() and await current.is_due(self.engine):
                    async with self._slots:
                        kept = await current.keep_current(self.engine)
                    _log.info("Computed %d bridges as of %s.", len(kept), kept[0].as_of)
            except (TieoutError, *DATABASE_ERRORS, TimeoutError) as error:
                _log.warning("The bridges could not be computed: %s", error)
            except Exception:  # noqa: BLE001 -- a defect must not end this in silence
                _log.exception("Computing the bridges failed.")

    async def _rest(self) -> None:
        """Wait for the runs that are under way."""
        while under_way := {*self._runs.values(), *self._made_up}:
            await asyncio.wait(under_way)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait some seconds, or until told to stop."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


def _last_due(trigger: BaseTrigger, now: datetime) -> datetime | None:
    """Return when it was last due within the grace before `now`."""
    last = None
    upcoming = trigger.get_next_fire_time(None, now - timedelta(seconds=GRACE_S))
    while upcoming is not None and upcoming <= now:
        last = upcoming
        upcoming = trigger.get_next_fire_time(last, last + timedelta(microseconds=1))
    return last
