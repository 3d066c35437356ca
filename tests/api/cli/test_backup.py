"""`tieout backup` and `tieout restore`: the store that comes out is the one that went in, or none at all."""

import asyncio
import json
import os
import pwd
import signal
import subprocess
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below
from typing import Any, NamedTuple
from urllib.parse import quote

import asyncpg
import pytest
import pytest_asyncio

from collector.errors import Permanent
from collector.store import backup as backups
from collector.store.embedded import Server
from collector.store.programs import program, without_password
from collector.store.session import remote_store
from tests.api.cli.desk import Desk, same_signals
from tests.api.cli.test_together import TIEOUT, typed
from tests.support import shop
from tests.support.campaigns import UNDISTURBED, campaign
from tests.support.debian import require
from tests.support.postgres import Database, empty_database, fresh_database

STATUS_TIME = "2026-01-31T08:00:00Z"
EVENTS = len(shop.INVOICES) + len(shop.PAYMENTS) + 1
RELATIONS = """
SELECT format('%s.%I', relnamespace::regnamespace, relname),
       CASE relkind WHEN 'S' THEN 'last_value, is_called' ELSE '*' END
FROM pg_class
WHERE relkind IN ('r', 'S') AND relnamespace IN ('tieout'::regnamespace, 'public'::regnamespace)
"""
EMPTY = (
    "SELECT to_regnamespace('tieout') IS NULL AND to_regclass('public.tieout_migration') IS NULL"
)


class Kept(NamedTuple):
    """A shop that read, ran controls, issued a certificate and decided on documents; and its backup."""

    desk: Desk
    database: Database
    dump: str
    file: Path
    manifest: Any


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database_of_the_shop(server: Server) -> AsyncIterator[Database]:
    async with fresh_database(server) as database:
        yield database


@pytest.fixture(scope="module")
def kept(
    database_of_the_shop: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kept]:
    folder = tmp_path_factory.mktemp("shop")
    shop.write(folder)
    desk, file = Desk(folder).over(dsn(database_of_the_shop)), folder / "a.backup"
    with same_signals():
        assert desk("sync").code == 0
        assert desk(f"control run --all --as-of {STATUS_TIME}").code == 3
        assert desk("coverage certificate --from 2026-01-01 --to 2026-03-01").code == 4
        assert desk('link add A-PAID E-LATE --reason "one delivery"').code == 0
        manifest = desk.shown(f"backup {file}", "backup")
        yield Kept(desk, database_of_the_shop, desk("dump").out, file, manifest)


@pytest_asyncio.fixture
async def other(server: Server) -> AsyncIterator[Database]:
    async with empty_database(server) as database:
        yield database


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def never_filled(server: Server) -> AsyncIterator[Database]:
    async with empty_database(server) as database:
        yield database


def dsn(database: Database) -> str:
    return database.server.dsn("postgres", database.name)


def moved(desk: Desk, database: Database, folder: Path) -> Desk:
    """Sit down at another database with the same configuration."""
    for path in desk.folder.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "store.dsn").write_text(dsn(database))
    return Desk(folder)


def asked(database: Database, query: str) -> Any:  # noqa: ANN401 -- whatever it selects
    """Answer a query of one value, as the superuser."""
    rows = asyncio.run(fetched(database, query))
    return rows[0][0] if rows else None


async def fetched(database: Database, query: str) -> list[asyncpg.Record]:
    conn = await asyncpg.connect(dsn(database))
    try:
        return list(await conn.fetch(query))
    finally:
        await conn.close()


def content(database: Database) -> dict[str, list[str]]:
    """Return all rows of all tables, and where the sequences stand."""
    return {
        name: sorted(
            str(row)
            for row in asyncio.run(fetched(database, f"SELECT {columns} FROM {name}"))  # noqa: S608 -- of the catalogue
        )
        for name, columns in asyncio.run(fetched(database, RELATIONS))
    }


def test_a_restored_store_is_the_same_row_by_row(
    kept: Kept, other: Database, tmp_path: Path
) -> None:
    assert kept.manifest["events"] == EVENTS
    assert kept.file.stat().st_mode & 0o077 == 0
    before = content(kept.database)
    assert {"tieout.event_202601", "tieout.batch_id", "tieout.coverage_certificate"} <= set(before)
    desk = moved(kept.desk, other, tmp_path)
    loaded = desk.shown(f"restore {kept.file}", "restore")
    assert loaded == {"backup": kept.manifest, "applied": []}
    assert content(other) == before
    assert asked(other, "SELECT count(*) FROM pg_stats WHERE schemaname = 'tieout'") > 0
    assert desk("dump").out == kept.dump
    assert desk("rebuild").code == 0
    assert desk("dump").out == kept.dump


