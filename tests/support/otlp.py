"""A real OTLP/HTTP receiver on loopback: it decodes what arrives, or refuses it."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from typing_extensions import override


class Receiver:
    """What arrived: requests' paths and headers, and (service, span) in order."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.answer = 200
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.spans: list[tuple[str, Span]] = []
        self.metrics: list[Metric] = []

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.requests.append((path, headers))
        if self.answer != 200:
            return self.answer, b""
        if path == "/v1/metrics":
            for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics += [m for scope in measured.scope_metrics for m in scope.metrics]
            return 200, ExportMetricsServiceResponse().SerializeToString()
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(named["service.name"], span) for span in scope.spans]
        return 200, ExportTraceServiceResponse().SerializeToString()


@contextmanager
def receiving() -> Iterator[Receiver]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = False
    receiver = Receiver(server.server_address[1])
    server.receiver = receiver  # type: ignore[attr-defined]  # how the handler finds it
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]  # set above
        status, answer = receiver.take(self.path, dict(self.headers.items()), body)
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    @override
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""
