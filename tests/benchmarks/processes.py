"""Programs that are measured from outside: how much memory they ever held, how long they worked."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

EVERY_S = 0.1


def family(pid: int, without: int = 0) -> list[int]:
    """Return a process and its descendants; one of them with its own left out."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += family(child, without) if child != without else []
    return found


def parent(pid: int) -> int:
    """Return the process that started a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def peak_mb(pid: int) -> float:
    """Return the most that a process was resident with since it began; 0 where it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has had so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Peak:
    """The most of a process and its descendants: of those alive at one time, the sum of their peaks."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.mb = 0.0
        self.processes = 0

    def sample(self) -> None:
        peaks = [mb for mb in map(peak_mb, family(self._pid)) if mb]
        self.mb = max(self.mb, sum(peaks))
        self.processes = max(self.processes, len(peaks))


@contextmanager
def watched(process: subprocess.Popen[str]) -> Iterator[Peak]:
    """Sample a process while it is used."""
    peak, over = Peak(process.pid), threading.Event()

    def sample() -> None:
        while not over.wait(EVERY_S):
            peak.sample()

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
