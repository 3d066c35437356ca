"""One file with all that a store holds: written in one snapshot, loaded in one transaction.

The file is a zip, so that it can be read without Tieout as well:

    store.pgdump    what `pg_dump --format=custom` wrote
    manifest.json   who wrote it, with which migrations, how far it goes, and the SHA-256 of the other

Loading ends with the COMMIT that we send after the last byte. Whoever is killed before, the database rolls
back: it is as empty as it was.
"""

import asyncio
import hashlib
import importlib.metadata
import os
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from collector.clock import Clock
from collector.errors import Permanent, Refused
from collector.model.words import counted
from collector.store.connection import connected
from collector.store.ingest import Connection
from collector.store.migrate import MIGRATION_LOCK, ensure_roles, migrations
from collector.store.programs import CHUNK_BYTES, incoming, outgoing, program
from collector.store.session import Store

FORMAT = 1
ARCHIVE, MANIFEST = "store.pgdump", "manifest.json"
DUMP = ("--format=custom", "--extension=pg_trgm", "--no-publications", "--no-subscriptions")
PSQL = ("--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1")

Told = Callable[[int], None]
"""Is told of each piece, by the number of its bytes."""

_NOT_BEFORE_17 = b"SET transaction_timeout = 0;\n"
"""The one line of pg_restore's preamble that an older server does not understand; 0 is the default."""

