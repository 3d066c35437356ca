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
from tests.support.campaigns import UNDISTURBED, campaign
from tests.support.postgres import temporary_base

TIEOUT = Path(sys.executable).with_name("tieout")
RECORDS = 30_000
KILLS = 10
TRIES_MAX = 50
Undisturbed = tuple[Path, bytes, float]
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
def undisturbed() -> Iterator[Undisturbed]:
    """Read the company once without kills: its configuration, the dump, and how long that took."""
    with temporary_base() as base:
        config = company(base / "company")
        began = time.perf_counter()
        run(config, base / "data", "sync")
        took_s = time.perf_counter() - began
        yield config, run(config, base / "data", "dump"), took_s


def postmaster(data: Path) -> int | None:
    """Return the number of the data folder's server once it takes connections."""
    with suppress(FileNotFoundError, IndexError):
        lines = (data / "pg" / "postmaster.pid").read_text().splitlines()
        return int(lines[0]) if lines[7].strip() == "ready" else None
    return None


class Campaign:
    """Kills one of the two, again and again, at times that a seed chooses; a store that is whole is compared."""

    def __init__(self, undisturbed: Undisturbed, base: Path, victim: str, seed: int) -> None:
        self.config, self.dump, self.took_s = undisturbed
        self.base, self.victim = base, victim
        self.random = Random(seed)  # noqa: S311 -- when to kill
        self.stores = 1
        self.killed = self.tries = 0

    @property
    def data(self) -> Path:
        return self.base / f"data{self.stores}"

    def run(self) -> None:
        while self.killed < KILLS:
            self.tries += 1
            assert self.tries <= TRIES_MAX, f"only {self.killed} were killed before they had ended"
            process = subprocess.Popen(  # noqa: S603 -- our own program
                command(self.config, self.data, "sync"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            hit = self.kill_server(process) if self.victim == "server" else self.kill(process)
            self.killed += hit
            if not hit and self.killed < KILLS:  # it has read all
                self.compare()
                self.stores += 1
        self.compare()

    def kill(self, process: subprocess.Popen[bytes]) -> bool:
        """Kill the collector, unless it has ended before."""
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=self.random.uniform(0.3, self.took_s))
            return False
        process.kill()
        process.communicate()
        return True

    def kill_server(self, process: subprocess.Popen[bytes]) -> bool:
        """Kill PostgreSQL with all its processes while it is used; say whether the sync failed for it."""
        while process.poll() is None and (pid := postmaster(self.data)) is None:
            time.sleep(0.01)
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.random.uniform(0, self.took_s / 6))
        if process.poll() is None and pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # it leads a session of its own
        _, said = process.communicate(timeout=120)
        assert b"Traceback" not in said, said.decode()
        assert b"should not have happened" not in said, said.decode()
        return process.returncode != 0

    def compare(self) -> None:
        """Read to the end, and compare with the undisturbed store and with what the file holds."""
        config, data = self.config, self.data
        last = json.loads(run(config, data, "sync", "--json"))["streams"][0]
        assert last["unread"] == 0
        assert run(config, data, "dump") == self.dump
        held = json.loads(run(config, data, "coverage", "--json"))["streams"][0]
        assert held["accepted"] + held["quarantined"] == RECORDS
        assert held["quarantined"] == len(range(0, RECORDS, 997))
        gaps = [gap["what"] for gap in held["gaps"] if gap["what"] != "NOT_COVERED"]
        assert gaps == ["QUARANTINED"]


@pytest.mark.parametrize("victim", ["collector", "server"])
def test_ten_kills_leave_the_store_of_an_undisturbed_run(
    undisturbed: Undisturbed, base: Path, victim: str
) -> None:
    Campaign(undisturbed, base, victim, 9).run()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("victim", ["collector", "server"])
def test_two_hundred_kills_leave_the_store_of_an_undisturbed_run(
    undisturbed: Undisturbed, base: Path, victim: str, seed: int
) -> None:
    with campaign(f"`tieout sync`: its {victim} killed at any time", UNDISTURBED) as hits:
        ran = Campaign(undisturbed, base, victim, 100 + seed)
        ran.run()
        hits.update({f"kill -9 of the {victim}": ran.killed, "commands": ran.tries})
