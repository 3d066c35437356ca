"""A look before reading: records beside the events they would become, and why one would be kept out."""

import itertools
from datetime import timedelta
from typing import Any

import msgspec
from rich.table import Table

from api.cli.root import out, print_json
from api.wiring import open_source
from collector import clock
from collector.connector import Record
from collector.model.event import Event
from collector.model.money import from_minor
from collector.model.reference import ROLE_NAMES
from collector.pipeline.ahead import Source
from collector.pipeline.values import FUTURE_DAYS_MAX, NotMapped
from collector.settings.load import Configuration


def preview(
    configuration: Configuration, sources: tuple[str, ...], limit: int, *, as_json: bool
) -> None:
    """Show the first records of each stream and what they would become; touches no store."""
    found = [
        _stream(open_source(configuration, source, stream), limit)
        for source, stream in configuration.streams()
        if not sources or source in sources
    ]
    if as_json:
        print_json({"streams": found})
        return
    for stream in found:
        out.rule(f"{stream['source']}/{stream['stream']}", align="left")
        if not stream["records"]:
            out.print("No records: does `read.path` name existing files?")
        for record in stream["records"]:
            _show(record)


def _stream(source: Source, limit: int) -> dict[str, Any]:
    records = itertools.islice(
        (
            record
            for part in source.reader.parts({})
            for chunk in source.reader.read(part, None)
            for record in chunk.records
        ),
        limit,
    )
    return {
        "source": source.source,
        "stream": source.stream,
        "records": [_record(source, record) for record in records],
    }


def _record(source: Source, record: Record) -> dict[str, Any]:
    out_: dict[str, Any] = {
        "position": record.position,
        "body": record.body if record.body is not None else record.raw.decode(errors="replace"),
        "events": [],
        "quarantine": None,
    }
    try:
        events = source.mapping.apply(record, clock.now() + timedelta(days=FUTURE_DAYS_MAX))
    except NotMapped as reason:
        out_["quarantine"] = {"reason": reason.fault.reason, "sentence": reason.fault.sentence}
    else:
        out_["events"] = [_event(event) for event in events]
    return out_


def _event(event: Event) -> dict[str, Any]:
    details = msgspec.json.decode(event.body)
    return {
        "id": event.event_id.hex(),
        "type": event.type,
        "occurred_at": event.occurred_at,
        "document": " ".join(filter(None, event.document)),
        "amount_minor": event.amount_minor,
        "currency": event.currency,
        "entity": event.entity,
        "references": [
            {"role": ROLE_NAMES[role], "kind": kind, "scope": scope, "value": value}
            for role, (kind, scope, value) in details.get("references", [])
        ],
        "details": {k: v for k, v in details.items() if k not in ("document", "references")},
        "personal": event.personal,
    }


def _show(record: dict[str, Any]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2))
    body = record["body"]
    lines = (
        [f"{k}: {v}" for k, v in body.items()] if isinstance(body, dict) else str(body).splitlines()
    )
    made = []
    for event in record["events"]:
        made += [f"→ {event['type']}", f"  {event['document']}", f"  {event['occurred_at']}"]
        if event["amount_minor"] is not None:
            made.append(f"  {from_minor(event['amount_minor'], event['currency'])}")
        made += [f"  {r['kind']} = {r['value']}" for r in event["references"]]
    if record["quarantine"] is not None:
        made += [f"✗ {record['quarantine']['reason']}", record["quarantine"]["sentence"]]
    elif not record["events"]:
        made.append("(ignored by the mapping)")
    for left, right in itertools.zip_longest(lines, made, fillvalue=""):
        table.add_row(left[:70], right)
    out.print(f"record {record['position']}", style="bold")
    out.print(table)
