"""A PostgreSQL of one's own by `store.dsn`: migrated by command only, by a login that takes on roles."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from collector.store.embedded import Server
from tests.api.cli.desk import STATUS_TIME, Desk

ROLES = ("tieout_owner", "tieout_app", "tieout_reader")


@pytest.fixture(params=["superuser", "member of the roles"])
async def empty(
    request: pytest.FixtureRequest,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Desk]:
    """Give the starter over an empty database, its login a superuser's or an ordinary one."""
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(server.dsn("postgres", "postgres"))
    dsn, owner = server.dsn("postgres", name), "postgres"
    if request.param != "superuser":
        owner = f"login_{name}"
        await admin.execute(f"CREATE ROLE {owner} LOGIN PASSWORD 'pass-word'")
        await admin.execute(f"GRANT {', '.join(ROLES)} TO {owner}")
        dsn = f"postgresql://{owner}:pass-word@{dsn.partition('@')[2]}"
    await admin.execute(f"CREATE DATABASE {name} OWNER {owner}")
    monkeypatch.setenv("TIEOUT_TEST_DSN", dsn)
    try:
        desk = Desk(tmp_path).start().over(dsn)
        desk.change("${file:store.dsn}", "${env:TIEOUT_TEST_DSN}")
        yield desk
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        if owner != "postgres":
            await admin.execute(f"DROP ROLE {owner}")
        await admin.close()


def test_it_is_migrated_by_command_only_and_then_works(empty: Desk) -> None:
    for line in ("sync", "status", f"flow show orders --as-of {STATUS_TIME}", "dump"):
        refused = empty(line)
        assert (refused.code, refused.out) == (2, ""), refused
        assert "Run `tieout migrate`" in refused.err
    assert empty.shown("migrate", "migrate")["applied"]
    assert empty.shown("migrate", "migrate") == {"applied": []}
    assert empty("migrate").out == "The schema is current.\n"
    assert empty.shown("sync", "sync")["streams"][0]["accepted"] == 7
    run = f"control run stuck_transaction --as-of {STATUS_TIME}"
    assert [e["subject"] for e in empty.shown(run, "control-run", 3)["exceptions"]] == ["SO-1002"]
    assert empty.shown("status", "status")["data_dir"] is None
    assert "(another server)" in empty("status").out
    assert empty.shown("rebuild", "rebuild") == {"documents": 3}


def test_a_backup_is_restored_and_made_by_the_login_that_may_migrate(empty: Desk) -> None:
    written = Path(__file__).parents[2] / "collector/store/upgrade/0.1.0.backup"
    assert empty(f"restore {written}").code == 0
    assert empty.shown("status", "status")["events"] == 16
    assert empty.shown("rebuild", "rebuild")["documents"] == 8
    made = empty.shown(f"backup {empty.folder / 'again.backup'}", "backup")
    assert made["events"] == 16


def test_a_dry_run_needs_neither_the_server_nor_its_secrets(tmp_path: Path) -> None:
    desk = Desk(tmp_path).start()
    desk.config.write_text(
        desk.config.read_text()
        + 'store: {dsn: "${env:TIEOUT_NOT_SET}"}\napi: {keys: ["${file:no.key}"]}\n'
    )
    shown = desk.shown("sync --dry-run --limit 2", "sync-dry-run")
    assert [len(stream["records"]) for stream in shown["streams"]] == [2]
    refused = desk("sync")
    assert (refused.code, refused.out) == (2, "")
    assert "TIEOUT_NOT_SET is not set" in refused.err
    desk.change("in/orders.jsonl", "'${env:TIEOUT_NOT_SET}'")
    refused = desk("sync --dry-run")
    assert (refused.code, refused.err.count("is not set")) == (2, 1)


def test_it_is_not_reset_from_here(desk: Desk) -> None:
    answer = desk("reset --yes")
    assert (answer.code, answer.out) == (1, "")
    assert "drop and create its database there" in answer.err


def test_a_login_that_is_refused_is_said_without_its_password(
    server: Server, tmp_path: Path
) -> None:
    place = server.dsn("postgres", "postgres").partition("@")[2]
    desk = Desk(tmp_path).start().over(f"postgresql://postgres:hush-hush@{place}")
    answer = desk("status")
    assert (answer.code, answer.out) == (1, "")
    assert "password authentication failed" in answer.err
    assert "hush" not in answer.err
