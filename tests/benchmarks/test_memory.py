"""Memory of `tieout sync` over one large file: bounded, and not by the size of the file.

The program runs in a process of its own; with the one that reads ahead, its peaks are sampled. A smaller file is
read to show that the larger one needs hardly more: what is remembered of documents fills up to its limit. `make bench` reads 200 MB of each format, `make bench-long` 5 GB.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from collector.clock import stopwatch
from collector.store.embedded import Server
from tests.benchmarks.processes import watched
from tests.benchmarks.report import report
from tests.support.postgres import fresh_database

TIEOUT = str(Path(sys.executable).with_name("tieout"))
BAR_MB, GROWTH_BAR = 300.0, 1.2
SIZES_MB = [(60, 200), pytest.param((1_000, 5_000), marks=pytest.mark.long)]
"""Of the file that is measured, and of one that it is held against."""
START = datetime(2026, 1, 1, tzinfo=UTC)
MEMO = "goods as agreed by telephone, delivered free to the door and checked on arrival. " * 10
FIELDS = ("id", "order", "what", "at", "amount", "memo")
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
        read: READ
        mapping:
          key: id
          document: {type: sales_order, number: order}
          occurred_at: {value: at, timezone: in value}
          amount: {value: amount, currency: =EUR}
          entity: =HQ
          attributes: {memo: memo}
          events:
            - rule: order
              type:
                value: what
                unknown: quarantine
                values: {ordered: sales_order.ordered, invoiced: sales_order.invoiced,
                         paid: sales_order.paid, archived: sales_order.archived}
store: {dsn: "${file:store.dsn}"}
"""


def record(n: int) -> list[str]:
    """Return the fields of one of an order's four events, which stand 10,000 records apart."""
    block, within = divmod(n, 40_000)
    verb, order = divmod(within, 10_000)
    at = START + timedelta(seconds=n)
    what = ("ordered", "invoiced", "paid", "archived")[verb]
    return [
        f"e{n}", f"SO-{block * 10_000 + order}", what, at.isoformat(), f"{n % 900}.25", MEMO
    ]  # fmt: skip


def json_lines(n: int) -> str:
    return json.dumps(dict(zip(FIELDS, record(n), strict=True))) + "\n"


def csv(n: int) -> str:
    return ";".join(record(n)) + "\n"


def xml(n: int) -> str:
    tags = (f"<{f}>{text}</{f}>" for f, text in zip(FIELDS, record(n), strict=True))
    return f"<order>{''.join(tags)}</order>\n"


FORMATS: dict[str, tuple[str, Callable[[int], str], str, str]] = {
    "JSON Lines": ("{path: orders, format: jsonl}", json_lines, "", ""),
    "CSV": (
        "{path: orders, format: csv, delimiter: ';', header: true}",
        csv,
        ";".join(FIELDS) + "\n",
        "",
    ),
    "XML": ("{path: orders, format: xml, records: order}", xml, "<orders>\n", "</orders>\n"),
}


def write(path: Path, form: str, size_mb: int) -> int:
    """Write a file of a size; return the number of records in it."""
    _, line, head, foot = FORMATS[form]
    n, written = 0, 0
    with path.open("w", encoding="utf-8") as file:
        file.write(head)
        while written < size_mb * 1_000_000:
            written += file.write("".join(line(i) for i in range(n, n + 1_000)))
            n += 1_000
        file.write(foot)
    return n


def synced(folder: Path, form: str, size_mb: int, dsn: str) -> tuple[float, float]:
    """Read a file of a size into a store; return the peak in MB and the speed in MB/s."""
    folder.mkdir()
    text = CONFIGURATION.replace("READ", FORMATS[form][0])
    (folder / "tieout.yaml").write_text(text, encoding="utf-8")
    (folder / "store.dsn").write_text(dsn)
    records = write(folder / "orders", form, size_mb)
    line = [TIEOUT, "--config", str(folder / "tieout.yaml"), "sync", "--json"]
    elapsed_s = stopwatch()
    with (
        subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process,  # noqa: S603 -- our own program
        watched(process) as peak,
    ):
        out, _ = process.communicate()
    took_s = elapsed_s()
    (tally,) = json.loads(out)["streams"]
    assert (tally["accepted"], tally["unread"]) == (records, 0)
    assert peak.processes == 2, "the process that reads ahead is counted"
    (folder / "orders").unlink()
    return peak.mb, size_mb / took_s


@pytest_asyncio.fixture
async def dsns(server: Server) -> AsyncIterator[tuple[str, str]]:
    async with fresh_database(server) as one, fresh_database(server) as two:
        yield server.dsn("postgres", one.name), server.dsn("postgres", two.name)


@pytest.mark.bench
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("sizes_mb", SIZES_MB)
def test_a_large_file_is_read_in_little_memory(
    form: str, sizes_mb: tuple[int, int], dsns: tuple[str, str], tmp_path: Path
) -> None:
    small_mb, size_mb = sizes_mb
    small, _ = synced(tmp_path / "small", form, small_mb, dsns[0])
    large, speed = synced(tmp_path / "large", form, size_mb, dsns[1])
    print(f"\n{form}, {size_mb} MB: {speed:.1f} MB/s; {small:.0f} MB of memory at {small_mb} MB")
    report(f"memory of {size_mb:,} MB {form}", large, "MB", BAR_MB, "lower")
    report(
        f"memory of {size_mb:,} MB {form} / {small_mb} MB",
        large / small,
        "ratio",
        GROWTH_BAR,
        "lower",
    )
    assert large <= BAR_MB
    assert large / small <= GROWTH_BAR
