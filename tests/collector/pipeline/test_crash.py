"""`kill -9` of the collector or of PostgreSQL in the middle of a sync, then resumed.

The store is the one of an undisturbed run, and holds what the records say.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below

import pytest

from api.starter import STARTER_FILES
from tests.support.postgres import temporary_base

TIEOUT = Path(sys.executable).with_name("tieout")
RECORDS = 30_000
KILLS = 10
TRIES_MAX = 50
VERBS = ("ordered", "invoiced", "paid", "cancelled")


def company(folder: Path) -> Path:
    """Write the starter configuration over many orders, some of them wrong on purpose."""
    folder.mkdir()
    (folder / "in").mkdir()
    settings = STARTER_FILES["tieout.yaml"].replace("records: 7", f"records: {RECORDS}")
    (folder / "tieout.yaml").write_text(settings, encoding="utf-8")
    start = datetime(2026, 1, 5, tzinfo=UTC)
    with (folder / "in" / "orders.jsonl").open("w", encoding="utf-8") as file:
        for n in range(RECORDS):
            record = {
                "id": f"e{n}",
                "at": (start + timedelta(minutes=n)).isoformat(),
                "what": VERBS[n // 7_000 % 4] if n % 997 else "unheard of",
                "order": f"SO-{n % 7_000}",
                "amount": f"{n % 500}.50",
                "currency": "EUR",
            }
            file.write(json.dumps(record) + "\n")
    return folder / "tieout.yaml"


def command(config: Path, data: Path, *arguments: str) -> list[str]:
    return [str(TIEOUT), "--config", str(config), "--data-dir", str(data), *arguments]


def run(config: Path, data: Path, *arguments: str) -> bytes:
    done = subprocess.run(  # noqa: S603 -- our own program
        command(config, data, *arguments), capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def undisturbed() -> Iterator[tuple[Path, bytes, float]]:
    """Read the company once without kills: its configuration, the dump, and how long that took."""
    with temporary_base() as base:
        config = company(base / "company")
        began = time.perf_counter()
        run(config, base / "data", "sync")
        took_s = time.perf_counter() - began
        yield config, run(config, base / "data", "dump"), took_s


def kill_server(data: Path) -> None:
    """Kill PostgreSQL with all its processes: the postmaster leads a session of its own."""
    with suppress(FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        pid = int((data / "pg" / "postmaster.pid").read_text().splitlines()[0])
        os.killpg(pid, signal.SIGKILL)


def kill(victim: str, process: subprocess.Popen[bytes], data: Path) -> bool:
    """Kill one of the two; say whether the sync came to nothing because of it."""
    if victim == "server":
        kill_server(data)
        _, said = process.communicate(timeout=120)
        assert b"Traceback" not in said, said.decode()
        assert b"should not have happened" not in said, said.decode()
        return process.returncode != 0
    process.kill()
    process.communicate()
    return True


def campaign(undisturbed: tuple[Path, bytes, float], data: Path, victim: str, seed: int) -> None:
    """Kill ten times at times that a seed chooses, then read to the end and compare."""
    config, dump, took_s = undisturbed
    random = Random(seed)  # noqa: S311 -- when to kill
    killed = tries = 0
    while killed < KILLS:
        tries += 1
        assert tries <= TRIES_MAX, f"only {killed} of {tries} were killed before they had ended"
        process = subprocess.Popen(  # noqa: S603 -- our own program
            command(config, data, "sync"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        began = time.perf_counter()
        try:
            process.communicate(timeout=random.uniform(0.3, took_s))
            took_s = time.perf_counter() - began  # less is left to read
        except subprocess.TimeoutExpired:
            killed += kill(victim, process, data)
    print(f"\nseed {seed}: {killed} kills of the {victim} in {tries} commands")

    last = json.loads(run(config, data, "sync", "--json"))["streams"][0]
    assert last["unread"] == 0
    assert run(config, data, "dump") == dump
    held = json.loads(run(config, data, "coverage", "--json"))["streams"][0]
    assert held["accepted"] + held["quarantined"] == RECORDS
    assert held["quarantined"] == len(range(0, RECORDS, 997))
    assert [gap["what"] for gap in held["gaps"] if gap["what"] != "NOT_COVERED"] == ["QUARANTINED"]


@pytest.mark.parametrize("victim", ["collector", "server"])
def test_ten_kills_leave_the_store_of_an_undisturbed_run(
    undisturbed: tuple[Path, bytes, float], base: Path, victim: str
) -> None:
    campaign(undisturbed, base / "data", victim, 9)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("victim", ["collector", "server"])
def test_two_hundred_kills_leave_the_store_of_an_undisturbed_run(
    undisturbed: tuple[Path, bytes, float], base: Path, victim: str, seed: int
) -> None:
    campaign(undisturbed, base / "data", victim, 100 + seed)
