"""Four processes read the same transactions at once, and are held up at any instant: the store is that of one.

Each reads its own files first, then all of them read those of everybody, which they lease from each other. A
process is stopped (SIGSTOP) where a seed says, also with a transaction open, and goes on a little later.
"""

import json
import os
import signal
import subprocess
import time
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below
from typing import NamedTuple

import pytest

from collector.store.embedded import Server
from tests.collector.pipeline.test_crash import TIEOUT
from tests.support.campaigns import campaign
from tests.support.postgres import Database, fresh_database

PROCESSES = 4
HOLDERS_MAX, COMPONENT_MAX = 3, 1_000
START = datetime(2026, 1, 20, tzinfo=UTC)
VERBS = ("ordered", "invoiced", "paid")
STOPPED_S_MAX, BETWEEN_S_MAX = 0.06, 0.03
PATIENCE_S = 120.0

CONFIGURATION = """
tieout: 1
store: {{dsn: "${{file:{store}.dsn}}"}}
limits: {{max_documents: {limit}}}
kinds: {{shipment: {{}}, contract: {{}}}}
sources:
{sources}
flows:
  - flow: orders
    title: Order to cash
    anchor: sales_order
    steps:
      - {{name: ordered, system: shop, done_by: [sales_order.ordered]}}
      - {{name: paid, system: shop, after: ordered, done_by: [sales_order.paid]}}
"""
SOURCE = """\
  till{n}:
    connector: files
    system: shop
    streams:
      orders:
        namespace: tills
        read: {{path: "till{n}/*.jsonl", format: jsonl}}
        mapping: mapping.yaml
"""
MAPPING = """\
key: id
document: {type: sales_order, number: order}
occurred_at: {value: at, timezone: in value}
amount: {value: amount, currency: =EUR}
references:
  - {kind: shipment, role: identity, value: shipment}
  - {kind: contract, role: identity, value: contract}
  - {kind: payment_run, role: group, value: run}
events:
  - rule: order
    type:
      value: what
      unknown: quarantine
      values: {ordered: sales_order.ordered, invoiced: sales_order.invoiced, paid: sales_order.paid}
"""


class Size(NamedTuple):
    """How much there is to read: how often there is more, files of each process each time, records of a file."""

    passes: int
    files: int
    records: int


SIZE, SIZE_LONG = Size(1, 12, 20), Size(8, 25, 20)


class Tills:
    """Writes files whose records are about the same orders, and remembers who holds what."""

    def __init__(self, folder: Path, seed: int, size: Size) -> None:
        self.folder = folder
        self.size = size
        self.random = Random(seed)  # noqa: S311 -- no secret
        self.told: list[dict[str, str]] = []
        self.holders: defaultdict[str, set[str]] = defaultdict(set)
        self.orders: set[str] = set()
        self.hits = Counter[str]()
        folder.mkdir(exist_ok=True)
        (folder / "mapping.yaml").write_text(MAPPING, encoding="utf-8")
        self._orders = size.passes * size.files * size.records * 3 // 4
        for n in range(PROCESSES):
            (folder / f"till{n}").mkdir()

    def configure(self, store: str, dsn: str) -> Path:
        """Write a configuration over one of the stores."""
        sources = "".join(SOURCE.format(n=n) for n in range(PROCESSES))
        path = self.folder / f"{store}.yaml"
        path.write_text(
            CONFIGURATION.format(store=store, limit=HOLDERS_MAX, sources=sources), encoding="utf-8"
        )
        (self.folder / f"{store}.dsn").write_text(dsn, encoding="utf-8")
        return path

    def write(self, number: int) -> None:
        """Write the files of a pass."""
        for n in range(PROCESSES):
            for file in range(self.size.files):
                records = [self._record() for _ in range(self.size.records)]
                text = "".join(json.dumps(record) + "\n" for record in records)
                path = self.folder / f"till{n}/{number}-{file:03}.jsonl"
                path.write_text(text, encoding="utf-8")

    def _record(self) -> dict[str, str]:
        chance = self.random.random()
        if self.told and chance < 0.2:
            self.hits["told again"] += 1
            record = self.random.choice(self.told)
            if chance < 0.05:
                self.hits["told again with another amount"] += 1
                record = record | {"amount": f"{self.random.randrange(100)}.00"}
            return record
        order = f"SO-{self.random.randrange(self._orders)}"
        record = {
            "id": f"e{len(self.told)}",
            "at": (START + timedelta(hours=self.random.randrange(24 * 20))).isoformat(),
            "what": self.random.choice(VERBS) if chance < 0.98 else "unheard of",
            "order": order,
            "amount": f"{self.random.randrange(1_000)}.50",
            "shipment": f"SH-{self.random.randrange(self._orders)}" if chance < 0.6 else "",
            "contract": f"C-{self.random.randrange(self._orders // 4)}" if chance > 0.7 else "",
            "run": f"R-{self.random.randrange(5)}",
        }
        self.told.append(record)
        if record["what"] in VERBS:
            self.orders.add(order)
            for name in filter(None, (record["shipment"], record["contract"])):
                self.holders[name].add(order)
        return record


