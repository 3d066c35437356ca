"""Two collectors over the same documents at the same time, against two connections that COPY the same rows.

Each of the four is a program of its own; two work at a time, over one store or its twin. Each collector reads a file
of its own: new reports, and old ones, of which the other may read at the same time. The first round warms up.
"""

import pickle
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import pytest

from collector.clock import now
from collector.pipeline.collect import Collector
from collector.store.embedded import Server
from tests.benchmarks.company import (
    BATCH,
    ROUND_BATCHES,
    Company,
    Mark,
    collect,
    connected,
    limit,
    parts,
    twin,
)
from tests.benchmarks.report import report
from tests.support.postgres import fresh_database

pytestmark = pytest.mark.bench

OLD_ROUNDS = 3
ROUNDS = 5
BAR = 0.5


class Pair:
    """Two programs that do the same over two files."""

    def __init__(self, programs: Sequence["subprocess.Popen[str]"]) -> None:
        self._programs = programs

    def work(self, files: Sequence[Path]) -> float:
        """Have each do its file, at the same time; return the seconds of the slower one."""
        for program, path in zip(self._programs, files, strict=True):
            _tell(program, str(path))
        for program in self._programs:
            assert _said(program) == "ready"
        for program in self._programs:
            _tell(program, "go")
        return max(float(_said(program)) for program in self._programs)


def _tell(program: "subprocess.Popen[str]", line: str) -> None:
    assert program.stdin is not None
    program.stdin.write(f"{line}\n")
    program.stdin.flush()


def _said(program: "subprocess.Popen[str]") -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


@contextmanager
def paired(what: str, dsn: str) -> Iterator[Pair]:
    command = [sys.executable, "-m", "tests.benchmarks.pair", what, dsn]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        programs = [
            stack.enter_context(subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe))  # noqa: S603 -- ours
            for _ in range(2)
        ]
        yield Pair(programs)
    assert [program.wait() for program in programs] == [0, 0]


async def test_two_collectors_keep_up_with_two_that_copy(server: Server, tmp_path: Path) -> None:
    company, found = Company(tmp_path), []
    async with fresh_database(server) as database, AsyncExitStack() as stack:
        async with connected(database.dsn()) as conn:
            with Collector(conn, limit, now) as collector:
                for n in range(OLD_ROUNDS):
                    await collect(collector, company.round(f"old-{n}"))
        company.old = range(company.reports)
        name = await stack.enter_async_context(twin(server, database))
        conn = await stack.enter_async_context(connected(database.dsn()))
        collecting = stack.enter_context(paired("collect", database.dsn()))
        copying = stack.enter_context(paired("copy", server.dsn("tieout_app", name)))
        for n in range(ROUNDS + 1):
            mark, month = await Mark.of(conn), company.at.date().replace(day=1)
            took = collecting.work([company.round(f"{n}-{k}") for k in (0, 1)])
            added = await mark.added(conn, month)
            assert len(added["event"]) == 2 * BATCH * ROUND_BATCHES
            split = {table: list(parts(rows, 2)) for table, rows in added.items()}
            files = [tmp_path / f"rows-{k}" for k in (0, 1)]
            for k, file in enumerate(files):
                file.write_bytes(pickle.dumps({t: pieces[k] for t, pieces in split.items()}))
            bare = copying.work(files)
            found.append((bare / took, len(added["event"]) / took))
            print("round {}: ratio {:.2f}, {:,.0f}/s".format(n, *found[-1]))
    ratio, speed = map(statistics.median, zip(*found[1:], strict=True))
    report("two collectors / two that COPY the same rows", ratio, "ratio", BAR, "higher")
    report("two collectors", speed, "events/s", None, "higher")
    assert ratio >= BAR
