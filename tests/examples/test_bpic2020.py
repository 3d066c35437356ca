"""Two real logs, read by mapping alone, held against an independent reader of the same files."""

import gzip
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below
from typing import Any

import pytest

from tests.support import bpic
from tests.support.postgres import temporary_base

EXAMPLE = Path(__file__).parents[2] / "examples" / "bpic2020"
TIEOUT = Path(sys.executable).with_name("tieout")
END = "2019-01-31T00:00:00+01:00"
EARLIER = [
    pytest.param(as_of, marks=pytest.mark.long)
    for as_of in (
        "2017-06-30T00:00:00+02:00",
        "2018-01-31T12:00:00+01:00",
        "2018-09-01T08:30:00+02:00",
    )
]
RECORDS = {"domestic": 55_628, "requests": 36_072}
CASES = {"domestic": 10_357, "requests": 6_760}


class Store:
    """An example's folder and a data folder: commands are run on them as people do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, *arguments: str) -> list[str]:
        config, data = self.folder / "tieout.yaml", self.folder / "data"
        return [str(TIEOUT), "--config", str(config), "--data-dir", str(data), *arguments]

    def run(self, *arguments: str, exit_code: int = 0) -> bytes:
        done = subprocess.run(  # noqa: S603 -- our own program
            self.command(*arguments), capture_output=True, check=False, timeout=300
        )
        assert done.returncode == exit_code, done.stderr.decode()
        return done.stdout

    def json(self, *arguments: str, exit_code: int = 0) -> Any:  # noqa: ANN401 -- a document
        return json.loads(self.run(*arguments, "--json", exit_code=exit_code))


def example(folder: Path, logs: Path | None = None) -> Store:
    folder.mkdir(mode=0o711)
    for file in EXAMPLE.iterdir():
        shutil.copy(file, folder)
    for name in bpic.LOGS.values():
        (folder / name).symlink_to((logs or bpic.folder()) / name)
    return Store(folder)


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    with temporary_base() as folder:
        yield folder


@pytest.fixture(scope="module")
def store(base: Path) -> Store:
    """The example, read once for all tests of this module."""
    made = example(base / "whole")
    read = {s["source"]: s for s in made.json("sync")["streams"]}
    for log, records in RECORDS.items():
        counts = {k: read[log][k] for k in ("read", "accepted", "unread", "quarantined")}
        assert counts == {"read": records, "accepted": records, "unread": 0, "quarantined": 0}
    return made


@pytest.fixture(scope="module")
def truth() -> dict[str, bpic.Cases]:
    return {log: bpic.cases(log) for log in bpic.LOGS}


def counts(store: Store, log: str, as_of: str) -> dict[str, dict[str, int]]:
    document = store.json("flow", "show", log, "--as-of", as_of)
    return {
        step["name"]: {status: found["count"] for status, found in step["statuses"].items()}
        for step in document["steps"]
    }


def exceptions(document: dict[str, Any]) -> set[str]:
    return {e["subject"] for e in document["exceptions"]}


@pytest.mark.long
def test_not_one_transaction_is_swallowed_by_a_weak_key(store: Store) -> None:
    lines = [json.loads(line) for line in store.run("dump", "--as-of", END).splitlines()]
    transactions = [line for line in lines if line["row"] == "transaction"]
    assert len(transactions) == sum(CASES.values())
    assert sum(line["row"] == "event" for line in lines) == sum(RECORDS.values())


@pytest.mark.parametrize("as_of", [END, *EARLIER])
@pytest.mark.parametrize("log", bpic.LOGS)
@pytest.mark.long
def test_the_steps_count_what_the_log_says_and_see_nothing_later(
    store: Store, log: str, as_of: str
) -> None:
    seen = bpic.cases(log, datetime.fromisoformat(as_of))
    found = counts(store, log, as_of)["paid"]
    assert sum(found.values()) == len(seen)
    unpaid = bpic.never_paid(seen)
    late = bpic.paid_late(seen, 30)
    assert found.get("LATE", 0) == len(late)
    assert found.get("DONE", 0) == len(seen) - len(unpaid) - len(late)
    approved = counts(store, log, as_of)["approved"]
    assert approved["DONE"] == sum(bpic.approved_at(steps) is not None for steps in seen.values())


def test_the_known_figures_of_the_two_logs(store: Store, truth: dict[str, bpic.Cases]) -> None:
    known = {"domestic": (445, 0, 2, 95), "requests": (573, 10, 0, 83)}
    for log, (unpaid, approved, unapproved, late) in known.items():
        assert len(bpic.never_paid(truth[log])) == unpaid
        assert len(bpic.approved_not_paid(truth[log])) == approved
        assert len(bpic.paid_without_any_approval(truth[log])) == unapproved
        found = counts(store, log, END)["paid"]
        assert found["LATE"] == late
        assert sum(n for status, n in found.items() if status not in ("DONE", "LATE")) == unpaid


def test_the_approved_and_never_paid_are_exactly_the_exceptions(
    store: Store, truth: dict[str, bpic.Cases]
) -> None:
    run = store.json("control", "run", "approved_not_paid", "--as-of", END, exit_code=3)
    expected = {n for log in truth.values() for n in bpic.approved_not_paid(log)}
    assert exceptions(run) == expected
    assert (run["verdict"], run["complete"], run["gaps"]) == ("FAIL", True, [])
    population = run["population"]
    approved = sum(bpic.approved_at(s) is not None for log in truth.values() for s in log.values())
    assert population["in_scope"] == approved
    assert population["ok"] == approved - len(expected)


def test_what_was_paid_without_approval_is_found_and_the_stricter_test_agrees(
    store: Store, truth: dict[str, bpic.Cases]
) -> None:
    run = store.json("control", "run", "approval_missing", "--as-of", END, exit_code=3)
    strict = {n for log in truth.values() for n in bpic.paid_without_effective_approval(log)}
    without = {n for log in truth.values() for n in bpic.paid_without_any_approval(log)}
    assert exceptions(run) == strict
    assert {e["subject"] for e in run["exceptions"] if e["reason"] == "NONE"} == without


@pytest.mark.parametrize("as_of", EARLIER)
def test_earlier_status_times_find_the_exceptions_of_their_time(store: Store, as_of: str) -> None:
    run = store.json("control", "run", "approved_not_paid", "--as-of", as_of, exit_code=3)
    until = datetime.fromisoformat(as_of)
    expected = {n for log in bpic.LOGS for n in bpic.approved_not_paid(bpic.cases(log, until))}
    assert exceptions(run) == expected


def test_a_control_that_finds_nothing_over_the_whole_population_passes(store: Store) -> None:
    run = store.json("control", "run", "approved_not_paid_domestic", "--as-of", END)
    assert (run["verdict"], run["complete"]) == ("PASS", True)


def test_a_time_that_nobody_declared_complete_forbids_the_pass(store: Store) -> None:
    after = "2019-02-01T00:00:00+01:00"
    run = store.json("control", "run", "approved_not_paid_domestic", "--as-of", after, exit_code=4)
    assert (run["verdict"], run["complete"]) == ("INCOMPLETE", False)
    assert [gap["what"] for gap in run["gaps"]] == ["NOT_COVERED"]


def test_a_trace_tells_a_case_as_the_log_does(store: Store, truth: dict[str, bpic.Cases]) -> None:
    for log, number in (
        ("domestic", "declaration 86791"),
        ("requests", "request for payment 148214"),
    ):
        document = store.json("trace", number, "--as-of", END)
        (transaction,) = document["transactions"]
        told = [
            (datetime.fromisoformat(e["occurred_at"]), e["type"]) for e in transaction["events"]
        ]
        assert [at for at, _ in told] == [s.at for s in truth[log][number]]
        by_number = store.json(
            "trace",
            truth[log][number][0].attributes[
                "(case)_DeclarationNumber" if log == "domestic" else "(case)_RfpNumber"
            ],
            "--as-of",
            END,
        )
        assert by_number["transactions"][0]["id"] == transaction["id"]


@pytest.mark.long
def test_reading_again_changes_nothing(store: Store) -> None:
    before = store.run("dump", "--as-of", END)
    again = store.json("sync")["streams"]
    assert [(s["read"], s["accepted"], s["unread"]) for s in again] == [(0, 0, 0)] * 2
    assert store.run("dump", "--as-of", END) == before


@pytest.mark.long
def test_a_rebuild_changes_not_a_byte(store: Store) -> None:
    before = store.run("dump")
    store.run("rebuild")
    assert store.run("dump") == before


def cut_one(source: Path, target: Path) -> None:
    """Copy a log without the event `dd_declaration 86791_20`, the payment of the first declaration."""
    lines = gzip.decompress(source.read_bytes()).decode().split("\t\t<event>\n")
    kept = [part for part in lines if 'value="dd_declaration 86791_20"' not in part]
    removed = next(part for part in lines if 'value="dd_declaration 86791_20"' in part)
    kept[-1 if removed is lines[-1] else lines.index(removed) - 1] += removed.split(
        "</event>\n", 1
    )[1]
    with gzip.open(target, "wt", encoding="utf-8") as file:
        file.write("\t\t<event>\n".join(kept))


def broken(base: Path, name: str) -> Store:
    logs = base / f"{name}-logs"
    logs.mkdir()
    shutil.copy(bpic.folder() / bpic.LOGS["requests"], logs)
    source, target = bpic.folder() / bpic.LOGS["domestic"], logs / bpic.LOGS["domestic"]
    if name == "cut":
        cut_one(source, target)
    else:
        target.write_bytes(source.read_bytes()[:-200_000])
    return example(base / name, logs)


@pytest.mark.parametrize(
    ("name", "sync_exit", "missing"),
    [("cut", 0, 1), ("truncated", 4, None)],
)
@pytest.mark.long
def test_what_is_missing_is_named_with_its_size_and_never_passes(
    base: Path, truth: dict[str, bpic.Cases], name: str, sync_exit: int, missing: int | None
) -> None:
    store = broken(base, name)
    read = store.json("sync", exit_code=sync_exit)["streams"]
    unread = RECORDS["domestic"] - next(s["read"] for s in read if s["source"] == "domestic")
    ten = {n for log in truth.values() for n in bpic.approved_not_paid(log)}

    both = store.json("control", "run", "approved_not_paid", "--as-of", END, exit_code=3)
    assert (both["verdict"], both["complete"]) == ("FAIL", False)
    assert exceptions(both) == ten
    gaps = {(gap["stream"], gap["what"]): gap["records"] for gap in both["gaps"]}
    assert {stream for stream, _ in gaps} == {"domestic/declarations"}
    assert gaps["domestic/declarations", "UNREAD"] == unread
    if (
        missing is not None
    ):  # the payment of an approved declaration: nobody can say that it is absent
        assert gaps == {("domestic/declarations", "UNREAD"): missing}
        assert sum(both["population"]["unevaluable"].values()) == missing
    else:
        assert gaps["domestic/declarations", "BROKEN"] is None

    arguments = ("control", "run", "approved_not_paid_domestic", "--as-of", END)
    alone = store.json(*arguments, exit_code=4)
    assert (alone["verdict"], alone["complete"], alone["exceptions"]) == ("INCOMPLETE", False, [])


def shuffled(base: Path) -> Store:
    """The same records as JSON Lines, shuffled, in 37 files, for two sources that read half each."""
    made = example(base / "shuffled")
    settings = (made.folder / "tieout.yaml").read_text(encoding="utf-8")
    names = {"domestic": "declarations", "requests": "requests"}
    random = Random(37)  # noqa: S311 -- a test's order
    lines = []
    for log, stream in names.items():
        for own, events in bpic.traces(log):
            for event in events:
                record: dict[str, Any] = {**event, **{f"case:{k}": v for k, v in own.items()}}
                record["case:variant-index"] = int(own["variant-index"])
                lines.append((log, json.dumps(record, ensure_ascii=False)))
        settings = settings.replace(
            f"read: {{path: {bpic.LOGS[log]}, format: xes}}",
            f"read: {{path: 'parts/{log}-*.jsonl'}}\n        namespace: {log}/{stream}",
        )
    random.shuffle(lines)
    parts = made.folder / "parts"
    parts.mkdir()
    for n in range(37):
        for log, group in itertools.groupby(sorted(lines[n::37]), key=lambda line: line[0]):
            texts = [text for _, text in group]
            random.shuffle(texts)
            (parts / f"{log}-{n:02d}.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (made.folder / "tieout.yaml").write_text(settings, encoding="utf-8")
    return made


@pytest.mark.long
def test_shuffled_split_and_read_by_two_processes_at_once_it_is_the_same_store(
    base: Path, store: Store
) -> None:
    other = shuffled(base)
    running = [
        subprocess.Popen(  # noqa: S603 -- our own program
            other.command("sync", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in running:
        output, errors = process.communicate(timeout=300)
        assert process.returncode in (0, 4), errors.decode()  # 4: a file was the other's
        assert sum(s["read"] for s in json.loads(output)["streams"]) > 0
    assert sum(s["read"] for s in other.json("sync")["streams"]) == 0
    assert other.run("dump", "--as-of", END) == store.run("dump", "--as-of", END)
