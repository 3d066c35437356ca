"""One of two programs that collect, or COPY, at the same time.

For each file that it is told on standard input it says when it is ready, waits for a further line, and says how many
seconds the file took.
"""

import asyncio
import pickle
import sys
from pathlib import Path
from typing import Any

import asyncpg

from collector.clock import now, stopwatch
from collector.pipeline.collect import Collector
from tests.benchmarks.company import collect, copy, limit


def read(path: str) -> Any:  # noqa: ANN401 -- rows by table
    return pickle.loads(Path(path).read_bytes())  # noqa: S301 -- our own


async def work(what: str, dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    with Collector(conn, limit, now) as collector:
        while path := sys.stdin.readline().strip():
            added = read(path) if what == "copy" else {}
            print("ready", flush=True)
            sys.stdin.readline()
            elapsed = stopwatch()
            if what == "copy":
                await copy(conn, added)
            else:
                await collect(collector, Path(path))
            print(elapsed(), flush=True)
    await conn.close()


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
