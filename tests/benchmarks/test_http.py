"""Reading speed over HTTP: a tenant's messages, from the sandbox in a process of its own, into the store.

Each message is read twice, at once and again when the overlap has passed: but for what is new in the
store, the time of both readings counts. The whole way with both readings is reported and
not asserted: the store shares the cores with the sandbox.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml

import connectors.sap_cloud_integration
from collector.clock import stopwatch
from collector.connector import Cursor, Redelivers
from collector.pipeline.ahead import Source
from collector.pipeline.collect import Collector
from collector.pipeline.mapping import CompiledMapping
from collector.settings.mapping import Mapping
from connectors.sap_cloud_integration.connector import MessagesReader
from connectors.sap_cloud_integration.options import MessagesOptions
from connectors.sap_cloud_integration.sandbox import (
    CLIENT_ID,
    CLIENT_SECRET,
    Message,
    Phase,
    Sandbox,
    Tenant,
)
from tests.benchmarks.report import report
from tests.connectors.cpi import Time
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

pytestmark = pytest.mark.bench

MESSAGES = 60_000
BAR_PER_S = 2_000
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""When the last of the messages has just ended, by both clocks."""
LATER = NOON + timedelta(minutes=11)
MAPPING = Path(connectors.sap_cloud_integration.__file__).parent / "golden" / "mapping.yaml"


def message(i: int) -> Message:
    end = NOON - timedelta(seconds=(i + 1) / BAR_PER_S)
    return Message(
        f"AGX7kq0WkfBv-{i:015}",
        end - timedelta(seconds=2),
        [Phase(end, "COMPLETED", end)],
        correlation_id=f"AGX7kq1evYrP-{i // 3:015}",
        application_id=f"{i:020}",
        application_type="ExpenseReport",
        sender="CONCUR",
        receiver="S4_PRD",
        headers=[("po_number", f"45{i % 9000:08}"), ("idoc_number", f"{i:016}")],
    )


def serve() -> None:
    """Serve a tenant; each line on the standard input sets its clock."""
    time = Time(NOON)
    tenant = Tenant(time)
    tenant.add(*map(message, range(MESSAGES)))
    with Sandbox(tenant) as sandbox:
        print(
            json.dumps({"base_url": sandbox.base_url, "token_url": sandbox.token_url}), flush=True
        )
        for line in sys.stdin:
            time.at = datetime.fromisoformat(line.strip())
            print("set", flush=True)


@contextmanager
def served() -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Start the sandbox in a process of its own; give it with its addresses."""
    words = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(  # noqa: S603 -- our own program
        words, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def set_clock(process: subprocess.Popen[str], at: datetime) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{at.isoformat()}\n")
    process.stdin.flush()
    process.stdout.readline()


def source(time: Time, addresses: dict[str, str]) -> Source:
    options = MessagesOptions(
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        start=NOON - timedelta(minutes=1),
        **addresses,
    )
    mapping = Mapping.model_validate(yaml.safe_load(MAPPING.read_text()))
    return Source(
        "cpi",
        "messages",
        "cpi/messages",
        MessagesReader(options, clock=time),
        CompiledMapping(mapping, "cpi/messages", date(2000, 1, 1)),
        Redelivers.OVERLAP,
        keep_raw=False,
    )


def read(of: Source, cursor: Cursor | None) -> tuple[int, Cursor | None, float]:
    """Read to the present; return the number of records, the cursor and the seconds that it took."""
    elapsed_s, records = stopwatch(), 0
    (part,) = of.reader.parts({})
    for chunk in of.reader.read(part, cursor):
        records += len(chunk.records)
        cursor = chunk.cursor
    return records, cursor, elapsed_s()


async def test_the_connector_keeps_up_with_two_thousand_messages_a_second(
    database: Database,
) -> None:
    time = Time(NOON)
    with served() as (process, addresses):
        cpi = source(time, addresses)
        async with DatabaseStore(database).connect() as conn:
            first, cursor, first_s = read(cpi, None)
            with Collector(conn, lambda _kind: 20, time) as collector:
                elapsed_s = stopwatch()
                stored = await collector.sync(cpi)
                stored_s = elapsed_s()
                time.at = LATER
                set_clock(process, LATER)
                second, _, second_s = read(cpi, cursor)
                elapsed_s = stopwatch()
                again = await collector.sync(cpi)
                again_s = elapsed_s()
    assert first == second == stored.accepted == again.duplicate == MESSAGES
    assert (stored.unread, again.unread, again.accepted) == (0, 0, 0)
    rates = {
        "http_messages_read": MESSAGES / (first_s + second_s),
        "http_messages_new_into_store": MESSAGES / stored_s,
        "http_messages_into_store": MESSAGES / (stored_s + again_s),
    }
    for name, rate in rates.items():
        report(name, rate, "messages/s", BAR_PER_S, "higher")
    assert rates["http_messages_read"] >= BAR_PER_S
    assert rates["http_messages_new_into_store"] >= BAR_PER_S
