"""A notice as alerts of a Prometheus Alertmanager, API v2.

An alert is its labels: one for the open exceptions of a control and entity, one for a control that could
not conclude, one for a control that did not run. No label holds a transaction, a document or a person.

An Alertmanager keeps alerts in memory and resolves by itself what it is not sent again before `endsAt`, by
default within minutes. So what fires is sent again and again, each time with an end that lies HOLD ahead:
silence, ours or a source's, is not taken for good news. An alert that is over gets the end of its run.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from collector.model.words import counted
from control_checks.notify.notice import Notice

PATH = "/api/v2/alerts"
HOLD = timedelta(days=7)
"""For how long an alert fires on although nobody sends it again: longer than a long weekend's outage."""

Labels = dict[str, str]


class Alert(NamedTuple):
    """One alert: its labels, since when it fires, and what it says."""

    labels: Labels
    since: str
    annotations: dict[str, str]


def payload(notices: Iterable[tuple[Notice, Notice | None]], now: datetime) -> bytes:
    """Make the body that tells what fires after notices, and what of the one before each is over."""
    until: str = msgspec.to_builtins(now + HOLD)
    posted = []
    for notice, before in notices:
        fires = list(firing(notice))
        labels = [alert.labels for alert in fires]
        over = [alert for alert in firing(before) if alert.labels not in labels] if before else []
        posted += [_posted(alert, until) for alert in fires]
        posted += [_posted(alert, notice["timestamp"]) for alert in over]
    return msgspec.json.encode(posted)


def firing(notice: Notice) -> Iterator[Alert]:
    """List the alerts that fire after a notice."""
    data = notice["data"]
    for group in data["groups"]:
        said = group["sentences"] + _more(group["count"], group["sentences"])
        entity = {"entity": group["entity"]} if group["entity"] else {}
        yield _alert(
            data, "TieoutControlExceptions", entity, group["since"], group["summary"], said
        )
    if not data["concluded"]:
        gaps = data["gaps"]
        said = gaps["sentences"] + _more(gaps["count"], gaps["sentences"])
        if data["unevaluable"]:
            said.append(f"{counted(data['unevaluable'], 'item')} could not be judged.")
        yield _alert(
            data, "TieoutControlIncomplete", {}, notice["timestamp"], "could not conclude", said
        )
    if data["verdict"]["after"] == "ERROR":
        said = [data["error"]]
        yield _alert(data, "TieoutControlError", {}, notice["timestamp"], "did not run", said)


def test_payload(now: datetime) -> bytes:
    """Make the body of an alert that says nothing but that it arrived, and is over after a minute."""
    labels = {"alertname": "TieoutTest", "severity": "low"}
    alert = Alert(
        labels, msgspec.to_builtins(now), {"summary": "Tieout reaches this Alertmanager."}
    )
    return msgspec.json.encode([_posted(alert, msgspec.to_builtins(now + timedelta(minutes=1)))])


def _alert(
    data: Notice, name: str, entity: Labels, since: str, summary: str, said: list[str]
) -> Alert:
    labels = {
        "alertname": name,
        "control": data["control"],
        "severity": data["severity"],
        **({"owner": data["owner"]} if data["owner"] else {}),
        **entity,
    }
    about = " ".join([data["control"], *entity.values()])
    annotations = {
        "summary": f"{about}: {summary}",
        "description": "\n".join(said),
        "as_of": data["as_of"],
        "complete": "yes" if data["complete"] else "no",
        "run": str(data["run"]),
        **({"runbook_url": data["runbook"]} if data["runbook"] else {}),
    }
    return Alert(labels, since, annotations)


def _more(count: int, shown: list[str]) -> list[str]:
    return [f"and {count - len(shown):,} more"] if count > len(shown) else []


def _posted(alert: Alert, until: str) -> dict[str, Any]:
    return {
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": alert.since,
        "endsAt": until,
    }
