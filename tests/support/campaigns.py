"""Collects what fault campaigns injected, of which `make bench-report` makes the figures of docs/reliability.md.

A campaign that ended well adds a line to build/faults.jsonl: several may end at once. `python -m
tests.support.campaigns` keeps the last one of each test in docs/reliability.json; tests that did not run keep theirs.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector.clock import now, stopwatch
from tests.benchmarks.report import machine

ROOT = Path(__file__).parents[2]
AS_WRITTEN, ORACLE = "what was written", "what the oracle says"
UNDISTURBED = "an undisturbed run's dump"
RECORD, KEPT = ROOT / "build/faults.jsonl", ROOT / "docs/reliability.json"


@contextmanager
def campaign(name: str, equal_to: str, part: object = "") -> Iterator[Counter[str]]:
    """Give a counter of what hits, by kind; a block that ends well has found the store `equal_to` that.

    Tests that give one name are told together, and so are the parts of a long one, each recorded when it has ended.
    """
    hits, elapsed_s = Counter[str](), stopwatch()
    yield hits
    test = os.environ["PYTEST_CURRENT_TEST"]  # noqa: TID251 -- pytest says there which test runs
    row = {
        "test": test.rpartition(" ")[0] + (f"[{part}]" if part != "" else ""),
        "name": name,
        "hits": dict(hits),
        "equal_to": equal_to,
        "s": round(elapsed_s(), 1),
        "at": now().date().isoformat(),
        "load": round(os.getloadavg()[0], 1),
        "machine": machine(),
    }
    RECORD.parent.mkdir(exist_ok=True)
    with RECORD.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(f"\n{name}, equal to {equal_to}: {dict(hits)}")  # noqa: T201 -- for who runs it with -s


def merged(kept: list[dict[str, Any]], lines: list[str]) -> list[dict[str, Any]]:
    """Return the last row of each test, by test."""
    rows = {row["test"]: row for row in [*kept, *map(json.loads, lines)]}
    return [rows[test] for test in sorted(rows)]


def main() -> None:
    """Take over what was recorded."""
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else []
    lines = RECORD.read_text(encoding="utf-8").splitlines() if RECORD.exists() else []
    KEPT.write_text(json.dumps(merged(kept, lines), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
