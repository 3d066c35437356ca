"""The disk of the data folder fills up in the middle of a sync: it says so, and goes on when there is room."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.collector.pipeline.test_crash import command, company, run
from tests.support.campaigns import UNDISTURBED, campaign

DISK_MB = 400
LEFT_MB = (1, 4, 8)
"""What is left for 30,000 records, which take more."""

SENTENCES = (
    "The store's disk is full",
    "The connection to the store was lost",  # no room for the log: the whole server ends
    "did not become ready",  # nor for its recovery
    "could not be set up",
)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system; where that is not possible the test fails and says what is missing."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.fail("This test needs root, to mount a small file system (CAP_SYS_ADMIN).")
    size = f"size={DISK_MB}m,mode=0711"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tieout-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)  # noqa: S603 -- constant
    if done.returncode:
        pytest.fail(f"This test needs to mount a tmpfs (CAP_SYS_ADMIN): {done.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607 -- our own mount


def fill(disk: Path, left_mb: int) -> Path:
    """Leave so much of the disk."""
    ballast = disk / "ballast"
    state = os.statvfs(disk)
    size = state.f_bavail * state.f_frsize - left_mb * 2**20
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return ballast


@pytest.mark.long
def test_a_full_disk_is_said_and_costs_no_record(base: Path) -> None:
    config = company(base / "company")
    run(config, base / "undisturbed", "sync")
    with campaign("the disk full", UNDISTURBED) as hits, small_disk(base / "disk") as disk:
        data = disk / "data"
        run(config, data, "sync", "--dry-run", "--limit", "1")
        run(config, data, "status")  # makes the store
        for left_mb in LEFT_MB:
            ballast = fill(disk, left_mb)
            done = subprocess.run(  # noqa: S603 -- our own program
                command(config, data, "sync"), capture_output=True, check=False, timeout=120
            )
            said = done.stderr.decode()
            print(f"\n{left_mb} MB left: exit code {done.returncode}, {said.strip()}")
            assert done.returncode != 0
            assert any(sentence in said for sentence in SENTENCES)
            assert "Traceback" not in said
            hits[f"{left_mb} MB left"] += 1
            ballast.unlink()
        run(config, data, "sync")
        assert run(config, data, "dump") == run(config, base / "undisturbed", "dump")
