"""Reading speed of the files connector, against bare loops over the same files."""

import gzip
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

from collector.clock import stopwatch
from connectors.files.connector import FilesReader
from connectors.files.options import FilesOptions
from tests.benchmarks.report import report
from tests.connectors.reading import data

ROUNDS = 5

pytestmark = pytest.mark.bench


def ours(path: Path) -> int:
    """Read a file chunk by chunk, as the pipeline does; return the number of records."""
    reader = FilesReader(FilesOptions(path=path.name), path.parent)
    (part,) = reader.parts({})
    return sum(len(chunk.records) for chunk in reader.read(part, None))


def bare(path: Path) -> int:
    """Iterate over all elements of the file and do nothing with them; return the events."""
    events = 0
    with gzip.open(path) as file:
        for _, element in etree.iterparse(file):
            events += str(element.tag).endswith("}event")
            element.clear()
    return events


def bare_traces(path: Path) -> int:
    """Iterate over the traces only: the parser at its fastest, without a look at an event."""
    traces = 0
    with gzip.open(path) as file:
        for _, element in etree.iterparse(file, tag="{*}trace"):
            traces += 1
            element.clear()
            parent = element.getparent()
            while parent is not None and element.getprevious() is not None:
                del parent[0]
    return traces


def medians(path: Path, *functions: Callable[[Path], int], rounds: int = ROUNDS) -> list[float]:
    """Return the median seconds of each function over interleaved rounds."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, seconds, strict=True):
            watch = stopwatch()
            function(path)
            taken.append(watch())
    return [statistics.median(taken) for taken in seconds]


def test_xes_is_read_at_two_fifths_of_the_speed_of_a_bare_loop() -> None:
    path = data("bpic2020/DomesticDeclarations.xes.gz")
    assert ours(path) == bare(path)
    mine, all_elements, traces = medians(path, ours, bare, bare_traces)
    report("xes_of_bare_trace_loop", traces / mine, "ratio", 0.4, "higher")
    assert report("xes_of_bare_iterparse", all_elements / mine, "ratio", 0.4, "higher") >= 0.4


def test_json_lines_take_little_time_per_record(tmp_path: Path) -> None:
    records = 200_000
    path = tmp_path / "a.jsonl"
    row = {"id": "RPT-000000", "status": "APPROVED", "total": 1234.56, "currency": "EUR", "line": 7}
    path.write_text("".join(json.dumps(row | {"n": n}) + "\n" for n in range(records)))
    seconds = min(medians(path, ours, rounds=1)[0] for _ in range(ROUNDS))  # not what others took
    assert report("json_lines_record", seconds / records * 1e6, "us", 2.5, "lower") <= 2.5
