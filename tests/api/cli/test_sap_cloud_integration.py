"""From a tenant over HTTP into the store, by the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded below
from typing import Any

import pytest

import connectors.sap_cloud_integration
from collector import clock
from connectors.sap_cloud_integration.sandbox import (
    CLIENT_ID,
    CLIENT_SECRET,
    Message,
    Phase,
    Sandbox,
    Tenant,
    Trouble,
)
from tests.api.cli.desk import Desk
from tests.connectors.cpi import DAY, HOUR, MINUTE, ended
from tests.support.campaigns import UNDISTURBED, campaign
from tests.support.postgres import Database

MAPPING = Path(connectors.sap_cloud_integration.__file__).parent / "golden" / "mapping.yaml"
CONFIGURATION = """\
tieout: 1
sources:
  cpi:
    connector: sap_cloud_integration
    system: middleware
    streams:
      messages:
        read:
          base_url: {base_url}
          token_url: {token_url}
          client_id: "${{env:CPI_CLIENT_ID}}"
          client_secret: "${{file:cpi.secret}}"
        mapping: mapping.yaml
"""
MESSAGES_STUCK = """\
flows:
  - flow: messages
    title: Messages
    anchor: message
    steps: [{name: delivered, system: middleware, done_by: [message.delivered]}]
controls:
  messages_stuck: {check: stuck_transaction, flows: [messages]}
