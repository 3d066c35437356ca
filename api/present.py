"""How things are shown as JSON, by the API and by `--json` alike.

A document's number, what people call it, stands under `subject`; its content id, which always finds it
again, under `document`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from collector.model.control import Exception_, Run
from collector.model.money import from_minor
from collector.model.story import Story
from collector.pipeline.completeness import Coverage
from collector.pipeline.defects import Defect
from collector.pipeline.ledger import Ledger, Window
from collector.settings.definitions import Control, Flow
from collector.store.totals import Totals
from control_checks.contract import Check

Document = dict[str, Any]

_SHOWN = (
    "entity",
    "reason",
    "sentence",
    "expected",
    "actual",
    "difference_minor",
    "amount_minor",
    "currency",
)


def story_document(story: Story) -> Document:
    """Show what a key leads to: transactions, or candidates."""
    shown: Document = msgspec.to_builtins(story)
    return shown


def exception_document(exception: Exception_) -> Document:
    """Show one exception."""
    return {
        "subject": exception.number,
        "document": UUID(exception.subject).hex,
        **{name: getattr(exception, name) for name in _SHOWN},
    }


def run_summary(run: Run) -> Document:
    """Show a run without its exceptions. Where nothing was evaluated `population` is null, not zero."""
    return {
        "control": run.control,
        "run": run.run,
        "verdict": run.verdict,
        "complete": run.complete,
        "as_of": run.as_of,
        "as_known": run.as_known,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "trigger": run.trigger,
        "actor": run.actor,
        "parameters": run.parameters,
        "population": run.population or None,
        "certificate": run.certificate,
        "gaps": run.gaps,
        "notes": run.notes,
        "error": run.error,
    }


def run_document(run: Run) -> Document:
    """Show a run with its exceptions."""
    return {**run_summary(run), "exceptions": [exception_document(e) for e in run.exceptions]}


def open_exception_document(row: Mapping[str, Any]) -> Document:
    """Show an exception with the run that found it, as the store lists them."""
    return {
        "control": row["control"],
        "run": row["run"],
        "as_of": row["as_of"],
        "subject": row["number"],
        "document": row["subject"].hex,
        **{name: row[name] for name in _SHOWN},
    }


def defect_document(defect: Defect) -> Document:
    """Show a group of quarantined records. `share_ppm`: of the stream's records since the first, per million."""
    group = defect.group
    return {
        "group": group.id,
        "source": group.source,
        "stream": group.stream,
        "reason": group.reason,
        "field": group.field,
        "shape": group.shape,
        "before": defect.before,
        "records": group.records,
        "share_ppm": defect.share_ppm,
        "first_at": group.first_at,
        "last_at": group.last_at,
        "samples": sorted({group.first_id, group.last_id}),
        "sentence": group.sentence,
        "said": defect.said,
        "means": defect.means,
        "who": defect.who,
        "mend": defect.mend,
    }


def control_document(control_id: str, control: Control, check: Check, last: Run | None) -> Document:
    """Show a configured control with its last run."""
    return {
        "control": control_id,
        "check": control.check,
        "title": check.title,
        "objective": check.objective,
        "assertion": check.assertion,
        "flows": control.flows,
        "parameters": control.parameters,
        "completeness": control.completeness,
        "schedule": control.schedule,
        "severity": control.severity,
        "owner": control.owner,
        "last_run": None if last is None else run_summary(last),
    }


def stream_document(stream: tuple[str, str], covered: Coverage) -> Document:
    """Show how completely one stream is known. `unread` is null where nobody knows how much."""
    held = covered.totals
    covers = (covered.covers_from, covered.watermark)
    return {
        "source": stream[0],
        "stream": stream[1],
        "grade": covered.grade,
        "covers": None if None in covers else list(covers),
        "watermark": covered.watermark,
        "declared": covered.declared_records,
        "declared_by": covered.declared_by or None,
        "stated": _stated(held),
        "read": held.read if held else 0,
        "accepted": held.accepted if held else 0,
        "duplicate": held.duplicate if held else 0,
        "ignored": held.ignored if held else 0,
        "quarantined": held.quarantined if held else 0,
        "waived": held.waived if held else 0,
        "events": held.events if held else 0,
        "unread": _unread(held),
        "gaps": msgspec.to_builtins(covered.gaps),
        "amounts": held.amounts if held else {},
        "hash_total": held.hash_total if held else "0",
        "last_read": held.last_read if held else None,
    }


def _stated(held: Totals | None) -> int | None:
    """Return how many records the source itself states; null unless it states each part's."""
    if held is None or not held.parts or held.trailers.parts != held.parts:
        return None
    return held.trailers.records


def _unread(held: Totals | None) -> int | None:
    """Add up what is known to be unread; of a stream that was never read nobody knows."""
    if held is None or held.parts == 0:
        return None
    sizes = [broken.unread for broken in held.broken]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def coverage_document(covered: Mapping[tuple[str, str], Coverage], as_known: datetime) -> Document:
    """Show how completely each stream is known, as known at a time."""
    items = [stream_document(stream, of) for stream, of in sorted(covered.items())]
    return {"as_known": as_known, "items": items}


def ledger_document(ledgers: Iterable[Ledger], window: Window, as_known: datetime) -> Document:
    """Show the coverage ledgers of streams."""
    return {
        "from": window.start,
        "to": window.end,
        "entity": window.entity,
        "as_known": as_known,
        "streams": [ledger.document() for ledger in ledgers],
    }


def flow_document(
    flow: Flow, counts: Sequence[Mapping[str, Any]], as_of: datetime, as_known: datetime
) -> Document:
    """Show a flow with the number and the amounts (minor units by currency) of each step's statuses."""
    return {
        "flow": flow.flow,
        "title": flow.title,
        "anchor": flow.anchor,
        "as_of": as_of,
        "as_known": as_known,
        "steps": list(_steps(flow, counts)),
    }


def _steps(flow: Flow, counts: Sequence[Mapping[str, Any]]) -> Iterable[Document]:
    counted = {step["name"]: step["statuses"] for step in counts}
    for step in flow.steps:
        yield {
            "name": step.name,
            "title": step.title or step.name,
            "system": step.system,
            "due": step.due,
            "statuses": counted.get(step.name, {}),
        }


def bridge_item(item: Mapping[str, Any]) -> Document:
    """Show an item of a cell of a bridge."""
    return {
        **{k: v for k, v in item.items() if k not in ("document_id", "hop")},
        "document": item["document_id"].hex,
    }


def titled(cell: str, row: Mapping[str, Any]) -> str:
    """Name a cell of a bridge for people: `exceptions: late_payments`, by the step for `from` and `to`."""
    kind, _, detail = cell.partition(":")
    word: str = row[kind] if kind in ("from", "to") else kind.replace("_", " ")
    return f"{word}: {detail}" if detail else word


def decimal_of(amount_minor: int, currency: str) -> str:
    """Write an amount as a plain decimal number with the currency's decimals: `-1250.00`."""
    return from_minor(amount_minor, currency).split(" ")[1].replace(",", "")