def test_it_goes_on_with_fresh_numbers_and_its_facts_stay_protected(
    kept: Kept, other: Database, tmp_path: Path
) -> None:
    desk = moved(kept.desk, other, tmp_path)
    assert desk(f"restore {kept.file}").out.startswith(f"Restored {EVENTS} events up to commit ")
    last = asked(other, "SELECT max(id) FROM tieout.batch")
    with (tmp_path / "invoices.jsonl").open("a") as more:
        more.write(shop.line("H-NEW", "received", 21) + "\n")
    assert desk.shown("sync erp", "sync")["streams"][0]["accepted"] == 1
    assert asked(other, "SELECT max(id) FROM tieout.batch") > last
    for table in ("event", "event_202601", "control_run", "coverage_certificate"):
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            asked(other, f"DELETE FROM tieout.{table}")  # noqa: S608 -- named above


def test_a_backup_is_one_snapshot_while_a_collector_goes_on(
    desk: Desk, other: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector commits after the manifest's numbers were read and before pg_dump has begun."""
    assert desk("sync").code == 0
    before, file = desk("dump").out, tmp_path / "a.backup"

    @asynccontextmanager
    async def late(name: str, *options: str, dsn: str | None = None) -> AsyncIterator[Any]:
        desk.append(id="e8", order="SO-1004", what="ordered")
        assert (await asyncio.to_thread(typed, desk, "sync")).code == 0
        async with program(name, *options, dsn=dsn) as process:
            yield process

    monkeypatch.setattr(backups, "program", late)
    store = remote_store((tmp_path / "store.dsn").read_text())
    made = asyncio.run(backups.backup(store, file, lambda: shop.NOW, lambda _: None))
    monkeypatch.undo()
    assert made.events == 7
    assert desk("trace SO-1004").code == 0
    (tmp_path / "store.dsn").write_text(dsn(other))
    assert desk(f"restore {file}").code == 0
    assert desk("dump").out == before


def rewritten(file: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    """Write the zip anew, whole by itself, with one member changed."""
    with zipfile.ZipFile(file) as container:
        texts = {name: container.read(name) for name in container.namelist()}
    texts[member] = change(texts[member])
    with zipfile.ZipFile(file, "w") as container:
        for name, text in texts.items():
            container.writestr(name, text)


def flipped(file: Path, near: bytes, offset: int) -> None:
    """Flip one bit of the file, so far behind where a text stands first."""
    text = bytearray(file.read_bytes())
    text[text.rindex(near) + offset] ^= 1
    file.write_bytes(text)


def manifest(**changes: object) -> Callable[[bytes], bytes]:
    return lambda text: json.dumps({**json.loads(text), **changes}).encode()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda f: f.unlink(), "cannot be read: No such file"),
    "a text": (lambda f: f.write_text("id;amount\n"), "no backup of Tieout, or its end is missing"),
    "cut short": (lambda f: f.write_bytes(f.read_bytes()[:-200]), "or its end is missing"),
    "another zip": (lambda f: zipfile.ZipFile(f, "w").close(), "it has no manifest.json"),
    "a bit of the archive": (lambda f: flipped(f, b"PGDMP", 5_000), "store.pgdump is damaged (Bad"),
    "a bit of the manifest": (lambda f: flipped(f, b'"made_at"', 14), "manifest.json is damaged"),
    "another archive": (
        lambda f: rewritten(f, "store.pgdump", lambda text: text + b" "),
        "store.pgdump is damaged (its SHA-256 is not that in manifest.json)",
    ),
    "no manifest of ours": (
        lambda f: rewritten(f, "manifest.json", lambda _: b'{"name": "app"}'),
        "manifest.json is damaged (Object missing required field `format`",
    ),
    "a newer format": (
        lambda f: rewritten(f, "manifest.json", manifest(format=2, tieout="3.0.0")),
        "Tieout 3.0.0 wrote",
    ),
    "a newer schema": (
        lambda f: rewritten(f, "manifest.json", manifest(migrations=["0001_ground", "9999_moon"])),
        "with 9999_moon, which this one does not know. Restore it with that version or a newer one",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_and_nothing_is_loaded(
    damage: str, kept: Kept, never_filled: Database, tmp_path: Path
) -> None:
    file = tmp_path / "a.backup"
    file.write_bytes(kept.file.read_bytes())
    change, sentence = DAMAGES[damage]
    change(file)
    answer = Desk(tmp_path).start().over(dsn(never_filled))(f"restore {file}")
    assert (answer.code, answer.out) == (1, "")
    assert sentence in answer.err
    assert asked(never_filled, EMPTY)


def test_neither_a_store_with_something_in_it_nor_a_file_is_overwritten(kept: Kept) -> None:
    desk, folder = kept.desk, kept.desk.folder
    refused = desk(f"restore {kept.file}")
    assert (refused.code, refused.out) == (1, "")
    assert "The store is not empty: it holds" in refused.err
    assert desk("dump").out == kept.dump
    again = desk(f"backup {kept.file}")
    assert (again.code, again.out) == (1, "")
    assert "exists already" in again.err
    nowhere = desk(f"backup {folder}/none/a.backup")
    assert nowhere.code == 1
    assert "cannot be written: No such file or directory" in nowhere.err
    assert sorted(path.name for path in folder.glob("*.backup*")) == ["a.backup"]


def test_a_store_that_only_knows_its_configuration_counts_as_empty(
    kept: Kept, desk: Desk, other: Database
) -> None:
    assert desk("status").code == 0
    assert desk(f"restore {kept.file}").code == 0
    assert desk("dump").out == kept.dump
    (desk.folder / "store.dsn").write_text(dsn(other))
    refused = desk(f"backup {desk.folder / 'b.backup'}")
    assert refused.code == 1
    assert "nothing to back up" in refused.err


def until(database: Database, query: str) -> None:
    """Wait until the server answers yes."""
    ends = time.monotonic() + 60
    while not asked(database, query):
        assert time.monotonic() < ends, query
        time.sleep(0.02)


def test_killed_in_the_middle_it_leaves_an_empty_store_and_can_be_repeated(
    kept: Kept, other: Database, tmp_path: Path
) -> None:
    """Another session is about to make a table of the same name, so loading stands still in the middle."""
    desk = moved(kept.desk, other, tmp_path)
    psql = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'psql'"
    )
    line = [TIEOUT, "--config", str(desk.config), "restore", str(kept.file)]
    with asyncio.Runner() as runner:
        conn = runner.run(asyncpg.connect(dsn(other)))
        runner.run(conn.execute("BEGIN; CREATE TABLE public.tieout_migration ()"))
        with subprocess.Popen(line, stderr=subprocess.DEVNULL) as restoring:  # noqa: S603 -- our own program
            until(other, f"{psql} AND wait_event_type = 'Lock'")
            restoring.kill()
        runner.run(conn.execute("ROLLBACK"))
        until(other, f"SELECT 0 = ({psql})")
        runner.run(conn.close())
    assert asked(other, EMPTY)
    assert desk(f"restore {kept.file}").code == 0
    assert desk("dump").out == kept.dump


def test_of_two_at_once_one_loads_everything_and_the_other_says_that_the_store_is_not_empty(
    kept: Kept, other: Database, tmp_path: Path
) -> None:
    """So it is, too, where one was killed and its psql lives on; the first stands still as above."""
    desk = moved(kept.desk, other, tmp_path)
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'psql' AND wait_event_type = 'Lock'"
    )
    line = [TIEOUT, "--config", str(desk.config), "restore", str(kept.file)]
    with asyncio.Runner() as runner:
        conn = runner.run(asyncpg.connect(dsn(other)))
        runner.run(conn.execute("BEGIN; CREATE TABLE public.tieout_migration ()"))
        with (
            subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as first,  # noqa: S603 -- our own program
            subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as second,  # noqa: S603 -- our own program
        ):
            until(other, f"SELECT 2 = ({waiting})")
            runner.run(conn.execute("ROLLBACK"))
            said = [process.communicate()[1] for process in (first, second)]
        runner.run(conn.close())
    assert sorted(["The store is not empty" in text for text in said]) == [False, True]
    assert sorted([first.returncode, second.returncode]) == [0, 1]
    assert desk("dump").out == kept.dump