# One at a time: what feeds a psql may have been killed, and it itself is about to commit. Nothing was read into what
# is dropped here: the locks hold until the transaction ends.
_BEGIN = (
    b"""
BEGIN;
SET LOCAL lock_timeout = '10s';
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(%d);
DO $$ BEGIN
    IF to_regclass('public.tieout_migration') IS NULL THEN RETURN; END IF;
    IF to_regclass('tieout.commit_log') IS NOT NULL THEN
        LOCK TABLE tieout.commit_log;
        IF EXISTS (SELECT FROM tieout.commit_log WHERE what <> 'configuration') THEN
            RAISE EXCEPTION 'The store is not empty: something was read into it meanwhile.';
        END IF;
    END IF;
    DROP SCHEMA IF EXISTS read, tieout CASCADE;
    DROP TABLE public.tieout_migration;
END $$;
"""
    % MIGRATION_LOCK
)


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself; `commits` and `events` are those of its snapshot."""

    format: int
    tieout: str
    made_at: datetime
    migrations: list[str]
    commits: int
    events: int
    sha256: str


class Restored(msgspec.Struct, frozen=True):
    """What was loaded, and which migrations were applied to it afterwards."""

    backup: Manifest
    applied: list[str]


async def backup(store: Store, path: Path, clock: Clock, told: Told) -> Manifest:
    """Write all that the store holds into a new file, as of one instant, whoever goes on writing to it.

    Raises:
        Refused: the file exists already, or the store has no schema yet.
        Permanent: the file cannot be written, or pg_dump failed, as for a server that is newer than it.
    """
    draft = _draft(path)
    try:
        async with (
            connected(store.owner_dsn) as conn,
            conn.transaction(isolation="repeatable_read", readonly=True),
        ):
            manifest = await _write(conn, store.owner_dsn, draft, clock, told)
        draft.rename(path)
    except OSError as error:
        raise Permanent(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    return manifest


def _draft(path: Path) -> Path:
    if path.exists():
        raise Refused(f"{path} exists already. Name another file, or remove it first.")
    return path.with_name(f"{path.name}.part")


async def _write(conn: Connection, dsn: str, draft: Path, clock: Clock, told: Told) -> Manifest:
    names, commits, events = await _state(conn)
    snapshot = await conn.fetchval("SELECT pg_export_snapshot()")
    digest = hashlib.sha256()
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(draft, flags, 0o600), "r+b") as file:
        with zipfile.ZipFile(file, "w") as container:
            with container.open(ARCHIVE, "w", force_zip64=True) as member:
                async with program("pg_dump", *DUMP, f"--snapshot={snapshot}", dsn=dsn) as dump:
                    while chunk := await incoming(dump).read(CHUNK_BYTES):
                        member.write(chunk)
                        digest.update(chunk)
                        told(len(chunk))
            version = importlib.metadata.version("tieout")
            manifest = Manifest(
                FORMAT, version, clock(), names, commits, events, digest.hexdigest()
            )
            text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
            container.writestr(MANIFEST, text)
        file.flush()
        os.fsync(file.fileno())
    return manifest


async def _state(conn: Connection) -> tuple[list[str], int, int]:
    """Return the migrations that a store has, its last commit and how many events it took in."""
    if await conn.fetchval("SELECT to_regclass('tieout.commit_log')") is None:
        raise Refused("There is nothing to back up: the store has no schema yet.")
    names = await conn.fetch("SELECT name FROM public.tieout_migration ORDER BY name")
    commits, events = await conn.fetchrow(
        "SELECT (SELECT coalesce(max(seq), 0) FROM tieout.commit_log),"
        " (SELECT coalesce(sum(events), 0)::bigint FROM tieout.batch)"
    )
    return [row["name"] for row in names], commits, events


async def restore(store: Store, path: Path, told: Told) -> Restored:
    """Load a backup into a store that nothing was read into, and bring it to the current schema.

    Raises:
        Permanent: the file is damaged or none of ours, a newer Tieout wrote it, or the server refuses it.
        Refused: the store is not empty.
    """
    manifest = verified(path)
    if newer := sorted(set(manifest.migrations) - {name for name, _ in migrations()}):
        raise Permanent(_newer(path, manifest, f"with {newer[-1]}, which this one does not know"))
    async with connected(store.owner_dsn) as conn:
        await ensure_roles(conn)
        await _refuse_content(conn)
    await _load(store.owner_dsn, path, told)
    applied = await store.migrate()
    async with connected(store.owner_dsn) as conn:
        await conn.execute("SET client_min_messages = error")  # of catalogues that are not ours
        await conn.execute("ANALYZE")
    return Restored(manifest, applied)


def verified(path: Path) -> Manifest:
    """Read a backup's manifest and hold the archive against it, before anything is loaded.

    Raises:
        Permanent: which member is damaged or missing, and how.
    """
    member = ""
    try:
        with zipfile.ZipFile(path) as container:
            member = MANIFEST
            manifest = msgspec.json.decode(container.read(member), type=Manifest)
            member = ARCHIVE
            found = _digest(container)
    except OSError as error:
        raise Permanent(f"{path} cannot be read: {error.strerror}.") from error
    except KeyError:
        raise Permanent(f"{path} is no backup of Tieout: it has no {member}.") from None
    except (zipfile.BadZipFile, zlib.error, RuntimeError, msgspec.MsgspecError) as error:
        what = (
            f"{member} is damaged" if member else "it is no backup of Tieout, or its end is missing"
        )
        raise Permanent(f"{path}: {what} ({error}).") from error
    if manifest.format != FORMAT:
        raise Permanent(_newer(path, manifest, f"in format {manifest.format}"))
    if found != manifest.sha256:
        raise Permanent(f"{path}: {ARCHIVE} is damaged (its SHA-256 is not that in {MANIFEST}).")
    return manifest


def _newer(path: Path, manifest: Manifest, how: str) -> str:
    return (
        f"Tieout {manifest.tieout} wrote {path} {how}. Restore it with that version or a newer one."
    )


def _digest(container: zipfile.ZipFile) -> str:
    digest = hashlib.sha256()
    with container.open(ARCHIVE) as member:
        while chunk := member.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


async def _refuse_content(conn: Connection) -> None:
    if await conn.fetchval("SELECT to_regclass('tieout.commit_log')") is None:
        return
    commits = await conn.fetchval(
        "SELECT count(*) FROM tieout.commit_log WHERE what <> 'configuration'"
    )
    if commits:
        raise Refused(
            f"The store is not empty: it holds {counted(commits, 'commit')}. Restore into a new data folder "
            "(--data-dir) or an empty database."
        )


async def _load(dsn: str, path: Path, told: Told) -> None:
    """Pass the archive through pg_restore to psql; if either ends early, what it said is raised."""
    async with (
        program("pg_restore", "--no-owner", "--file=-") as archive,
        program("psql", *PSQL, dsn=dsn) as session,
    ):
        feeding = asyncio.create_task(_feed(path, outgoing(archive), told))
        script, statements = incoming(archive), outgoing(session)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                statements.write(_BEGIN)
                preamble = await script.readuntil(_NOT_BEFORE_17)
                statements.write(preamble.removesuffix(_NOT_BEFORE_17))
                while chunk := await script.read(CHUNK_BYTES):
                    statements.write(chunk)
                    await statements.drain()
                if await archive.wait() == 0:
                    statements.write(b"COMMIT;\n")
        finally:
            feeding.cancel()


async def _feed(path: Path, into: asyncio.StreamWriter, told: Told) -> None:
    try:
        with zipfile.ZipFile(path) as container, container.open(ARCHIVE) as member:
            while chunk := member.read(CHUNK_BYTES):
                into.write(chunk)
                await into.drain()
                told(len(chunk))
    except ConnectionError:
        pass  # pg_restore has ended, and says why
    finally:
        into.close()
