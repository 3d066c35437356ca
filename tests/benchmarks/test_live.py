"""`tieout run` in a process of its own, over a file that grows: how soon the API shows a line, and what a burst does.

A line is visible when `/v1/traces` shows its event, asked over loopback HTTP every 50 ms: a measured time is too
long by up to that, never too short. The burst is written at twenty times the ordinary rate; what it does is read from the
product's own metrics.
"""

import json
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.benchmarks.processes import watched
from tests.benchmarks.report import report
from tests.support.postgres import Database

pytestmark = pytest.mark.bench

TIEOUT = str(Path(sys.executable).with_name("tieout"))
KEY = "bench-key-bench-key"
START = datetime(2026, 1, 1, tzinfo=UTC)
NORMAL_PER_S, BURST_PER_S = 1_000, 20_000
LATENCY_S, BURST_S = 120.0, 60.0
POLL_S = 0.05
PROBES, PROBERS = 600, 3
LATENCY_BAR_S, MEMORY_BAR_MB, RECOVERY_BAR_S = 1.0, 300.0, 120.0
CONFIGURATION = """\
tieout: 1
entities: {HQ: {name: HQ, calendar: office}}
calendars: {office: {timezone: Europe/Berlin}}
sources:
  shop:
    connector: files
    system: shop
    streams:
      orders:
        read: {path: orders.jsonl, format: jsonl, follow: true}
        mapping:
          key: id
          document: {type: sales_order, number: order}
          occurred_at: {value: at, timezone: in value}
          amount: {value: amount, currency: =EUR}
          entity: =HQ
          events:
            - rule: order
              type:
                value: what
                unknown: quarantine
                values: {ordered: sales_order.ordered, invoiced: sales_order.invoiced,
                         paid: sales_order.paid}
flows:
  - flow: orders
    title: Order to cash
    anchor: sales_order
    steps:
      - {name: ordered, system: shop, done_by: [sales_order.ordered]}
      - {name: invoiced, system: shop, after: ordered, due: 2 days, done_by: [sales_order.invoiced]}
      - {name: paid, system: shop, after: invoiced, due: 30 days, done_by: [sales_order.paid]}
api: {keys: ["${file:api.key}"]}
store: {dsn: "${file:store.dsn}"}
"""


def line(order: str, verb: int, n: int) -> str:
    record = {
        "id": f"{order}/{verb}",
        "order": order,
        "what": ("ordered", "invoiced", "paid")[verb],
        "at": (START + timedelta(milliseconds=n)).isoformat(),
        "amount": f"{n % 900}.25",
    }
    return json.dumps(record) + "\n"


