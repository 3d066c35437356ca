import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE

import asyncpg
import httpx
import pytest

from api import service
from api.service import Listening, serve
from api.wiring import Application, Half, read_configuration
from collector import clock
from collector.errors import Misconfigured
from collector.store import embedded
from collector.store.session import embedded_store
from tests.api.till import BOOKINGS, append, booking, open_application, sale, write
from tests.support.hooks import receiving
from tests.support.otlp import Receiver
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

PATIENCE_S = 20.0
RUN = """
import asyncio, sys
from pathlib import Path
from api.service import serve
from api.wiring import opened, read_configuration
with opened(read_configuration(Path(sys.argv[1])), Path(sys.argv[2])) as application:
    asyncio.run(serve(application, host="127.0.0.1", port=0, poll_s=0.05))
print("left cleanly")
"""
LINKS = """\
links:
  takings:
    left: {events: [booking.booked]}
    right: {events: [sale.sold]}
    equal: [amount, currency]
    within: {days_before: 1}
"""
pytestmark = pytest.mark.filterwarnings("error")


@asynccontextmanager
async def serving(
    application: Application, only: Half | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Run the whole service, or one half, in this process; stop it as SIGTERM does."""
    announced: asyncio.Queue[Listening] = asyncio.Queue()
    service = asyncio.create_task(
        serve(application, only=only, port=0, poll_s=0.05, announce=announced.put_nowait)
    )
    waiting = asyncio.create_task(announced.get())
    await asyncio.wait({service, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if service.done():
        waiting.cancel()
        await service
    listening = await waiting
    assert listening.key_file is not None
    headers = {"X-API-Key": listening.key_file.read_text().strip()}
    async with httpx.AsyncClient(base_url=listening.url, headers=headers) as client:
        yield client
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(service, PATIENCE_S)


async def answer(client: httpx.AsyncClient, path: str, status: int) -> httpx.Response:
    """Ask until the status is as expected."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await client.get(path)
            if found.status_code == status:
                return found
            await asyncio.sleep(0.05)


async def test_what_is_appended_to_a_file_appears_in_the_api(
    database: Database, tmp_path: Path
) -> None:
    path = write(tmp_path)
    store = DatabaseStore(database)
    async with serving(Application(read_configuration(path), store, clock.now)) as client:
        ready = await answer(client, "/readyz", 200)
        assert ready.json()["checked"] == ["database", "migrations", "scheduler", "collection"]
        await answer(client, "/v1/traces?key=1001", 200)
        assert (await client.get("/v1/traces?key=3005")).status_code == 404
        append(tmp_path / "sales.jsonl", [sale("3005", 5)])
        (found,) = (await answer(client, "/v1/traces?key=3005", 200)).json()["transactions"]
        assert found["status"] == "open"
        append(tmp_path / "bookings-2.jsonl", [booking("3005", 6)])  # a new part
        await answer(client, "/v1/traces?key=BANK-3005", 200)
        (found,) = (await client.get("/v1/traces?key=3005")).json()["transactions"]
        assert found["status"] == "completed"


async def test_the_two_halves_together_do_what_the_whole_does(
    database: Database, tmp_path: Path
) -> None:
    store = DatabaseStore(database)
    application = Application(read_configuration(write(tmp_path)), store, clock.now)
    async with serving(application, "api") as api:
        ready = await answer(api, "/readyz", 200)
        assert ready.json()["checked"] == ["database", "migrations"]
        assert (await api.get("/v1/traces?key=1001")).status_code == 404  # nobody collects
    async with serving(application, "collector") as collector:
        ready = await answer(collector, "/readyz", 200)
        assert ready.json()["checked"] == ["database", "migrations", "scheduler", "collection"]
        for path, status in (("/healthz", 200), ("/metrics", 200), ("/v1/controls", 404)):
            assert (await collector.get(path)).status_code == status, path
        async with asyncio.timeout(PATIENCE_S), store.connect() as conn:
            while await conn.fetchval("SELECT count(*) FROM tieout.event") < 5:  # noqa: ASYNC110 -- the database has no event
                await asyncio.sleep(0.05)
    async with serving(application, "api") as api:
        await answer(api, "/v1/traces?key=1001", 200)


async def test_an_answer_over_a_kept_connection_does_not_wait_for_the_network(
    database: Database, tmp_path: Path
) -> None:
    application = Application(
        read_configuration(write(tmp_path)), DatabaseStore(database), clock.now
    )
    async with serving(application) as client:
        await answer(client, "/readyz", 200)
        took = []
        for _ in range(20):
            elapsed = clock.stopwatch()
            await client.get("/healthz")
            took.append(elapsed())
    assert sorted(took)[10] < 0.03  # Nagle's algorithm would hold each back for 40 ms


async def test_a_stream_that_fails_is_tried_again_and_stops_no_other(
    database: Database, tmp_path: Path
) -> None:
    path = write(tmp_path)
    (tmp_path / "bookings.jsonl").unlink()
    store = DatabaseStore(database)
    application = Application(read_configuration(path), store, clock.now)
    async with store.connect() as conn:  # registered otherwise: refused until that is mended
        await conn.execute(
            "INSERT INTO tieout.stream (source, stream, namespace) VALUES ('bank', 'bookings', 'x')"
        )
    async with serving(application) as client:
        await answer(client, "/v1/traces?key=1001", 200)
        body = (await answer(client, "/readyz", 503)).json()
        assert [lacking["what"] for lacking in body["not_ready"]] == ["collection"]
        assert "bookings" not in str(body)  # open to everybody: the log names the stream
        admin = await asyncpg.connect(database.dsn("tieout_owner"))
        await admin.execute("DELETE FROM tieout.stream WHERE source = 'bank'")
        await admin.close()
        append(tmp_path / "bookings.jsonl", BOOKINGS)
        await answer(client, "/readyz", 200)
        await answer(client, "/v1/traces?key=BANK-1001", 200)


async def test_readiness_falls_with_the_database_and_comes_back(base: Path, tmp_path: Path) -> None:
    configuration = read_configuration(write(tmp_path))
    with embedded.running(base / "data") as server:
        application = Application(configuration, embedded_store(server), clock.now)
        async with serving(application) as client:
            await answer(client, "/readyz", 200)
            pid = int((base / "data/pg/postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal.SIGINT)
            down = await answer(client, "/readyz", 503)
            assert down.headers["content-type"] == "application/problem+json"
            assert "database" in [lacking["what"] for lacking in down.json()["not_ready"]]
            assert (await client.get("/healthz")).status_code == 200
            found = await client.get("/v1/coverage")
            assert (found.status_code, found.json()["title"]) == (503, "Not ready")
            await asyncio.to_thread(_gone, base / "data/pg/postmaster.pid")
            with await asyncio.to_thread(_join, base / "data"):
                await answer(client, "/readyz", 200)
                append(tmp_path / "sales.jsonl", [sale("4006", 5)])
                await answer(client, "/v1/traces?key=4006", 200)


def _gone(path: Path) -> None:
    while path.exists():
        time.sleep(0.05)


def _join(data_dir: Path) -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    stack.enter_context(embedded.running(data_dir))
    return stack


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly_and_leaves_the_server_to_others(
    base: Path, tmp_path: Path, number: signal.Signals
) -> None:
    path = write(tmp_path)
    with await asyncio.to_thread(_join, base / "data"):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RUN, path, base / "data"), stdout=PIPE, stderr=PIPE
        )
        assert process.stderr is not None
        async with asyncio.timeout(60):
            line = (await process.stderr.readline()).decode()
        key = base / "data" / "api.key"
        assert line.startswith("Tieout listens on http://127.0.0.1:")
        assert line.rstrip().endswith(f"The API key is in {key}")
        headers = {"Authorization": f"Bearer {key.read_text().strip()}"}
        async with httpx.AsyncClient(base_url=line.split()[3], headers=headers) as client:
            await answer(client, "/readyz", 200)
            await answer(client, "/v1/traces?key=BANK-1001", 200)
            await answer(client, "/v1/traces?key=2004", 200)
            process.send_signal(number)
            out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert (process.returncode, out.decode()) == (0, "left cleanly\n"), err
        assert b"Traceback" not in err
        assert key.read_text().strip() not in line + err.decode()
        with embedded.running(base / "data") as server:
            conn = await asyncpg.connect(server.dsn("tieout_app"))
            assert await conn.fetchval("SELECT count(*) FROM tieout.event") == 5
            await conn.close()


async def test_the_last_one_out_stops_the_server(base: Path, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, write(tmp_path), base / "data"), stdout=PIPE, stderr=PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(60):
        await process.stderr.readline()
    process.terminate()  # at once, whatever it is beginning
    await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0
    assert not (base / "data/pg/postmaster.pid").exists()


async def test_a_stop_amid_a_large_file_keeps_whole_batches_and_the_next_start_reads_on(
    database: Database, tmp_path: Path
) -> None:
    path, many = write(tmp_path), 40_000
    append(tmp_path / "sales-2.jsonl", [sale(f"L{n}", 3) for n in range(many)])
    store = DatabaseStore(database)
    application = Application(read_configuration(path), store, clock.now)
    async with serving(application) as client:
        await answer(client, "/v1/traces?key=L1", 200)
    first = await _counted(store)
    assert 0 < first < many
    async with serving(application) as client:
        await answer(client, f"/v1/traces?key=L{many - 1}", 200)
    assert await _counted(store) == many


async def _counted(store: DatabaseStore) -> int:
    """Count the large file's events; each batch is there whole, as its control totals say."""
    async with store.connect() as conn:
        told = await conn.fetchval(
            "SELECT sum(events) FROM tieout.batch WHERE part_name LIKE '%sales-2.jsonl'"
        )
        found = await conn.fetchval(
            "SELECT count(*) FROM tieout.event e JOIN tieout.batch b ON b.id = e.batch"
            " WHERE b.part_name LIKE '%sales-2.jsonl'"
        )
    assert told == found
    return int(found)


@pytest.mark.long
async def test_traces_and_metrics_are_sent_where_a_receiver_is_configured(
    database: Database, tmp_path: Path
) -> None:
    with receiving(Receiver) as otlp:
        path = write(tmp_path, more=f"telemetry: {{otlp_endpoint: '{otlp.address}'}}\n")
        application = Application(read_configuration(path), DatabaseStore(database), clock.now)
        async with serving(application):
            async with asyncio.timeout(PATIENCE_S):
                while {post.path for post in otlp.posts} != {"/v1/traces", "/v1/metrics"}:  # noqa: ASYNC110 -- another thread's
                    await asyncio.sleep(0.05)


@pytest.mark.long
async def test_retention_erases_while_it_runs_and_no_other_command_does(
    database: Database, tmp_path: Path
) -> None:
    path = write(tmp_path, more="retention: {raw_days: 1}\n")
    path.write_text(
        path.read_text().replace("        complete:", "        keep_raw: true\n        complete:")
    )
    store = DatabaseStore(database)
    await open_application(store, path)  # recorded in February 2026

    async def kept() -> int:
        async with store.connect() as conn:
            return int(await conn.fetchval("SELECT count(*) FROM tieout.raw_record"))

    application = await open_application(store, path, clock.now)  # what `tieout sync` does
    assert await kept() == 5
    async with serving(application), asyncio.timeout(PATIENCE_S):
        while await kept():  # noqa: ASYNC110 -- the service's doing
            await asyncio.sleep(0.05)


async def test_rules_are_matched_as_soon_as_something_new_is_known(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MATCH_S", 0.05)
    path = write(tmp_path, more=LINKS)
    application = Application(read_configuration(path), DatabaseStore(database), clock.now)
    async with serving(application) as client:
        await answer(client, "/v1/traces?key=1001", 200)
        assert (await client.get("/v1/links/suggestions")).json() == {"items": [], "next": None}
        nameless = [{**booking(n, 2), "slip": ""} for n in ("X", "Y")]
        append(tmp_path / "bookings.jsonl", nameless)
        found: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < 2:
                query, found = "?limit=1", []
                while query:
                    page = (await client.get(f"/v1/links/suggestions{query}")).json()
                    found += [item["document"]["number"] for item in page["items"]]
                    query = page["next"] and f"?limit=1&cursor={page['next']}"
        assert sorted(found) == ["BANK-X", "BANK-Y"]
        item = (await client.get("/v1/links/suggestions?rule=takings")).json()["items"][0]
        numbers = [c["document"]["number"] for c in item["candidates"]]
        assert (item["why"], numbers) == ("AMBIGUOUS", ["2003", "1002"])
        assert (await client.get("/v1/links/suggestions?rule=other")).json()["items"] == []


async def test_a_port_that_is_taken_is_said_before_anything_starts(
    database: Database, tmp_path: Path
) -> None:
    application = Application(
        read_configuration(write(tmp_path)), DatabaseStore(database), clock.now
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            Misconfigured, match=rf"Cannot listen on 127.0.0.1, port {port}: .*--port"
        ):
            await serve(application, port=port)
    with pytest.raises(Misconfigured, match=r"Cannot listen on nowhere\.invalid"):
        await serve(application, host="nowhere.invalid", port=0)