def sync(config: Path, *sources: str) -> subprocess.Popen[bytes]:
    line = [str(TIEOUT), "--config", str(config), "sync", *sources, "--json"]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603 -- our own program


def hold_up(processes: list[subprocess.Popen[bytes]], random: Random) -> int:
    """Stop one or two of them at a time for a moment, until all have ended; return how often."""
    stops, ends = 0, time.monotonic() + PATIENCE_S
    while alive := [p for p in processes if p.poll() is None]:
        assert time.monotonic() < ends, "they do not end"
        chosen = random.sample(alive, min(len(alive), random.randint(1, 2)))
        for sent in (signal.SIGSTOP, signal.SIGCONT):
            for process in chosen:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, sent)
            time.sleep(
                random.uniform(0, STOPPED_S_MAX if sent == signal.SIGSTOP else BETWEEN_S_MAX)
            )
        stops += len(chosen)
    return stops


def outcome(process: subprocess.Popen[bytes]) -> list[dict[str, object]]:
    """Return what a process says of its streams; it may leave to another what that one reads."""
    said, wrong = process.communicate()
    assert process.returncode in {0, 4}, wrong.decode()
    streams: list[dict[str, object]] = json.loads(said)["streams"]
    return streams


def dumped(config: Path) -> list[str]:
    line = [str(TIEOUT), "--config", str(config), "dump"]
    done = subprocess.run(line, capture_output=True, check=True, text=True, timeout=PATIENCE_S)  # noqa: S603 -- our own program
    return done.stdout.splitlines()


def read_at_once(tills: Tills, config: Path, alone: Path, hits: Counter[str]) -> None:
    """Read what there is with all processes at once, in turn each its own files and all everybody's."""
    random = Random(tills.size.passes)  # noqa: S311 -- how often it is asked is the machine's doing
    for number in range(tills.size.passes):
        tills.write(number)
        names = [[f"till{n}"] if number % 2 == 0 else [] for n in range(PROCESSES)]
        processes = [sync(config, *own) for own in names]
        hits["stopped"] += hold_up(processes, random)
        for streams in map(outcome, processes):
            assert number % 2 or any(s["accepted"] for s in streams)
            left = sum("another process" in str(s["remarks"]) for s in streams)
            hits.update({"streams of which parts were left to another": left} if number % 2 else {})
    rest = outcome(sync(config))
    assert [s["unread"] for s in rest] == [0] * PROCESSES
    outcome(sync(alone))
    hits.update(tills.hits)


def transactions(tills: Tills) -> list[set[str]]:
    """Join orders by the names that not too many of them hold."""
    parts = [{order} for order in tills.orders]
    for orders in tills.holders.values():
        if len(orders) <= HOLDERS_MAX:
            joined = [part for part in parts if part & orders]
            parts = [part for part in parts if not part & orders] + [set().union(*joined)]
    return parts


APART = "orders of transactions that are too large"


async def compare(tills: Tills, server: Server, database: Database, hits: Counter[str]) -> None:
    """Read with four and with one; both stores must say the same, and there must be something to get wrong."""
    config = tills.configure("four", server.dsn("postgres", database.name))
    async with fresh_database(server) as other:
        alone = tills.configure("one", server.dsn("postgres", other.name))
        read_at_once(tills, config, alone, hits)
        found = dumped(config)
        assert found == dumped(alone)
    sizes = Counter(
        len(row["documents"]) for row in map(json.loads, found) if row["row"] == "transaction"
    )
    parts = transactions(tills)
    apart = sum(len(part) for part in parts if len(part) > COMPONENT_MAX)
    expected = Counter(len(part) for part in parts if len(part) <= COMPONENT_MAX)
    assert sizes == expected + Counter({1: apart})
    hits.update({APART: apart} if apart else {})
    assert max(sizes) > HOLDERS_MAX
    hits["names that too many hold"] = sum(len(o) > HOLDERS_MAX for o in tills.holders.values())
    assert all(hits.values())
    assert hits.keys() >= {"stopped", "told again", "told again with another amount"}


async def test_four_at_once_leave_the_store_of_one_that_read_in_order(
    server: Server, database: Database, tmp_path: Path
) -> None:
    await compare(Tills(tmp_path / "tills", 1, SIZE), server, database, Counter())


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3])
async def test_four_at_once_in_many_rounds_leave_the_store_of_one(
    server: Server, database: Database, tmp_path: Path, seed: int
) -> None:
    with campaign("four processes on the same transactions", "what one process makes") as hits:
        await compare(Tills(tmp_path / "tills", seed, SIZE_LONG), server, database, hits)
        assert hits[APART]
