"""Finished transactions as OpenTelemetry traces: a pure function from a case to spans.

A trace store cannot hold a transaction that takes three weeks, so one complete trace is told in one
burst when it is over, with the real times. Its ids derive from the anchor document's content id and a
revision, so that anyone can compute them. Names of spans are those of the flow and its steps; numbers
and amounts are attributes. Persons are nowhere.

    <flow title>                      the transaction; status ERROR where a step failed or is missing
    ├── <step title>                  system time: from the completion of the step before to its own
    ├── Waiting for <role>            where a person acts, the time until then ...
    ├── <step title>                  ... and the step itself, an instant
    └── <step title>                  MISSING: from when it was possible until it was due

Stores find a span with an old time by id, not by search. Therefore a small span of the present time
(`Told: <flow title>`) carries the business keys, and links to the trace.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from collector.model.reference import digest

TIMEOUT_S = 10.0
"""How long one export may take, its retries included; then it is tried again at the next run."""

_SCOPE = InstrumentationScope("tieout")
_OURS = Resource({"service.name": "tieout"})
_NOT_SEEN = frozenset({"PENDING", "MISSING"})


class Step(msgspec.Struct, frozen=True):
    """A step of a case, as `read.steps` computes it."""

    ordinal: int
    step: str
    title: str
    system: str
    waits_for: str | None
    status: str
    basis_at: datetime | None
    due_at: datetime | None
    done_at: datetime | None
    failed_at: datetime | None
    failed_type: str | None


class Case(msgspec.Struct, frozen=True):
    """A transaction as its anchor document's flow sees it. Ids are hexadecimal with hyphens.

    `number` is the anchor document's own; `amount_minor` in minor units of `currency`. `state` is
    `completed`, an end state of the flow, or `open` where every due time has passed. `begun_at` is the
    anchor document's first event.
    """

    flow: str
    document: str
    transaction: str
    number: str
    entity: str | None
    state: str
    begun_at: datetime
    ended_at: datetime | None
    amount_minor: int | None
    currency: str | None
    steps: list[Step]


class Sent(NamedTuple):
    """What is to be told of a case: its revision, the first trace's id if there was one, a content hash."""

    flow: str
    document: str
    revision: int
    first: str | None
    content: str


class _Drawn(NamedTuple):
    """A child span before it has ids."""

    key: str
    name: str
    system: str
    start: datetime
    end: datetime
    attributes: dict[str, AttributeValue]
    error: str | None


def trace_id(flow: str, document: str, revision: int) -> str:
    """Return the 32 hexadecimal digits of the trace that tells a case's revision."""
    return digest("trace", flow, document, str(revision)).hex()


def spans(case: Case, sent: Sent, title: str, now: datetime) -> list[ReadableSpan]:
    """Draw a case: its trace (root first) and the span of the present time that leads to it."""
    trace = trace_id(case.flow, case.document, sent.revision)
    root = _context(trace, "root")
    end = _end(case)
    drawn = [d for step in case.steps for d in _draw(case, step, end)]
    wrong = [d for d in drawn if d.error is not None]
    about = _attributes(case, sent)
    corrected = _links([sent.first] if sent.first else [], "corrects")
    whole = _span(
        title,
        root,
        (min([case.begun_at, *(d.start for d in drawn)]), max([end, *(d.end for d in drawn)])),
        about,
        error=f"{len(wrong)} of {len(case.steps)} steps failed or are missing" if wrong else None,
        links=corrected,
    )
    children = [
        _span(
            d.name,
            _context(trace, d.key),
            (d.start, d.end),
            {**d.attributes, "tieout.flow": case.flow},
            error=d.error,
            parent=root,
            system=d.system,
        )
        for d in drawn
    ]
    search = digest("search", trace).hex()
    found = _span(
        f"Told: {title}",
        _context(search, "root"),
        (now, now),
        {**about, "tieout.trace_id": trace},
        links=[*_links([trace], "tells"), *corrected],
    )
    return [whole, *children, found]


def exporter(endpoint: str, headers: dict[str, str]) -> SpanExporter:
    """Make an exporter to an OTLP/HTTP receiver: `http://127.0.0.1:4318`, headers already resolved."""
    return OTLPSpanExporter(
        endpoint=f"{endpoint.rstrip('/')}/v1/traces", headers=headers, timeout=TIMEOUT_S
    )


