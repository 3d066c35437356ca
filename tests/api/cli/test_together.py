"""Programs as they are installed: what goes to which stream, and several at once on one store."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from collector.store import streams
from tests.api.cli.desk import STATUS_TIME, Answer, Desk, conforms
from tests.support.postgres import Database, temporary_base

TIEOUT = str(Path(sys.executable).with_name("tieout"))


def typed(
    desk: Desk,
    *words: str,
    before: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
) -> Answer:
    """Run the installed program in a process of its own."""
    line = [TIEOUT, "--config", str(desk.config), "--data-dir", str(desk.place), *before, *words]
    done = subprocess.run(  # noqa: S603 -- our own program
        line, capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def test_a_document_alone_is_on_standard_output_and_the_log_on_the_other(desk: Desk) -> None:
    answer = typed(desk, "sync", "--json", before=("--verbose",))
    assert answer.code == 0, answer
    conforms("sync", answer.document)
    assert answer.out.startswith("{")
    run = typed(desk, "control", "run", "--all", "--as-of", STATUS_TIME, "--json")
    assert (run.code, run.err.strip()) == (3, "")
    conforms("control-run-all", run.document)


def test_a_crash_is_a_sentence_and_its_trace_comes_with_verbose(desk: Desk) -> None:
    in_the_way = desk.folder / "sitecustomize"
    in_the_way.mkdir()
    (in_the_way / "sitecustomize.py").write_text(
        "from collector.pipeline.story import Stories\n"
        "def tell(*_): raise RuntimeError('the moon is missing')\n"
        "Stories.tell = tell\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(in_the_way)}  # noqa: TID251 -- handed on
    for before in ((), ("--verbose",)):
        answer = typed(desk, "trace", "SO-1001", before=before, environment=environment)
        assert (answer.code, answer.out) == (1, "")
        assert "RuntimeError: the moon is missing" in answer.err
        assert ("Traceback" in answer.err) is bool(before)


@contextmanager
def another(data_dir: Path) -> Iterator[None]:
    """Keep another process in the server of a data folder."""
    program = (
        "import sys, pathlib\nfrom collector.store.embedded import running\n"
        "with running(pathlib.Path(sys.argv[1])):\n    print('in', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(  # noqa: S603 -- our own program
        [sys.executable, "-c", program, data_dir],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        yield
        process.communicate()
    assert process.returncode == 0


def test_several_share_the_server_and_the_last_one_stops_it(tmp_path: Path) -> None:
    with temporary_base() as folder:
        desk = Desk(tmp_path, folder / "data").start()
        pid_file = folder / "data/pg/postmaster.pid"
        with another(folder / "data"):
            postmaster = pid_file.read_text().splitlines()[0]
            assert desk("sync").code == 0
            status = typed(desk, "status", "--json")
            assert (status.code, status.document["events"]) == (0, 7)
            assert pid_file.read_text().splitlines()[0] == postmaster
            refused = desk("reset", typed="y\n")
            assert refused.code == 1
            assert "Another command is using" in refused.err
        assert not pid_file.exists()
        assert desk("reset", typed="y\n").code == 0
        assert not (folder / "data").exists()


async def _hold(database: Database) -> asyncpg.Connection:
    """Read the one part of the starter's stream, and do not let go."""
    conn = await asyncpg.connect(database.dsn("tieout_app"))
    stream, ident = await conn.fetchrow("SELECT stream, ident FROM tieout.part")
    assert await streams.lease(conn, stream, ident)
    return conn


def test_a_second_reader_is_told_who_reads(desk: Desk, database: Database) -> None:
    assert desk("sync").code == 0
    desk.append(id="e8", order="SO-1004", what="ordered")
    with asyncio.Runner() as holder:
        conn = holder.run(_hold(database))
        second = desk("sync")
        assert second.code == 4
        assert "is being read by another process; it was left to that one" in second.err
        assert desk.shown("sync", "sync", code=4)["streams"][0]["read"] == 0
        holder.run(conn.close())
    assert desk.shown("sync", "sync")["streams"][0]["accepted"] == 1
