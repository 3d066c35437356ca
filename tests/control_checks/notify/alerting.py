"""A till whose sales must reach the bank, with alerts to a webhook, and time that the test sets."""

import base64
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below
from typing import Any

from api.wiring import Application, read_configuration
from collector.model.control import Run
from collector.store import alerts
from collector.store.session import Store
from control_checks.notify.courier import Courier
from tests.api.till import NOW, append, booking, open_application, sale, write
from tests.support.hooks import Post

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 -- nobody's
OLD_SECRET = "whsec_dGhlIG9sZCBvbmUgb2YgYSB3ZWJob29r"  # noqa: S105 -- nobody's
CONTROL = "stuck_sales"
COMPLETE = ('"2026-01-20T00:00:00Z"], by: the bank', '"2027-01-01T00:00:00Z"], by: the bank')
"""What to replace in the configuration, so that the bank is declared complete beyond the present."""
_PARAMETERS = "{approved: sold, posted: sold, paid: banked, due: 2 days}"
PAID = (
    "check: stuck_transaction, flows: [sales], schedule",
    f"check: approved_not_paid, flows: [sales], parameters: {_PARAMETERS}, schedule",
)
"""What to replace, so that the control looks at every sale: it says of each whether it is in order."""
REFUNDS = """
  - flow: refunds
    title: Refunds
    anchor: refund
    steps:
      - {name: sold, system: till, done_by: [refund.made]}
      - {name: banked, system: till, after: sold, done_by: [refund.banked]}
controls:"""
REFUND_STREAM = """
      refunds:
        read: {path: refunds.jsonl, format: jsonl}
        mapping:
          key: id
          document: {type: refund, number: id}
          occurred_at: {value: at, timezone: in value}
          events:
            - {rule: made, type: refund.made}
            - {rule: banked, type: refund.banked}
  bank:"""


class Till:
    """The till, its files read; `run` runs its control a minute later."""

    def __init__(self, application: Application, folder: Path) -> None:
        self.application = application
        self.folder = folder
        self.now = NOW

    @property
    def store(self) -> Store:
        return self.application.store

    def clock(self) -> datetime:
        return self.now

    async def run(
        self,
        control: str = CONTROL,
        as_of: datetime | None = None,
        as_known: datetime | None = None,
    ) -> Run:
        self.now += timedelta(minutes=1)
        return await self.application.engine().run(
            control, as_of, as_known, trigger="command", actor="test"
        )

    async def bank(self, *numbers: str) -> None:
        """Have sales reach the bank, and read that."""
        append(self.folder / "bookings.jsonl", [booking(number, 20) for number in numbers])
        await self.read()

    async def sell(self, *numbers: str) -> None:
        """Have sales made that do not reach the bank, and read that."""
        append(self.folder / "sales.jsonl", [sale(number, 4) for number in numbers])
        await self.read()

    async def change(self, old: str, new: str) -> None:
        """Edit the configuration, and publish it as the next command would."""
        path = self.folder / "tieout.yaml"
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))
        self.application = Application(read_configuration(path), self.store, self.clock)
        await self.application.prepare()

    async def read(self) -> None:
        async with self.store.connect() as conn:
            with self.application.collector(conn) as collector:
                for source in self.application.sources():
                    await collector.sync(source)

    def courier(self, timeout_s: float = 5) -> Courier:
        random = Random(5)  # noqa: S311 -- of waiting times
        application = self.application
        return Courier(self.store, application.configuration, self.clock, random, timeout_s)

    async def notices(self) -> list[Any]:
        """What the control said so far, oldest first."""
        async with self.store.connect() as conn:
            found = await alerts.due(conn, "cases", self.now + timedelta(days=300))
            out = []
            while found:
                (delivery,) = found
                out.append(delivery.notice["data"])
                await alerts.note_sent(conn, "cases", delivery.run, self.now)
                found = await alerts.due(conn, "cases", self.now + timedelta(days=300))
        return out


async def open_till(store: Store, folder: Path, section: str, *changes: tuple[str, str]) -> Till:
    """Write the till's configuration with an `alerts:` section, and read its files."""
    path = write(folder, f"alerts: {section}\n")
    (folder / "webhook.secret").write_text(SECRET)
    text = path.read_text()
    for old, new in (
        (", records: 4", ""),
        ("\ncontrols:", REFUNDS),
        ("\n  bank:", REFUND_STREAM),
        *changes,
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    times = [NOW]
    application = await open_application(store, path, lambda: times[0])
    till = Till(application, folder)
    till.application = application._replace(clock=till.clock)
    return till


def webhook(**urls: str) -> str:
    """Write webhooks by name; without any, one called `cases` that nobody listens to."""
    secret = "${file:webhook.secret}"  # noqa: S105 -- a reference
    return json.dumps(
        {
            name: {"to": "webhook", "url": url, "secret": secret}
            for name, url in (urls or {"cases": "http://127.0.0.1:9/hook"}).items()
        }
    )


def verified(post: Post) -> str:
    """Return the one secret that verifies a request."""
    assert post.headers["webhook-signature"].split(" ") == [signed(post, SECRET)]
    return SECRET


def signed(post: Post, secret: str) -> str:
    """Sign a request by the specification and the standard library alone."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = (
        f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode() + post.body
    )
    return f"v1,{base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()}"
