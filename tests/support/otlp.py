"""A real OTLP/HTTP receiver on loopback: it decodes what arrives, or refuses it."""

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

from tests.support import hooks
from tests.support.hooks import Answer, Post

PROTOBUF = {"Content-Type": "application/x-protobuf"}


class Receiver(hooks.Receiver):
    """What arrived and was answered with 200: metrics, and (service, span) in order."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.answer = 200
        self.spans: list[tuple[str, Span]] = []
        self.metrics: list[Metric] = []

    @override
    def take(self, post: Post) -> Answer:
        self.posts.append(post)
        if self.answer != 200:
            return self.answer, {}, b""
        if post.path == "/v1/metrics":
            for measured in ExportMetricsServiceRequest.FromString(post.body).resource_metrics:
                self.metrics += [m for scope in measured.scope_metrics for m in scope.metrics]
            return 200, PROTOBUF, ExportMetricsServiceResponse().SerializeToString()
        for resource in ExportTraceServiceRequest.FromString(post.body).resource_spans:
            named = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(named["service.name"], span) for span in scope.spans]
        return 200, PROTOBUF, ExportTraceServiceResponse().SerializeToString()