def _end(case: Case) -> datetime:
    """Return the last instant that the case's facts, or a passed due time, know of."""
    times = [case.begun_at]
    times += [t for s in case.steps for t in (s.done_at, s.failed_at) if t is not None]
    if case.ended_at is not None:
        times.append(case.ended_at)
    if case.state == "open":
        times += [s.due_at for s in case.steps if s.done_at is None and s.due_at is not None]
    return max(times)


def _draw(case: Case, step: Step, end: datetime) -> list[_Drawn]:
    """Draw one step: its span, after one for the time that it waited for a person."""
    attributes = _step_attributes(case, step)
    if step.done_at is not None:
        return _done(step, step.done_at, attributes)
    if step.failed_at is not None:
        start = min(step.basis_at or step.failed_at, step.failed_at)
        error = f"failed: {step.failed_type}"
        return [_child(step, start, step.failed_at, attributes, error)]
    if attributes["tieout.step.status"] == "MISSING":
        start = step.basis_at or end
        until = max(start, step.due_at or end)
        return [_child(step, start, until, attributes, "expected, and not seen")]
    return [_child(step, end, end, attributes)]


def _done(step: Step, done_at: datetime, attributes: dict[str, AttributeValue]) -> list[_Drawn]:
    start = min(step.basis_at or done_at, done_at)
    if step.waits_for is None or start == done_at:
        return [_child(step, start, done_at, attributes)]
    waited = _Drawn(
        f"waiting {step.step}",
        f"Waiting for {step.waits_for}",
        step.system,
        start,
        done_at,
        {"tieout.step": step.step, "tieout.time": "waiting", "tieout.waits_for": step.waits_for},
        None,
    )
    return [waited, _child(step, done_at, done_at, attributes)]


def _child(
    step: Step,
    start: datetime,
    end: datetime,
    attributes: dict[str, AttributeValue],
    error: str | None = None,
) -> _Drawn:
    return _Drawn(f"step {step.step}", step.title, step.system, start, end, attributes, error)


def _step_attributes(case: Case, step: Step) -> dict[str, AttributeValue]:
    """Describe a step. Once the transaction is over, a step that was never seen is missing."""
    over = case.state != "open" and step.status in _NOT_SEEN
    attributes: dict[str, AttributeValue] = {
        "tieout.step": step.step,
        "tieout.step.status": "MISSING" if over else step.status,
        "tieout.time": "system",
    }
    if step.due_at is not None:
        attributes["tieout.step.due_at"] = step.due_at.isoformat()
    if step.failed_type is not None:
        attributes["tieout.step.failed_type"] = step.failed_type
    return attributes


def _attributes(case: Case, sent: Sent) -> dict[str, AttributeValue]:
    """Describe a transaction by its business keys."""
    known: dict[str, AttributeValue | None] = {
        "tieout.flow": case.flow,
        "tieout.key": case.number,
        "tieout.document": case.document,
        "tieout.transaction": case.transaction,
        "tieout.state": case.state,
        "tieout.entity": case.entity,
        "tieout.amount_minor": case.amount_minor,
        "tieout.currency": case.currency,
        "tieout.revision": sent.revision,
        "tieout.correction": sent.revision > 0,
    }
    return {name: value for name, value in known.items() if value is not None}


def _context(trace: str, key: str) -> SpanContext:
    span = int.from_bytes(digest("span", trace, key)[:8], "big")
    return SpanContext(int(trace, 16), span, is_remote=False, trace_flags=TraceFlags(1))


def _links(traces: Sequence[str], relation: str) -> list[Link]:
    """Link to the root spans of traces."""
    return [Link(_context(t, "root"), {"tieout.relation": relation}) for t in traces]


def _span(  # noqa: PLR0913 -- what a span consists of
    name: str,
    context: SpanContext,
    times: tuple[datetime, datetime],
    attributes: dict[str, AttributeValue],
    *,
    error: str | None = None,
    parent: SpanContext | None = None,
    links: Sequence[Link] = (),
    system: str | None = None,
) -> ReadableSpan:
    return ReadableSpan(
        name,
        context,
        parent,
        _OURS if system is None else Resource({"service.name": system}),
        attributes,
        links=links,
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.UNSET) if error is None else Status(StatusCode.ERROR, error),
        start_time=_nanoseconds(times[0]),
        end_time=_nanoseconds(times[1]),
        instrumentation_scope=_SCOPE,
    )


def _nanoseconds(instant: datetime) -> int:
    """Return Unix time in nanoseconds, exact to the microsecond (a float of it is not)."""
    whole = instant.replace(microsecond=0)
    return int(whole.timestamp()) * 1_000_000_000 + instant.microsecond * 1_000