class Till:
    """Appends lines to the file at a rate, in a thread, until it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1 << 20)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rate_per_s = 0
        self.written = 0

    def append(self, text: str, records: int = 1) -> None:
        with self._lock:
            self._file.write(text)
            self._file.flush()
            self.written += records

    def _run(self) -> None:
        """Every hundredth of a second write what is due: each order's three events, 3,000 lines apart."""
        due, n, before = 0.0, 0, time.monotonic()
        while not self._over.wait(0.01):
            now = time.monotonic()
            due, before = due + (now - before) * self.rate_per_s, now
            count, due = int(due), due % 1
            some = (divmod(i, 9_000) for i in range(n, n + count))
            n += count
            text = "".join(
                line(f"SO-{block * 3_000 + within % 3_000}", within // 3_000, n)
                for block, within in some
            )
            if text:
                self.append(text, count)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._file.close()


class Api:
    """What the API answers, to any thread."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def events(self, order: str) -> int:
        answer = self._client.get("/v1/traces", params={"key": order}, timeout=30)
        return sum(len(t["events"]) for t in answer.json().get("transactions", ()))

    def ready(self) -> bool:
        try:
            return self._client.get("/readyz", timeout=5).is_success
        except httpx.TransportError:
            return False

    def metric(self, name: str, **labels: str) -> float:
        text = self._client.get("/metrics", timeout=30).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return 0.0


def configure(folder: Path, database: Database) -> None:
    (folder / "tieout.yaml").write_text(CONFIGURATION, encoding="utf-8")
    (folder / "store.dsn").write_text(database.server.dsn("postgres", database.name))
    (folder / "api.key").write_text(KEY)


@contextmanager
def running(folder: Path, database: Database) -> Iterator[tuple[subprocess.Popen[str], Api]]:
    """Run `tieout run` on a free port until it is no longer used."""
    configure(folder, database)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    words = [TIEOUT, "--config", str(folder / "tieout.yaml"), "run", "--port", str(port)]
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {KEY}"}
    )
    with client, subprocess.Popen(words, text=True) as process:  # noqa: S603 -- our own program
        try:
            api = Api(client)
            until(api.ready, 60)
            yield process, api
        finally:
            process.send_signal(signal.SIGTERM)


def until(holds: Any, patience_s: float, every_s: float = POLL_S) -> float:  # noqa: ANN401 -- any question
    """Ask until the answer is yes; return the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < patience_s, "waited too long"
        time.sleep(every_s)
    return time.monotonic() - began


def probe(api: Api, till: Till, orders: Iterator[int], ends: float, found: list[float]) -> None:
    """Append the second event of one order after the other, and note when the API shows it."""
    while time.monotonic() < ends and (n := next(orders, None)) is not None:
        till.append(line(f"P-{n}", 1, n))
        found.append(until(lambda order=f"P-{n}": api.events(order) == 2, 60))
        time.sleep(0.1 + n % 7 / 10)  # at no fixed distance from the passes


def test_a_line_is_visible_through_the_api_within_a_second(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text("".join(line(f"P-{n}", 0, n) for n in range(PROBES)))
    found: list[float] = []
    with running(tmp_path, database) as (_, api), Till(path) as till:
        until(lambda: api.events(f"P-{PROBES - 1}") == 1, 60)
        till.rate_per_s = NORMAL_PER_S
        ends = time.monotonic() + LATENCY_S
        threads = [
            threading.Thread(
                target=probe, args=(api, till, iter(range(i, PROBES, PROBERS)), ends, found)
            )
            for i in range(PROBERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    cuts = statistics.quantiles(found, n=100)
    print(
        f"\n{len(found)} lines, {till.written / LATENCY_S:,.0f} lines/s, worst {max(found):.2f} s"
    )
    report("line to API at 1,000 events/s, median", cuts[49], "s", None, "lower")
    report("line to API at 1,000 events/s, 99 %", cuts[98], "s", LATENCY_BAR_S, "lower")
    assert len(found) >= 200
    assert cuts[98] <= LATENCY_BAR_S


def test_a_burst_is_worked_off_without_loss_in_little_memory(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text("")
    shop = {"source": "shop", "stream": "orders"}
    with running(tmp_path, database) as (process, api), Till(path) as till:

        def behind() -> float:
            return api.metric("tieout_ingest_behind_seconds", **shop)

        with watched(process) as peak:
            till.rate_per_s = NORMAL_PER_S
            time.sleep(10)
            till.rate_per_s = BURST_PER_S
            most, ends = 0.0, time.monotonic() + BURST_S
            while time.monotonic() < ends:
                most = max(most, behind())
                time.sleep(1)
            burst = till.written
            till.rate_per_s = NORMAL_PER_S
            recovered_s = until(lambda: behind() < 1, 10 * RECOVERY_BAR_S, 0.5)
            time.sleep(10)
            settled = behind()
        till.rate_per_s = 0
        time.sleep(0.1)
        until(
            lambda: (
                api.metric("tieout_ingest_events_total", **shop, outcome="accepted") >= till.written
            ),
            60,
        )
        taken_in = api.metric("tieout_ingest_events_total", **shop, outcome="accepted")
    assert burst >= 0.9 * BURST_S * BURST_PER_S, "the file did not grow as fast as it should"
    print(
        f"\n{burst:,} lines, at most {most:.0f} s behind, {settled:.2f} s behind 10 s after it was over"
    )
    report("behind at the end of a burst", most, "s", None, "lower")
    report("recovery from a burst", recovered_s, "s", RECOVERY_BAR_S, "lower")
    report("memory in a burst", peak.mb, "MB", MEMORY_BAR_MB, "lower")
    report("lines lost in a burst", till.written - taken_in, "lines", 0, "lower")
    assert till.written == taken_in
    assert most > 1, "a burst that is not seen shows nothing"
    assert recovered_s <= RECOVERY_BAR_S
    assert settled < 1
    assert peak.mb <= MEMORY_BAR_MB
