"""Collects what the benchmarks measure into build/bench.json."""

import json
from pathlib import Path
from typing import Literal

RESULTS = Path(__file__).parents[2] / "build" / "bench.json"


def report(
    name: str, value: float, unit: str, bar: float, better: Literal["higher", "lower"]
) -> float:
    """Print a result, replace it in the file, and return it; `bar` is what it must reach."""
    result = {"name": name, "value": round(value, 4), "unit": unit, "bar": bar, "better": better}
    RESULTS.parent.mkdir(exist_ok=True)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    results = [other for other in kept if other["name"] != name] + [result]
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{name}: {value:.3g} {unit} (bar {bar:g}, {better} is better)")
    return value
