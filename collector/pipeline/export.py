"""Tell finished transactions to an OTLP receiver: each once, and again where it changed since."""

import asyncio
import logging
from collections.abc import Sequence

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from collector.clock import Clock
from collector.settings.load import Configuration, resolve
from collector.store import observed, totals
from collector.store.ingest import Connection
from collector.store.session import Store
from collector.telemetry.traces import Case, Sent, exporter, spans, trace_id

EXPORT_MAX = 1_000
"""Transactions told in one run; the rest waits for the next."""
BURST = 50
"""Transactions in one request: about 400 spans, far under the receivers' usual 4 MB."""

_log = logging.getLogger(__name__)


def receiver(configuration: Configuration) -> tuple[str | None, dict[str, str]]:
    """Return the OTLP receiver's address (None: there is none) and its headers. Never print these.

    Raises:
        Misconfigured: a header's secret cannot be resolved.
    """
    telemetry = configuration.settings.telemetry
    headers = {k: resolve(v, configuration.folder) for k, v in telemetry.headers.items()}
    return telemetry.otlp_endpoint, headers


async def export_finished(
    store: Store, configuration: Configuration, clock: Clock, limit: int = EXPORT_MAX
) -> int:
    """Send the traces of up to `limit` finished transactions; return how many arrived.

    Nothing is noted as sent before the receiver said so. Where it does not answer, what is left is
    tried again at the next run. While another process exports, nothing is done.

    Raises:
        NotConnected: the store cannot be reached.
        Misconfigured: a header's secret cannot be resolved.
    """
    endpoint, headers = receiver(configuration)
    if endpoint is None:
        return 0
    async with store.connect() as conn:
        if not await observed.lock_export(conn):
            return 0
        sender = exporter(endpoint, headers)
        try:
            return await _export(conn, sender, configuration, clock, limit)
        finally:
            await asyncio.to_thread(sender.shutdown)


async def _export(
    conn: Connection, sender: SpanExporter, configuration: Configuration, clock: Clock, limit: int
) -> int:
    told, now = 0, clock()
    as_known = await totals.last_recorded(conn, now)
    for flow in configuration.flows:
        if told == limit:
            break
        cases = await observed.finished(conn, flow.flow, now, as_known, limit - told)
        for start in range(0, len(cases), BURST):
            burst = cases[start : start + BURST]
            if not await _send(sender, burst, flow.title, clock):
                left = len(cases) - start
                _log.warning(
                    "The OTLP receiver did not take the traces; %s of %s will be sent again.",
                    left,
                    flow.flow,
                )
                return told
            noted = [(sent, trace_id(sent.flow, sent.document, sent.revision)) for _, sent in burst]
            await observed.note_sent(conn, noted, clock())
            told += len(burst)
    return told


async def _send(
    sender: SpanExporter, burst: Sequence[tuple[Case, Sent]], title: str, clock: Clock
) -> bool:
    now = clock()
    drawn = [span for case, sent in burst for span in spans(case, sent, title, now)]
    return await asyncio.to_thread(sender.export, drawn) is SpanExportResult.SUCCESS
