"""A till and its bank, in JSON Lines: what the tests of the API are served from."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import uvicorn

from api.app import create_app
from api.auth import Keys
from api.context import Check
from api.wiring import Application, read_configuration
from collector.clock import Clock
from collector.store.session import Store
from tests.api.described import holding
from tests.support.store import at

KEY, SECOND_KEY = "first-key-for-the-tests", "second-key-for-the-tests"
START = datetime.fromisoformat("2026-01-05T08:00:00+00:00")
NOW = START + timedelta(days=27)

CONFIGURATION = """
tieout: 1
entities:
  DE10: {name: Lindenau GmbH, calendar: office}
calendars:
  office: {timezone: Europe/Berlin}
kinds:
  slip: {title: Slip of the till}
sources:
  till:
    connector: files
    system: till
    streams:
      sales:
        read: {path: "sales*.jsonl", format: jsonl, follow: true}
        complete: {covers: ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"], records: 4, by: the cashier}
        mapping:
          key: id
          document: {type: sale, number: sale}
          occurred_at: {value: at, timezone: in value}
          amount: {value: amount, currency: =EUR}
          entity: =DE10
          references: [{kind: slip, role: identity, value: slip}]
          events: [{rule: sold, type: sale.sold}]
  bank:
    connector: files
    system: bank
    streams:
      bookings:
        read: {path: "bookings*.jsonl", format: jsonl, follow: true}
        complete: {covers: ["2026-01-01T00:00:00Z", "2026-01-20T00:00:00Z"], by: the bank}
        mapping:
          key: id
          document: {type: booking, number: id}
          occurred_at: {value: at, timezone: in value}
          amount: {value: amount, currency: =EUR}
          references: [{kind: slip, role: identity, value: slip}]
          events: [{rule: booked, type: booking.booked}]
flows:
  - flow: sales
    title: Sales, from the till to the bank
    anchor: sale
    bridge: [sold, banked]
    steps:
      - {name: sold, title: Sold, system: till, done_by: [sale.sold]}
      - {name: banked, system: bank, after: sold, due: 2 days, done_by: [booking.booked]}
controls:
  stuck_sales: {check: stuck_transaction, flows: [sales], schedule: "0 6 * * mon-fri", severity: medium}
  stuck_again: {check: stuck_transaction, flows: [sales], parameters: {owned: []}}
"""


def sale(number: str, day: float) -> dict[str, Any]:
    at_ = (START + timedelta(days=day)).isoformat()
    return {
        "id": f"s-{number}",
        "sale": number,
        "slip": f"SLIP-{number}",
        "at": at_,
        "amount": "12.50",
    }


def booking(number: str, day: float) -> dict[str, Any]:
    at_ = (START + timedelta(days=day)).isoformat()
    return {"id": f"BANK-{number}", "slip": f"SLIP-{number}", "at": at_, "amount": "12.50"}


SALES = [sale("1001", 0), sale("1002", 1), sale("2003", 2), sale("2004", 3)]
BOOKINGS = [booking("1001", 1)]


def append(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def write(folder: Path, more: str = "") -> Path:
    """Write the files; return the path of their configuration. Two sales never reached the bank."""
    (folder / "tieout.yaml").write_text(CONFIGURATION + more)
    append(folder / "sales.jsonl", SALES)
    append(folder / "bookings.jsonl", BOOKINGS)
    return folder / "tieout.yaml"


class Served(NamedTuple):
    """An API that is served over loopback, and a client with a key."""

    application: Application
    url: str
    client: httpx.AsyncClient

    async def get(self, path: str, **query: Any) -> Any:  # noqa: ANN401 -- any JSON
        found = await self.client.get(path, params=query)
        assert found.status_code == 200, found.text
        return found.json()


async def open_application(store: Store, path: Path, clock: Clock | None = None) -> Application:
    """Load a configuration and read all its streams."""
    application = Application(read_configuration(path), store, clock or at(NOW))
    await application.prepare()
    async with store.connect() as conn:
        with application.collector(conn) as collector:
            for source in application.sources():
                await collector.sync(source)
    return application


@asynccontextmanager
async def served(
    application: Application, checks: Mapping[str, Check] | None = None
) -> AsyncIterator[Served]:
    """Serve the API with uvicorn on any free port; each answer is held against its description."""
    app = create_app(application, application.engine(), Keys([KEY, SECOND_KEY]), checks)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        running = asyncio.create_task(server._serve([listener]))
        headers = {"Authorization": f"Bearer {KEY}"}
        hooks = {"response": [holding(app.openapi())]}
        async with httpx.AsyncClient(
            base_url=url, headers=headers, timeout=30, event_hooks=hooks
        ) as client:
            yield Served(application, url, client)
        server.should_exit = True
        await running