"""


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setenv("CPI_CLIENT_ID", CLIENT_ID)
    with Sandbox(Tenant(clock.now)) as started:
        yield started


def configure(folder: Path, sandbox: Sandbox) -> Path:
    text = CONFIGURATION.format(base_url=sandbox.base_url, token_url=sandbox.token_url)
    (folder / "tieout.yaml").write_text(text)
    (folder / "mapping.yaml").write_text(MAPPING.read_text())
    (folder / "cpi.secret").write_text(f"{CLIENT_SECRET}\n")
    return folder / "tieout.yaml"


@pytest.fixture
def cpi(database: Database, tmp_path: Path, sandbox: Sandbox) -> Desk:
    configure(tmp_path, sandbox)
    return Desk(tmp_path).over(database.server.dsn("postgres", database.name))


def synced(desk: Desk, code: int = 0) -> dict[str, Any]:
    (stream,) = desk.shown("sync", "sync", code)["streams"]
    found: dict[str, Any] = stream
    return found


def test_a_tenant_is_read_into_the_store_and_its_word_is_grade_b(
    cpi: Desk, sandbox: Sandbox
) -> None:
    now = clock.now()
    hanging = Message("HANGS", now - HOUR, [Phase(now - HOUR, "PROCESSING")])
    sandbox.tenant.add(
        *(ended(f"M{i}", now - HOUR * (i + 1), application_id=f"R-{i}") for i in range(30)),
        hanging,
    )
    first = synced(cpi)
    assert (first["read"], first["accepted"], first["unread"]) == (31, 31, 0)
    again = synced(cpi)
    assert (again["accepted"], again["quarantined"]) == (0, 0)

    (status,) = cpi.shown("status", "status")["streams"]
    assert (status["grade"], status["gaps"]) == ("B", [])
    assert status["kept_until"] > status["complete_until"]
    assert "29 d 23 h" in cpi("status").out
    as_of = (now - 20 * MINUTE).isoformat()
    (covered,) = cpi.shown(f"coverage --as-of {as_of}", "coverage")["streams"]
    assert (covered["grade"], covered["gaps"], covered["declared_by"]) == ("B", [], None)
    assert "R-7" in cpi("trace R-7").out


def test_a_sweep_reads_in_what_appeared_too_late_and_marks_what_the_tenant_no_longer_has(
    cpi: Desk, sandbox: Sandbox
) -> None:
    now = clock.now()
    messages = [ended(f"M{i}", now - HOUR * (i + 1)) for i in range(20)]
    old = ended("OLD", now - sandbox.tenant.retention + HOUR)
    sandbox.tenant.add(*messages, old)
    assert synced(cpi)["accepted"] == 21
    sandbox.tenant.remove("M3")
    sandbox.tenant.add(ended("LATE", now - 3 * HOUR))
    assert synced(cpi)["accepted"] == 0  # its time has been asked for
    (stream,) = cpi.shown("sweep", "sweep")["streams"]
    figures = {name: stream["sweep"][name] for name in ("listed", "found", "changed", "deleted")}
    assert figures == {"listed": 21, "found": 1, "changed": 0, "deleted": 1}
    assert stream["documents"] == ["message M3"]
    assert "0" in cpi("sweep").out
    certificate = "coverage certificate --from 2026-01-01 --to 2026-01-02"
    document = cpi.shown(certificate, "coverage-certificate", 4)["certificate"]
    assert document["streams"][0]["swept"]["deleted"] == 1


def test_what_the_tenant_has_dropped_by_age_is_not_taken_for_deleted(
    cpi: Desk, sandbox: Sandbox
) -> None:
    now = clock.now()
    sandbox.tenant.add(ended("NEW", now - HOUR), ended("OLD", now - 20 * DAY))
    assert synced(cpi)["accepted"] == 2
    sandbox.tenant.remove("OLD")
    cpi.change("client_id:", "retention_days: 10\n          client_id:")
    (stream,) = cpi.shown("sweep", "sweep")["streams"]
    assert (stream["sweep"]["listed"], stream["sweep"]["deleted"]) == (1, 0)


def test_a_control_takes_the_time_up_to_which_the_tenant_was_read_and_passes(
    cpi: Desk, sandbox: Sandbox
) -> None:
    cpi.change("sources:", f"{MESSAGES_STUCK}sources:")
    sandbox.tenant.add(ended("M", clock.now() - HOUR))
    synced(cpi)
    (status,) = cpi.shown("status", "status")["streams"]
    run = cpi.shown("control run messages_stuck", "control-run")
    assert (run["verdict"], run["as_of"]) == ("PASS", status["complete_until"])
    said = cpi("control run messages_stuck")
    taken = status["complete_until"].removesuffix("Z")
    assert (said.code, f"as of {taken}+00:00: No exceptions" in said.out) == (0, True)
    late = cpi(f"control run messages_stuck --as-of {clock.now().isoformat()}")
    assert (late.code, "complete only up to" in late.out) == (4, True)


def test_the_secret_is_in_nothing_that_is_kept_or_printed(cpi: Desk, sandbox: Sandbox) -> None:
    sandbox.tenant.add(ended("M", clock.now() - HOUR))
    said = [cpi(line) for line in ("sync", "--verbose sync", "status", "dump", "config check")]
    assert [a.code for a in said] == [0] * 5
    for answer in said:
        assert CLIENT_SECRET not in answer.out + answer.err
        assert "sandbox-token" not in answer.out + answer.err


def test_a_message_that_cannot_be_mapped_is_quarantined_once(cpi: Desk, sandbox: Sandbox) -> None:
    at = clock.now() - 5 * MINUTE
    sandbox.tenant.add(ended("M", at, "SUSPENDED"), ended("N", at, "SUSPENDED"))
    assert synced(cpi)["quarantined"] == 2
    cpi.change("          client_id", f'          start: "{at - DAY}"\n          client_id')
    assert synced(cpi)["quarantined"] == 0  # asked for nothing
    cpi.change(str(at - DAY), str(at - 2 * DAY))  # earlier: everything comes again
    again = synced(cpi)
    assert (again["read"], again["quarantined"], again["duplicate"]) == (2, 0, 2)
    listed = cpi.shown("quarantine list --records", "quarantine-list")["records"]
    assert len(listed) == 2


def test_config_check_asks_nobody(cpi: Desk, sandbox: Sandbox) -> None:
    assert cpi("config check").code == 0
    assert sandbox.tenant.requests == 0


def test_a_look_before_reading_shows_messages_and_their_events(cpi: Desk, sandbox: Sandbox) -> None:
    sandbox.tenant.add(*(ended(f"M{i}", clock.now() - HOUR) for i in range(9)))
    (stream,) = cpi.shown("sync --dry-run --limit 3", "sync-dry-run")["streams"]
    assert [r["events"][0]["type"] for r in stream["records"]] == ["message.delivered"] * 3


def test_a_tenant_that_cannot_be_read_is_unread_with_an_instruction(
    cpi: Desk, sandbox: Sandbox
) -> None:
    (cpi.folder / "cpi.secret").write_text("not-the-secret")
    answer = cpi("sync")
    assert answer.code == 4
    assert "does not accept the credentials (HTTP 401): correct or renew them." in " ".join(
        answer.err.split()
    )
    assert "not-the-secret" not in answer.out + answer.err


def test_rows_that_stay_lost_are_unread_with_their_number(cpi: Desk, sandbox: Sandbox) -> None:
    sandbox.tenant.add(*(ended(f"M{i}", clock.now() - HOUR - MINUTE * i) for i in range(9)))
    sandbox.tenant.trouble = lambda: Trouble.ROW_LOST
    assert synced(cpi, 4)["unread"] == 1
    (status,) = cpi.shown("status", "status")["streams"]
    assert "counts 1 more messages than it gives" in status["gaps"][0]
    sandbox.tenant.trouble = lambda: None
    assert synced(cpi)["unread"] == 0
    (status,) = cpi.shown("status", "status")["streams"]
    assert status["gaps"] == []


def test_what_the_tenant_dropped_stays_a_gap_until_the_start_is_moved(
    cpi: Desk, sandbox: Sandbox
) -> None:
    before = (clock.now() - 40 * DAY).isoformat()
    cpi.change("          client_id", f'          start: "{before}"\n          client_id')
    for _ in range(2):
        assert synced(cpi, 4)["unread"] is None
        (status,) = cpi.shown("status", "status")["streams"]
        assert "was not read in time" in status["gaps"][0]
    cpi.change(before, (clock.now() - 29 * DAY).isoformat())
    assert synced(cpi)["unread"] == 0


@pytest.mark.long
def test_killed_at_any_time_the_store_is_the_one_of_an_undisturbed_run(
    base: Path, sandbox: Sandbox
) -> None:
    now = clock.now()
    sandbox.tenant.add(
        *(
            ended(f"M{i:05}", now - HOUR - timedelta(minutes=6 * i), application_id=f"R{i % 999}")
            for i in range(3_000)
        )
    )
    config = configure(base, sandbox)
    undisturbed, disturbed = base / "undisturbed", base / "disturbed"
    began = time.perf_counter()
    assert run(config, undisturbed, "sync", "--json")["streams"][0]["accepted"] == 3_000
    took_s = time.perf_counter() - began
    random = Random(4)  # noqa: S311 -- when to kill
    line = command(config, disturbed, "sync")
    with campaign(
        "`tieout sync` of SAP Cloud Integration, killed at any time", UNDISTURBED
    ) as hits:
        for _ in range(4):
            process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 -- our own program
            time.sleep(random.uniform(took_s / 3, took_s))
            hits["kill -9"] += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert hits["kill -9"]
        run(config, disturbed, "sync", "--json")
        assert dumped(config, disturbed) == dumped(config, undisturbed)


def command(config: Path, data: Path, *words: str) -> list[str]:
    tieout = Path(sys.executable).with_name("tieout")
    return [str(tieout), "--config", str(config), "--data-dir", str(data), *words]


def dumped(config: Path, data: Path) -> bytes:
    done = subprocess.run(  # noqa: S603 -- our own program
        command(config, data, "dump"), capture_output=True, check=True, timeout=120
    )
    return done.stdout


def run(config: Path, data: Path, *words: str) -> Any:  # noqa: ANN401 -- any JSON
    done = subprocess.run(  # noqa: S603 -- our own program
        command(config, data, *words),
        capture_output=True,
        check=False,
        timeout=120,
        env=dict(os.environ),  # noqa: TID251 -- handed on to a process
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)
