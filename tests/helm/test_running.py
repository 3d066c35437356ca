"""What the pods run works: the rendered commands, with the rendered configuration and environment."""

import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest

from collector.store.embedded import Server
from tests.helm.rendering import documented, manifests

PATIENCE_S = 60
ATTEMPTS_MAX = 200
KEY = "a-key-of-16-characters-or-more"
CASE = "ordinary"
SHARED_ROLE = re.compile(r"CREATE ROLE tieout_(owner|app|reader) NOLOGIN")
"""The server of the tests has these."""


@pytest.fixture
async def logins(server: Server) -> AsyncIterator[dict[str, str]]:
    """Make logins and database as docs/kubernetes.md says, each under a name of the test's own."""
    mark = uuid4().hex
    own = {name: f"{name}_{mark}" for name in ("tieout_migration", "tieout_running")}
    sql = re.sub(r"DATABASE tieout\b", f"DATABASE test_{mark}", documented("sql"))
    for name, ours in own.items():
        sql = re.sub(rf"\b{name}\b", ours, sql)
    statements = [s for s in sql.split(";\n") if s and not SHARED_ROLE.match(s)]
    assert len(statements) == 3
    admin = await asyncpg.connect(server.dsn("postgres", "postgres"))
    try:
        for statement in statements:
            await admin.execute(statement)
        place = urlsplit(server.dsn("postgres", f"test_{mark}"))
        host = place.netloc.rpartition("@")[2]
        yield {
            key: place._replace(netloc=f"{own[name]}:{password}@{host}").geturl()
            for key, name, password in (
                ("owner", "tieout_migration", "choose-one"),
                ("app", "tieout_running", "choose-another"),
            )
        }
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS test_{mark} WITH (FORCE)")
        for ours in own.values():
            await admin.execute(f"DROP ROLE IF EXISTS {ours}")
        await admin.close()


def container(name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifests(CASE)[name]["spec"]["template"]["spec"]["containers"][0]
    return found


@contextmanager
def pod(name: str, folder: Path, dsn: str) -> Iterator[subprocess.Popen[str]]:
    """Start a pod's command as its manifest says, on any free port of loopback."""
    config = folder / "tieout.yaml"
    config.write_text(manifests(CASE)["common-configmap.yaml"]["data"]["tieout.yaml"])
    here = {
        "--config=/etc/tieout/tieout.yaml": f"--config={config}",
        "--host=0.0.0.0": "--host=127.0.0.1",
        "--port=8484": "--port=0",
    }
    given = container(name)
    values = {"TIEOUT_DSN": dsn, "TIEOUT_API_KEY": KEY}
    environment = {variable["name"]: values[variable["name"]] for variable in given["env"]}
    with subprocess.Popen(  # noqa: S603 -- our own program
        [Path(sys.executable).with_name("tieout"), *(here.get(arg, arg) for arg in given["args"])],
        env={"PATH": os.defpath, "HOME": str(folder / "nowhere"), **environment},
        cwd="/",
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_the_migration_then_the_collector_then_the_api(
    logins: dict[str, str], tmp_path: Path
) -> None:
    with pod("migration-job.yaml", tmp_path, logins["owner"]) as job:
        assert job.wait(PATIENCE_S) == 0, job.stderr
    for name in ("collector-deployment.yaml", "api-deployment.yaml"):
        with pod(name, tmp_path, logins["app"]) as process:
            assert process.stderr is not None
            said = process.stderr.readline()
            matched = re.fullmatch(r"Tieout listens on (\S+)\n", said)
            assert matched is not None, said + process.stderr.read()
            with httpx.Client(base_url=matched[1], headers={"X-API-Key": KEY}) as client:
                probe(client, name)
                assert client.get("/metrics").status_code == 200
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"tieout.yaml"}  # nothing else was written


def probe(client: httpx.Client, name: str) -> None:
    """Ask as the kubelet does, again and again until it is well."""
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = container(name)[kind]["httpGet"]["path"]
        answer = client.get(path)
        for _ in range(ATTEMPTS_MAX):
            if answer.status_code == 200:
                break
            time.sleep(0.1)
            answer = client.get(path)
        assert answer.status_code == 200, (path, answer.text)
