"""The two logs of BPI Challenge 2020, read by the standard library alone: truth from outside."""

import gzip
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "bpic2020"
LOGS = {"domestic": "DomesticDeclarations.xes.gz", "requests": "RequestForPayment.xes.gz"}
NUMBER = {"domestic": "(case)_id", "requests": "(case)_Rfp_id"}


class Step(NamedTuple):
    """One step of a case: when, what, and its attributes."""

    at: datetime
    what: str
    attributes: dict[str, str]


Cases = dict[str, list[Step]]


def folder() -> Path:
    """Return the folder of the logs; skips the test where they are not there."""
    if not FOLDER.exists():
        pytest.skip(
            "the BPI Challenge 2020 logs are not beside this checkout (../shared/data/bpic2020)"
        )
    return FOLDER


def traces(log: str) -> Iterator[tuple[dict[str, str], list[dict[str, str]]]]:
    """Yield (trace attributes, events' attributes) as the log has them."""
    with gzip.open(folder() / LOGS[log]) as file:
        for _, element in ET.iterparse(file):  # noqa: S314 -- a published log
            if element.tag.endswith("}trace"):
                own = {a.get("key", ""): a.get("value", "") for a in element if a.get("key")}
                events = [
                    {a.get("key", ""): a.get("value", "") for a in event}
                    for event in element
                    if event.tag.endswith("}event")
                ]
                yield own, events
                element.clear()


def cases(log: str, until: datetime | None = None) -> Cases:
    """Read a log's cases by number; only steps up to an instant, and cases that have any."""
    out: Cases = {}
    for _, events in traces(log):
        steps = [
            Step(datetime.fromisoformat(e["time:timestamp"]), e["concept:name"], e) for e in events
        ]
        seen = [s for s in steps if until is None or s.at <= until]
        if seen:
            out[events[0][NUMBER[log]]] = sorted(seen, key=lambda s: s.at)
    return out


def paid_at(steps: list[Step]) -> datetime | None:
    """Return when a case was paid first."""
    return next((s.at for s in steps if s.what == "Payment Handled"), None)


def approved_at(steps: list[Step]) -> datetime | None:
    """Return the effective final approval: the last one with nothing after it that undoes it."""
    found = None
    for s in steps:
        if "FINAL_APPROVED" in s.what:
            found = s.at
        elif any(word in s.what for word in ("REJECTED", "SUBMITTED", "SAVED")):
            found = None
    return found


def never_paid(log: Cases) -> set[str]:
    return {number for number, steps in log.items() if paid_at(steps) is None}


def approved_not_paid(log: Cases) -> set[str]:
    return {n for n in never_paid(log) if approved_at(log[n]) is not None}


def paid_late(log: Cases, days: int) -> set[str]:
    """Return what was paid more than so many days after the last final approval."""
    out = set()
    for number, steps in log.items():
        paid = paid_at(steps)
        approvals = [s.at for s in steps if "FINAL_APPROVED" in s.what]
        if paid and approvals and paid - max(approvals) > timedelta(days=days):
            out.add(number)
    return out


def paid_without_effective_approval(log: Cases) -> set[str]:
    """Return what was paid while no final approval was effective (the stricter test)."""
    out = set()
    for number, steps in log.items():
        paid = paid_at(steps)
        if paid is not None and approved_at([s for s in steps if s.at <= paid]) is None:
            out.add(number)
    return out


def paid_without_any_approval(log: Cases) -> set[str]:
    return {
        n
        for n, steps in log.items()
        if paid_at(steps) and not any("FINAL_APPROVED" in s.what for s in steps)
    }
