"""Alerts by the commands and by `tieout run`, which may be killed at any time."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from api.wiring import Application, read_configuration
from collector import clock
from collector.store import embedded
from tests.api.cli.desk import Desk, same_signals
from tests.api.test_service import PATIENCE_S, RUN, answer, serving
from tests.api.till import write
from tests.control_checks.notify.alerting import SECRET, verified, webhook
from tests.support.campaigns import campaign
from tests.support.hooks import Receiver, receiving, wait_until
from tests.support.postgres import Database
from tests.support.store import DatabaseStore

TIEOUT = Path(sys.executable).with_name("tieout")
TOKEN = "T0KEN-IN-THE-PATH"  # noqa: S105 -- nobody's


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(Receiver) as started:
        yield started


def configured(folder: Path, receiver: Receiver) -> Path:
    (folder / "webhook.secret").write_text(f"{SECRET}\n")
    return write(folder, f"alerts: {webhook(cases=f'{receiver.url}/{TOKEN}')}\n")


@contextmanager
def service(config: Path, data: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `tieout run` in a process of its own; end it as an operator does, unless it is dead."""
    with log.open("ab") as file:
        process = subprocess.Popen([sys.executable, "-c", RUN, config, data], stderr=file)  # noqa: S603 -- our own
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def command(config: Path, data: Path, *words: str) -> Any:  # noqa: ANN401 -- any JSON
    line = [
        str(w) for w in (TIEOUT, "-v", "--config", config, "--data-dir", data, *words, "--json")
    ]
    done = subprocess.run(line, capture_output=True, check=False, timeout=60)  # noqa: S603 -- our own
    assert TOKEN.encode() not in done.stdout + done.stderr
    assert SECRET.encode() not in done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
def test_a_kill_amid_a_delivery_loses_no_alert(
    base: Path, tmp_path: Path, receiver: Receiver
) -> None:
    config, data, log = configured(tmp_path, receiver), base / "data", tmp_path / "log"
    receiver.answers = [None]  # hangs: the request is under way when the process dies
    with (
        campaign(
            "`tieout run`, killed amid the delivery of an alert",
            "one alert, told until it was taken",
        ) as hits,
        embedded.running(data) as server,
    ):
        with service(config, data, log) as process:
            wait_until(lambda: "events" in str(command(config, data, "coverage")))
            assert command(config, data, "control", "run", "stuck_sales")["verdict"] == "FAIL"
            wait_until(lambda: receiver.posts)
            process.kill()
            hits["kill -9"] += 1
        (row,) = command(config, data, "alerts", "list")["deliveries"]
        assert (row["state"], row["attempts"], row["sent_at"]) == ("pending", 1, None)
        asyncio.run(_let_time_pass(server.dsn("tieout_app")))
        with service(config, data, log):
            wait_until(lambda: len(receiver.posts) > 1)
            wait_until(
                lambda: command(config, data, "alerts", "list", "--state", "sent")["deliveries"]
            )
        (row,) = command(config, data, "alerts", "list")["deliveries"]
        assert (row["state"], row["attempts"]) == ("sent", 2)
    first, second = receiver.posts
    assert (verified(first), verified(second)) == (SECRET, SECRET)
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    said = log.read_text()
    assert "Traceback" not in said
    assert TOKEN not in said
    assert SECRET not in said


async def _let_time_pass(dsn: str) -> None:
    """Have the claim of the one that died run out."""
    conn = await asyncpg.connect(dsn)
    await conn.execute("UPDATE tieout.delivery SET due_at = now()")
    await conn.close()


async def test_a_receiver_that_is_down_holds_up_nothing_of_the_service(
    database: Database, tmp_path: Path
) -> None:
    path = write(tmp_path, f"alerts: {webhook()}\n")
    (tmp_path / "webhook.secret").write_text(SECRET)
    store = DatabaseStore(database)
    application = Application(read_configuration(path), store, clock.now)
    async with serving(application) as client, asyncio.timeout(PATIENCE_S):
        await answer(client, "/readyz", 200)
        await application.engine().run("stuck_sales", None, None, trigger="schedule", actor="test")
        async with store.connect() as conn:
            while not await conn.fetchval("SELECT error FROM tieout.delivery"):  # noqa: ASYNC110 -- the service's doing
                await asyncio.sleep(0.05)
        assert (await client.get("/readyz")).status_code == 200
        metrics = (await client.get("/metrics")).text
    assert 'tieout_alerts_pending{destination="cases"} 1.0' in metrics


def test_commands_send_list_and_try(database: Database, tmp_path: Path, receiver: Receiver) -> None:
    configured(tmp_path, receiver)
    with same_signals():
        desk = Desk(tmp_path).over(database.server.dsn("postgres", database.name))
        assert desk("sync").code == 0
        assert desk("alerts list").out == "Nothing has been told to anybody.\n"
        assert desk.shown("alerts test cases", "alerts-test") == {
            "destination": "cases",
            "sent": True,
        }
        assert desk("alerts test case").err.strip() == (
            "There is no destination 'case'. Destinations: cases."
        )
        receiver.answers = [(404, {}, b"")]
        refused = desk("alerts test cases")
        assert (refused.code, refused.err.strip()) == (
            1,
            "127.0.0.1 does not exist (HTTP 404): correct the address.",
        )
        assert desk("control run stuck_sales").code == 3
        receiver.answers = [(500, {}, b"")]
        sent = desk.shown("alerts send", "alerts-send", 1)
        assert (sent["sent"], list(sent["failed"])) == (0, ["cases"])
        (pending,) = desk.shown("alerts list --state pending", "alerts-list")["deliveries"]
        assert pending["error"] == "127.0.0.1 is out of order (HTTP 500). It is tried again."
        assert "3 exceptions, EUR 37.50 open" in desk("alerts list").out
        assert desk.shown("alerts list --state sent", "alerts-list")["deliveries"] == []
        assert desk("config check").code == 0
        for line in ("alerts list", "alerts list --json", "config check --json", "config check"):
            answer = desk(line)
            assert TOKEN not in answer.out + answer.err
            assert SECRET not in answer.out + answer.err