@pytest.mark.long
def test_killed_at_any_time_on_the_embedded_server_it_is_all_or_nothing(
    kept: Kept, base: Path, tmp_path: Path
) -> None:
    """At times that a seed chooses; what was committed just before the kill is there, and is whole."""
    random = Random(11)  # noqa: S311 -- when to kill
    shop.write(tmp_path)
    with campaign("`tieout restore`, killed at any time", UNDISTURBED) as hits:
        for n in range(15):
            desk = Desk(tmp_path, base / f"data{n}")
            line = [TIEOUT, "--config", str(desk.config), "--data-dir", str(desk.place)]
            with subprocess.Popen([*line, "restore", str(kept.file)]) as restoring:  # noqa: S603 -- our own program
                with suppress(subprocess.TimeoutExpired):
                    restoring.wait(random.uniform(0.5, 5.0))
                restoring.kill()
            again = desk(f"restore {kept.file}")
            hits["killed after its commit" if again.code else "killed before its commit"] += 1
            assert again.code == 0 or "The store is not empty" in again.err
            assert desk("dump").out == kept.dump
        assert hits["killed before its commit"] >= 5


@contextmanager
def postgres_15(folder: Path) -> Iterator[str]:
    """Serve an empty PostgreSQL 15 on a socket in a folder; give its address."""
    binary = "/usr/lib/postgresql/15/bin/postgres"
    programs = Path(require("postgresql-15", binary=binary)).parent
    data = folder / "pg15"
    data.mkdir(mode=0o700)
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    if user is not None:
        os.chown(data, user, -1)
    options = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL}
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
    subprocess.run(initdb, check=True, **options)  # type: ignore[call-overload]  # noqa: S603 -- Debian's
    start = [binary, "-D", str(data), "-c", "listen_addresses=", "-k", str(data)]
    with subprocess.Popen(start, stderr=subprocess.DEVNULL, **options) as process:  # type: ignore[call-overload]  # noqa: S603 -- Debian's
        try:
            yield f"postgresql://postgres@/postgres?host={quote(str(data), safe='')}"
        finally:
            process.send_signal(signal.SIGINT)


