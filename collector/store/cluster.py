"""Makes a new cluster: initdb, settings, roles and the database `tieout`."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast, get_args

from collector.errors import Misconfigured, NotConnected
from collector.store.serverfiles import Account, Folder, installed

MAJOR = "18"
DATABASE = "tieout"
SHARED_BUFFERS_MB_MAX = 8192  # beyond, the operating system's cache serves as well
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}  # no PGDATA, PGPORT of the user's

Role = Literal["tieout_owner", "tieout_app", "tieout_reader", "postgres"]
Passwords = dict[Role, str]


def check_version(folder: Folder) -> None:
    """Refuse a cluster of another major version."""
    try:
        found = (folder.cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return
    if found != MAJOR:
        raise Misconfigured(
            f"{folder.path} holds data of PostgreSQL {found}; this Tieout runs PostgreSQL {MAJOR}. "
            f"Use the Tieout that made it; to move on, `tieout backup` with that one and `tieout restore` "
            f"with this one into a new --data-dir."
        )


def database_sql(name: str, *, template: str = "template1") -> list[str]:
    """Return the statements that create a database and say who may connect to it."""
    return [
        f"CREATE DATABASE {name} OWNER tieout_owner TEMPLATE {template}",
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO tieout_app",
        f"GRANT CONNECT ON DATABASE {name} TO tieout_reader",
    ]


def passwords(folder: Folder) -> Passwords:
    """Return the roles' passwords, generated before the cluster that knows them."""
    path = folder.path / "passwords.json"
    if not path.exists():
        if folder.cluster.exists():
            raise Misconfigured(f"{path} is missing. Restore it from your backup of {folder.path}.")
        fresh = {role: secrets.token_urlsafe(24) for role in get_args(Role)}
        folder.write(path.name, json.dumps(fresh, indent=2))
    return cast("Passwords", json.loads(path.read_text()))


def create(folder: Folder, programs: Path, keep: int) -> None:
    """Make the cluster beside its place and rename it, so that half of one is never taken for one.

    Should we be killed, our children live on for a while: they inherit `keep`, the lock that
    says a change is under way, so the next start waits for them before it clears up.
    """
    draft = folder.cluster.with_name("pg.new")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(draft, folder.account.uid, folder.account.gid)
    initdb: list[str | Path] = [
        *(programs / "initdb", f"--pgdata={draft}", "--username=postgres", "--data-checksums"),
        *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        "--auth=reject",  # not trust even for a moment; ours is in pg_hba.conf of write_settings
    ]
    _run(folder.account, initdb, keep)
    # Single-user mode: no server, no login, and the passwords travel by standard input.
    quiet = "log_min_error_statement=panic"  # an error must not print a statement with a password
    single: list[str | Path] = [programs / "postgres", "--single", "-D", draft, "-c", quiet]
    single += ["-c", "exit_on_error=true", "template1"]
    _run(folder.account, single, keep, _bootstrap_sql(passwords(folder)))
    draft.rename(folder.cluster)
    parent = os.open(folder.path, os.O_RDONLY)
    os.fsync(parent)
    os.close(parent)


def write_settings(folder: Folder, socket_dir: Path) -> None:
    """Write the server's settings, anew at each start since machine and programs may change."""
    settings = {
        "hba_file": str(folder.path / "pg_hba.conf"),
        "listen_addresses": "",
        "unix_socket_directories": str(socket_dir),
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        "max_locks_per_transaction": "256",  # each backend has room for so many of its own; a month of events takes 4
        "shared_buffers": f"{_shared_buffers_mb()}MB",
        "max_wal_size": "8GB",
        "wal_compression": "lz4" if _has_lz4() else "off",
        "fsync": "on",
        "synchronous_commit": "on",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        "log_min_error_statement": "panic",  # statements carry customers' data
    }
    lines = (f"{key} = {_quoted(value)}\n" for key, value in settings.items())
    folder.write("postgresql.conf", "".join(lines), 0o644)
    folder.write("pg_hba.conf", "local all all scram-sha-256\n", 0o644)


def _bootstrap_sql(known: Passwords) -> str:
    roles = (role for role in known if role != "postgres")
    rights = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
    statements = [
        f"ALTER ROLE postgres PASSWORD '{known['postgres']}'",
        *(f"CREATE ROLE {role} {rights} PASSWORD '{known[role]}'" for role in roles),
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        *database_sql(DATABASE),
        "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC",
    ]
    return "".join(f"{statement};\n" for statement in statements)


def _run(account: Account, command: Sequence[str | Path], keep: int, sql: str = "") -> None:
    done = subprocess.run(  # noqa: S603 -- our own programs and paths
        command,
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=ENVIRONMENT,
        user=account.uid,
        group=account.gid,
        extra_groups=() if os.geteuid() == 0 else None,
        start_new_session=True,  # Ctrl-C reaches us, who wait for the child, not the child
        pass_fds=(keep,),
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise NotConnected(
            f"The embedded PostgreSQL could not be set up: {Path(command[0]).name} said "
            f"“{said[-1]}”. Mend that and start again.",
            detail=done.stderr,
        )


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _shared_buffers_mb() -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")  # a container's share of the machine
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        memory = min(memory, int(text))
    return max(16, min(memory // 4 // 1_048_576, SHARED_BUFFERS_MB_MAX))


def _has_lz4() -> bool:
    program = installed() / "bin" / "pg_config"
    done = subprocess.run([program, "--configure"], capture_output=True, text=True, check=False)  # noqa: S603 -- our own program
    return "--with-lz4" in done.stdout
