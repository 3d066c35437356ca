"""A real Alertmanager on loopback that notifies a receiver of the test's of what fires and what is over."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from collector.clock import stopwatch
from tests.support.debian import require
from tests.support.hooks import Receiver
from tests.support.prometheus import free_port

READY_S_MAX = 30
CONFIGURATION = """
global: {{resolve_timeout: 2s}}
route: {{receiver: desk, group_by: [alertname, control, entity], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: desk
    webhook_configs: [{{url: "{url}", send_resolved: true}}]
"""


class Alertmanager:
    """The running server, asked over its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, trust_env=False)

    def firing(self) -> list[dict[str, Any]]:
        """What fires now, by its own word."""
        found: list[dict[str, Any]] = self._client.get("/api/v2/alerts?active=true").json()
        return found

    def wait_until_ready(self) -> None:
        elapsed_s = stopwatch()
        while elapsed_s() < READY_S_MAX:
            try:
                if self._client.get("/-/ready").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise TimeoutError(f"Alertmanager was not ready after {READY_S_MAX} s")

    def close(self) -> None:
        self._client.close()


@contextmanager
def notifying(receiver: Receiver, folder: Path, port: int | None = None) -> Iterator[Alertmanager]:
    """Start an Alertmanager; what it remembers on disk of a server before it in the folder stays."""
    program = require("prometheus-alertmanager", binary="prometheus-alertmanager")
    port = port or free_port()
    (folder / "alertmanager.yml").write_text(CONFIGURATION.format(url=receiver.url))
    process = subprocess.Popen(  # noqa: S603 -- Debian's own
        [
            program,
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=error",
        ]
    )
    server = Alertmanager(f"http://127.0.0.1:{port}")
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.close()
        process.terminate()
        process.wait(timeout=30)