@pytest.mark.long
def test_it_moves_to_postgresql_15_and_back(
    kept: Kept, other: Database, base: Path, tmp_path: Path
) -> None:
    with postgres_15(base) as address:
        desk = moved(kept.desk, other, tmp_path)
        desk.config.with_name("store.dsn").write_text(address)
        ends = time.monotonic() + 60
        while (answer := desk(f"restore {kept.file}")).code:
            assert "cannot be reached" in answer.err
            assert time.monotonic() < ends
        assert desk("dump").out == kept.dump
        assert desk(f"backup {tmp_path / 'b.backup'}").code == 0
    desk.config.with_name("store.dsn").write_text(dsn(other))
    assert desk(f"restore {tmp_path / 'b.backup'}").code == 0
    assert desk("dump").out == kept.dump


def test_what_is_in_the_way_is_said_and_stays(kept: Kept, other: Database, tmp_path: Path) -> None:
    asked(other, "CREATE SCHEMA tieout CREATE TABLE theirs ()")
    answer = moved(kept.desk, other, tmp_path)(f"restore {kept.file}")
    assert answer.code == 1
    assert 'ERROR:  schema "tieout" already exists' in answer.err
    assert asked(other, "SELECT to_regclass('tieout.theirs') IS NOT NULL")
    assert asked(other, "SELECT to_regnamespace('read') IS NULL")


async def test_a_program_that_fails_says_why_without_the_password(other: Database) -> None:
    with pytest.raises(Permanent, match="pg_dump failed: pg_dump: error: no matching") as failed:
        async with program("pg_dump", "--table=none", dsn=dsn(other)):
            pass
    assert other.server.passwords["postgres"] not in failed.value.detail


@pytest.mark.parametrize(
    ("given", "shown", "password"),
    [
        (
            "postgresql://a:b%40c@h:1/d?sslmode=require",
            "postgresql://a@h:1/d?sslmode=require",
            "b@c",
        ),
        ("postgresql://a@h,i/d", "postgresql://a@h,i/d", ""),
        ("postgresql:///d?host=%2Ftmp&password=x%26y", "postgresql:///d?host=%2Ftmp", "x&y"),
        ("postgresql:///d?password=x&options=-c%20a", "postgresql:///d?options=-c%20a", "x"),
    ],
)
def test_a_password_is_not_shown_in_the_list_of_processes(
    given: str, shown: str, password: str
) -> None:
    assert without_password(given) == (shown, password)


async def test_no_secret_is_in_a_backup(kept: Kept, tmp_path: Path) -> None:
    with zipfile.ZipFile(kept.file) as container:
        archive = container.extract("store.pgdump", tmp_path)
    async with program("pg_restore", "--file=-", archive) as process:
        assert process.stdout is not None
        script = (await process.stdout.read()).decode()
    assert "B-MISSING" in script
    assert (kept.desk.folder / "webhook.secret").read_text().strip() not in script
    assert "PASSWORD" not in script
