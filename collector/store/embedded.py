"""The embedded PostgreSQL: several commands share one server, and the last one out stops it.

Three lock files in the data folder, all `flock`, so the kernel frees them whoever dies how:

    change.lock   exclusive while somebody starts, joins, leaves or stops
    users.lock    shared by every command for as long as it uses the server
    server.lock   exclusive, inherited by the postmaster and every process it forks

Why this is right: users.lock changes hands only under change.lock. A leaver tries to turn its
shared lock into an exclusive one; that is not atomic, but nobody can come in between. Success means
that it is the last one, and a newcomer waits at change.lock until the server has stopped.
server.lock is held exactly as long as any process of the server lives, whatever became of its
starter; so an orphan is found and adopted, and once the lock is free a `postmaster.pid` is stale
for certain, even where its number belongs to a zombie or by now to another program.
"""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from collector.clock import stopwatch
from collector.errors import NotConnected, Refused
from collector.store import cluster, serverfiles
from collector.store.serverfiles import Folder, default_data_dir

__all__ = ["Server", "default_data_dir", "running"]

READY_S_MAX = 300.0  # recovery may have to read 8 GB of log
STOP_S_MAX = 60.0  # a checkpoint on a slow disk
CHANGE_S_MAX = READY_S_MAX + 60.0  # another's start, initdb included
POLL_S = 0.01
TLS_REQUEST = struct.pack(">ii", 8, 80877103)  # answered without a login and without a log line


@dataclass(frozen=True)
class Server:
    """A running server and how to connect to it."""

    data_dir: Path
    socket_dir: Path
    port: int
    passwords: cluster.Passwords = field(repr=False)

    def dsn(self, role: cluster.Role, database: str = cluster.DATABASE) -> str:
        """Return what `asyncpg.connect` takes. It holds a password: do not log it."""
        host = quote(str(self.socket_dir), safe="")
        login = f"{role}:{self.passwords[role]}"
        return f"postgresql://{login}@/{database}?host={host}&port={self.port}"

    def revive(self) -> None:
        """Start the server again if it died; for whoever is within `running`. Blocks and raises as that."""
        folder = serverfiles.prepare(self.data_dir)
        with _changing(folder) as change:
            _join_or_start(folder, change)


class _Postmaster(NamedTuple):
    pid: int
    socket_dir: Path
    port: int


@contextmanager
def running(data_dir: Path) -> Iterator[Server]:
    """Join the server of this data folder, or start it; stop it if we are the last to leave.

    Blocks, up to minutes after a crash: from within an event loop use a thread. Needs no loop.

    Raises:
        Misconfigured: the folder cannot be used, or holds another major version.
        NotConnected: there are no programs for this platform, or the server did not start.
        Refused: another process kept starting or stopping it.
    """
    folder = serverfiles.prepare(data_dir)
    with folder.opened("users.lock") as users:
        with _changing(folder) as change:
            fcntl.flock(users, fcntl.LOCK_SH)
            found = _join_or_start(folder, change)
            known = cluster.passwords(folder)
        try:
            yield Server(folder.path, found.socket_dir, found.port, known)
        finally:
            with suppress(Refused), _changing(folder):  # refused: the next one out stops it
                if _lock(users):
                    _stop(folder)


@contextmanager
def _changing(folder: Folder) -> Iterator[int]:
    with folder.opened("change.lock") as change:
        if not _lock(change, CHANGE_S_MAX):
            raise Refused(
                f"Another command has been starting or stopping the server of {folder.path} for "
                f"{CHANGE_S_MAX:.0f} s. Wait for it or end it, then try again."
            )
        yield change


def _join_or_start(folder: Folder, change: int) -> _Postmaster:
    cluster.check_version(folder)
    serverfiles.limit_log(folder)
    process: subprocess.Popen[bytes] | None = None
    elapsed = stopwatch()
    try:
        while elapsed() < READY_S_MAX and (process is None or process.poll() is None):
            if found := _find(folder):
                return found
            process = process or _start_if_none(folder, change)
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        if process:
            process.send_signal(signal.SIGINT)
        raise
    # A server that still recovers is left to it: the next command adopts it.
    raise NotConnected(
        f"The embedded PostgreSQL of {folder.path} did not become ready; {folder.log} says why. "
        "If it is still recovering from a crash, try again in a few minutes.",
        detail=folder.log_tail(),
    )


def _find(folder: Folder) -> _Postmaster | None:
    """Return the postmaster that serves this folder, if it answers and is ready."""
    try:
        lines = (folder.cluster / "postmaster.pid").read_text().splitlines()
        pid, data, _, port, socket_dir, _, _, status = (line.strip() for line in lines[:8])
        if status != "ready" or not Path(data).samefile(folder.cluster):
            return None  # not the same file: a copied folder carries its original's pid file
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(f"{socket_dir}/.s.PGSQL.{port}")
            probe.sendall(TLS_REQUEST)  # the kernel connects for a dying process, too
            if probe.recv(1) != b"N":
                return None
    except (OSError, ValueError):  # absent, half written, or nobody listens
        return None
    return _Postmaster(int(pid), Path(socket_dir), int(port))


def _start_if_none(folder: Folder, change: int) -> subprocess.Popen[bytes] | None:
    with folder.opened("server.lock") as held:
        if not _lock(held):
            return None  # starting, stopping, or the last of a killed one: its time will come
        programs = serverfiles.binaries(folder)
        if not folder.cluster.exists():
            cluster.create(folder, programs, change)
        socket_dir = serverfiles.socket_folder(folder)
        for stale in (folder.cluster / "postmaster.pid", *socket_dir.iterdir()):
            stale.unlink(missing_ok=True)
        cluster.write_settings(folder, socket_dir)
        return _launch(folder, programs, held)


def _launch(folder: Folder, programs: Path, held: int) -> subprocess.Popen[bytes]:
    config = f"--config_file={folder.path / 'postgresql.conf'}"
    with folder.opened("server.log", os.O_WRONLY | os.O_APPEND) as log:
        process = subprocess.Popen(  # noqa: S603 -- our own program and paths
            [programs / "postgres", "-D", folder.cluster, config],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=cluster.ENVIRONMENT,
            user=folder.account.uid,
            group=folder.account.gid,
            extra_groups=() if os.geteuid() == 0 else None,
            start_new_session=True,  # Ctrl-C in one terminal must not stop another's server
            pass_fds=(held,),
        )
    threading.Thread(target=process.wait, daemon=True).start()  # reaps it, whenever it ends
    return process


def _stop(folder: Folder) -> None:
    """Shut down, rolling back what is open. If it takes too long it ends without us."""
    found = _find(folder)
    if not found:
        return
    with suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGINT)  # PostgreSQL's fast shutdown
    with folder.opened("server.lock") as held:
        if _lock(held, STOP_S_MAX):
            with suppress(OSError):
                found.socket_dir.rmdir()


def _lock(file: int, patience_s: float = 0.0) -> bool:
    elapsed = stopwatch()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if elapsed() >= patience_s:
                return False
            time.sleep(POLL_S)
        else:
            return True
