"""The delivery of notices: once each to webhooks, and what fires again and again to Alertmanagers.

What fails is tried again after longer and longer waits, or when the receiver says, until it is given up
(`collector.store.alerts.GIVE_UP`). A destination that is out of reach holds up no other.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- the type; a seeded one is injected where it matters
from typing import NamedTuple

from collector.clock import Clock
from collector.errors import Misconfigured, TieoutError, Transient
from collector.http import Http
from collector.settings.alerts import Alertmanager, Webhook, signing_key
from collector.settings.load import Configuration, resolve
from collector.store import alerts
from collector.store.alerts import Delivery
from collector.store.ingest import Connection
from collector.store.session import Store
from control_checks.notify import alertmanager, webhook

BACKOFF = timedelta(seconds=5)
"""Before the second attempt; it doubles each time, and up to half of it is taken off by chance."""
DOUBLINGS_MAX = 9
"""Then it stays, at 43 minutes at most."""
RETRY_AFTER_MAX = timedelta(days=1)
TIMEOUT_S = 10.0
RENEW = timedelta(minutes=1)
"""How often an Alertmanager is told again what fires; its documentation asks for half a minute to three."""

_log = logging.getLogger(__name__)


class Round(NamedTuple):
    """What one round of deliveries came to; `failed` is by destination, with the last error of each."""

    sent: int
    failed: dict[str, str]
    given_up: int


class _Target(NamedTuple):
    """A destination with its secrets; `keys` sign, none where it is no webhook. Never print it."""

    url: str
    headers: dict[str, str]
    keys: list[bytes]


class Courier:
    """Delivers what is due. Any number of them may work at a time; each delivery is claimed by one."""

    def __init__(
        self,
        store: Store,
        configuration: Configuration,
        clock: Clock,
        random: Random | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._store = store
        self._configuration = configuration
        self._clock = clock
        self._random = random or Random()  # noqa: S311 -- spreads retries; nothing secret
        self._timeout_s = timeout_s
        self._renewed: dict[str, datetime] = {}
        self._targets = {
            name: _target(destination, configuration.folder)
            for name, destination in configuration.settings.alerts.items()
        }

    async def deliver(self) -> Round:
        """Deliver what is due, and tell Alertmanagers again what fires.

        Raises:
            NotConnected: the store cannot be reached.
        """
        async with self._store.connect() as conn:
            given_up = await alerts.give_up(conn, self._clock())
        if given_up:
            _log.error("%d alerts could not be delivered and are given up.", given_up)
        names = list(self._configuration.settings.alerts)
        done = await asyncio.gather(*map(self._deliver_to, names))
        failed = {name: error for name, (_, error) in zip(names, done, strict=True) if error}
        return Round(sum(sent for sent, _ in done), failed, given_up)

    async def test(self, name: str) -> None:
        """Send a test message to a destination.

        Raises:
            Misconfigured: there is no such destination; the message lists those that there are.
            TieoutError: it does not take the message.
        """
        destination = self._configuration.settings.alerts.get(name)
        if destination is None:
            known = ", ".join(self._configuration.settings.alerts) or "none is configured"
            raise Misconfigured(f"There is no destination '{name}'. Destinations: {known}.")
        now = self._clock()
        if isinstance(destination, Webhook):
            content = webhook.body(webhook.test_notice(now))
        else:
            content = alertmanager.test_payload(now)
        await asyncio.to_thread(self._post, name, content)

    async def _deliver_to(self, name: str) -> tuple[int, str | None]:
        """Deliver to one destination; return how many arrived, and the last error."""
        sent, error = 0, None
        async with self._store.connect() as conn:
            while waiting := await alerts.due(conn, name, self._clock()):
                for delivery in waiting:
                    if not await alerts.claim(conn, name, delivery, self._clock()):
                        continue
                    failure = await self._attempt(conn, name, delivery)
                    sent += failure is None
                    error = str(failure) if failure else error
                    if isinstance(failure, Transient):
                        return sent, error
            if isinstance(self._configuration.settings.alerts[name], Alertmanager):
                error = await self._renew(conn, name) or error
        return sent, error

    async def _attempt(self, conn: Connection, name: str, delivery: Delivery) -> TieoutError | None:
        try:
            await asyncio.to_thread(self._send, name, delivery)
        except TieoutError as error:
            again_at = self._clock() + self._wait(delivery.attempts, error)
            await alerts.note_failed(conn, name, delivery.run, str(error), again_at)
            _log.warning("The alert of run %d did not reach %s: %s", delivery.run, name, error)
            return error
        await alerts.note_sent(conn, name, delivery.run, self._clock())
        return None

    async def _renew(self, conn: Connection, name: str) -> str | None:
        """Tell an Alertmanager again what fires, if it was not told lately; return what went wrong."""
        now = self._clock()
        if now - self._renewed.get(name, now - RENEW) < RENEW:
            return None
        controls = list(self._configuration.settings.controls)
        notices = [(d.notice, None) for d in await alerts.told(conn, name, controls)]
        try:
            await asyncio.to_thread(self._post, name, alertmanager.payload(notices, now))
        except TieoutError as error:
            _log.warning("What fires could not be told again to %s: %s", name, error)
            return str(error)
        self._renewed[name] = now
        return None

    def _wait(self, attempts: int, error: TieoutError) -> timedelta:
        whole: timedelta = BACKOFF * 2 ** min(attempts, DOUBLINGS_MAX)
        wait = whole * (1 - self._random.random() / 2)
        asked = error.wait_s if isinstance(error, Transient) else None
        return wait if asked is None else max(wait, min(timedelta(seconds=asked), RETRY_AFTER_MAX))

    def _send(self, name: str, delivery: Delivery) -> None:
        if self._targets[name].keys:
            self._post(name, webhook.body(delivery.notice))
        else:
            now = self._clock()
            self._post(name, alertmanager.payload([(delivery.notice, delivery.before)], now))

    def _post(self, name: str, content: bytes) -> None:
        target = self._targets[name]
        headers = {"content-type": "application/json", **target.headers}
        if target.keys:
            headers |= webhook.headers(target.keys, content, self._clock())
        with Http(target.url, clock=self._clock, timeout_s=self._timeout_s) as http:
            http.post(target.url, content, headers=headers)


def _target(destination: Alertmanager | Webhook, folder: Path) -> _Target:
    """Put a destination's secrets in their places."""
    url = resolve(destination.url, folder)
    if isinstance(destination, Webhook):
        secrets = destination.secrets.values()
        return _Target(url, {}, [signing_key(resolve(secret, folder)) for secret in secrets])
    headers = {name: resolve(value, folder) for name, value in destination.headers.items()}
    return _Target(url.rstrip("/") + alertmanager.PATH, headers, [])
