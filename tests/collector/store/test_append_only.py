"""Facts are refused twice by the database: the role has no right, and a trigger stands on every table."""

from datetime import date

import asyncpg
import pytest

from collector.clock import now
from collector.pipeline.commit import batch_of, commit
from collector.store import ingest, streams
from collector.store.cluster import Role
from tests.collector.pipeline.test_order import Fact, event
from tests.support.postgres import Database

FACTS = (
    "batch",
    "bridge",
    "commit_log",
    "config_version",
    "control_exception",
    "control_run",
    "coverage_certificate",
    "deletion",
    "erasure",
    "event",
    "event_202601",
    "event_202602",
    "held_exception",
    "link_decision",
    "link_evidence",
    "quarantine",
    "quarantine_refusal",
    "quarantine_resolution",
    "remapping",
    "snapshot",
    "standing",
    "supersession",
    "sweep",
    "trace_sent",
)
WAYS = {
    "UPDATE": "UPDATE tieout.{table} SET {column} = {column}",
    "DELETE": "DELETE FROM tieout.{table}",
    "TRUNCATE": "TRUNCATE tieout.{table} CASCADE",
    "ON CONFLICT": "INSERT INTO tieout.{table} OVERRIDING SYSTEM VALUE SELECT * FROM tieout.{table}"
    " ON CONFLICT ({key}) DO UPDATE SET {column} = EXCLUDED.{column}",
    "MERGE": "MERGE INTO tieout.{table} t USING (SELECT 1) o ON true WHEN MATCHED THEN DELETE",
}


@pytest.fixture
async def filled(database: Database) -> Database:
    """A store with an event in each of two months."""
    conn = await asyncpg.connect(database.dsn("tieout_app"))
    stream = await streams.register(conn, "test", "test", "test")
    facts = [Fact(1, frozenset({1}), 0, "made", hour, 100) for hour in (0, 80)]
    events = [event("append", f) for f in facts]
    row = ingest.BatchRow(0, stream, None, "test", "m", None, None, read=2)
    await commit(conn, batch_of(row, events), lambda _kind: 20, now)
    await conn.close()
    return database


async def _columns(conn: asyncpg.Connection, table: str) -> tuple[str, str]:
    """Return (a column, the columns of a unique key) of a table."""
    column = await conn.fetchval(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum = 2",
        f"tieout.{table}",
    )
    key = await conn.fetchval(
        "SELECT string_agg(a.attname, ', ' ORDER BY k.n) FROM pg_index i,"
        " unnest(i.indkey::int2[]) WITH ORDINALITY k(att, n), pg_attribute a"
        " WHERE i.indrelid = $1::text::regclass AND i.indisunique AND a.attrelid = i.indrelid"
        " AND a.attnum = k.att GROUP BY i.indexrelid LIMIT 1",
        f"tieout.{table}",
    )
    return str(column), str(key)


@pytest.mark.parametrize("role", ["tieout_app", "tieout_reader"])
async def test_no_role_of_ours_may_change_a_fact(filled: Database, role: Role) -> None:
    owner = await asyncpg.connect(filled.dsn("tieout_owner"))
    conn = await asyncpg.connect(filled.dsn(role))
    try:
        for table in FACTS:
            column, key = await _columns(owner, table)
            for sql in WAYS.values():
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await conn.execute(sql.format(table=table, column=column, key=key))
    finally:
        await conn.close()
        await owner.close()


@pytest.mark.parametrize("table", FACTS)
async def test_even_the_owner_is_stopped_by_the_trigger_of_every_table_and_partition(
    filled: Database, table: str
) -> None:
    conn = await asyncpg.connect(filled.dsn("tieout_owner"))
    try:
        column, _ = await _columns(conn, table)
        for way in ("UPDATE", "DELETE", "TRUNCATE"):
            with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
                await conn.execute(WAYS[way].format(table=table, column=column))
    finally:
        await conn.close()


async def test_every_table_of_facts_is_known_to_this_test(filled: Database) -> None:
    conn = await asyncpg.connect(filled.dsn("tieout_owner"))
    try:
        guarded = await conn.fetch(
            "SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE t.tgname = 'append_only'"
        )
        partitions = await conn.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
            " WHERE inhparent = 'tieout.event'::regclass"
        )
    finally:
        await conn.close()
    assert {r["relname"] for r in guarded} == set(FACTS)
    assert {r["name"] for r in partitions} == {"tieout.event_202601", "tieout.event_202602"}


async def test_the_application_owns_nothing_and_makes_partitions_only_by_the_function(
    filled: Database,
) -> None:
    conn = await asyncpg.connect(filled.dsn("tieout_app"))
    try:
        owned = await conn.fetchval(
            "SELECT count(*) FROM pg_class WHERE relowner = 'tieout_app'::regrole"
        )
        assert owned == 0
        for sql in (
            "CREATE TABLE tieout.mine (x int)",
            "DROP TABLE tieout.event_202601",
            "ALTER TABLE tieout.event DISABLE TRIGGER ALL",
            "ALTER TABLE tieout.event DETACH PARTITION tieout.event_202601",
            "SET session_replication_role = replica",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(sql)
        await ingest.ensure_partitions(conn, [date(2031, 5, 1)])
        with pytest.raises(asyncpg.RaiseError, match="first of a month"):
            await ingest.ensure_partitions(conn, [date(2031, 5, 2)])
    finally:
        await conn.close()


async def test_the_reader_sees_the_schema_read_and_nothing_else(filled: Database) -> None:
    conn = await asyncpg.connect(filled.dsn("tieout_reader"))
    try:
        assert await conn.fetchval("SELECT count(*) FROM read.batch") == 1
        for table in ("event", "personal", "raw_record", "quarantine_body", "document"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.fetch(f"TABLE tieout.{table}")
    finally:
        await conn.close()
