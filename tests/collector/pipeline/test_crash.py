"""`kill -9` in the middle of a sync, ten times, then resumed: the store is the one of an undisturbed run."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below

from api.starter import STARTER_FILES

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


def test_ten_kills_leave_the_store_of_an_undisturbed_run(base: Path) -> None:
    config = company(base / "company")
    undisturbed, disturbed = base / "undisturbed", base / "disturbed"
    began = time.perf_counter()
    run(config, undisturbed, "sync")
    took_s = time.perf_counter() - began

    random = Random(9)  # noqa: S311 -- when to kill
    killed = tries = 0
    while killed < KILLS:
        tries += 1
        assert tries <= TRIES_MAX, f"only {killed} of {tries} were killed before they had ended"
        process = subprocess.Popen(  # noqa: S603 -- our own program
            command(config, disturbed, "sync"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        began = time.perf_counter()
        try:
            process.wait(random.uniform(0.3, took_s))
            took_s = time.perf_counter() - began  # less is left to read
        except subprocess.TimeoutExpired:
            killed += 1
        process.kill()
        process.wait()

    last = json.loads(run(config, disturbed, "sync", "--json"))["streams"][0]
    assert last["unread"] == 0
    assert run(config, disturbed, "dump") == run(config, undisturbed, "dump")
    held = json.loads(run(config, disturbed, "coverage", "--json"))["streams"][0]
    assert held["accepted"] + held["quarantined"] == RECORDS
    assert held["quarantined"] == len(range(0, RECORDS, 997))
    assert [gap["what"] for gap in held["gaps"] if gap["what"] != "NOT_COVERED"] == ["QUARANTINED"]
