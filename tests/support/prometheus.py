"""A real Prometheus on loopback that scrapes a text which the test hands out."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
from typing_extensions import override

from collector.clock import stopwatch
from collector.telemetry.metrics import CONTENT_TYPE
from tests.support.debian import require

READY_S_MAX = 60
CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: tieout
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """The running server, asked over its HTTP API."""

    def __init__(self, port: int) -> None:
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)

    def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 -- JSON
        answer = self._client.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return found

    def wait_for_samples(self, most: int) -> None:
        elapsed_s = stopwatch()
        while elapsed_s() < READY_S_MAX:
            try:
                found = self.query("count_over_time(up[5m]) and up == 1")
            except (httpx.TransportError, ValueError):
                found = []
            if found and float(found[0]["value"][1]) >= most:
                return
            time.sleep(0.2)
        raise TimeoutError(f"Prometheus had not scraped {most} times after {READY_S_MAX} s")

    def close(self) -> None:
        self._client.close()


@contextmanager
def scraping(text: str, folder: Path) -> Iterator[Prometheus]:
    """Start a Prometheus that scrapes `text` every second; give it when it has three samples."""
    program = require("prometheus", binary="prometheus")
    port = free_port()
    with _serving(text) as target:
        (folder / "prometheus.yml").write_text(CONFIGURATION.format(target=target))
        process = subprocess.Popen(  # noqa: S603 -- Debian's own
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error",
            ]
        )
        server = Prometheus(port)
        try:
            server.wait_for_samples(3)
            yield server
        finally:
            server.close()
            process.terminate()
            process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _serving(text: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
