"""The demo's configuration is valid, and makes of the files the events that the truth expects."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from lxml import etree

from api.demo import Truth
from collector.connector import Record
from collector.model.event import Event
from collector.model.reference import IDENTITY, Name
from collector.pipeline.mapping import CompiledMapping
from collector.settings.definitions import Flow, Settings
from collector.settings.load import examine
from collector.settings.mapping import Mapping
from connectors.registry import CONNECTORS
from control_checks.registry import CHECKS
from tests.api.demo.outside import T, changes, document, rows, statements, text


def load(path: Path) -> object:
    return yaml.safe_load(path.read_text("utf-8"))


def body(element: etree._Element) -> dict[str, Any] | str | None:
    """An element as a connector gives it: attributes, text and children by name."""
    found: dict[str, Any] = {f"@{name!s}": str(value) for name, value in element.attrib.items()}
    found |= {etree.QName(child).localname: body(child) for child in element}
    if not found:
        return element.text
    return found | ({"#text": element.text} if (element.text or "").strip() else {})


def messages(folder: Path) -> Iterator[dict[str, Any]]:
    """The middleware's logs as its API gives them, as far as the mapping looks."""
    for log in json.loads((folder / "middleware/logs.json").read_text("utf-8")):
        ended = datetime.fromisoformat(log["ended_at"]).timestamp()
        yield {
            "MessageGuid": log["guid"],
            "LogEnd": f"/Date({int(1000 * ended)})/",
            "Status": log["status"],
            "CorrelationId": log["correlation_id"],
            "ApplicationMessageId": log["report_id"],
            "IntegrationFlowName": log["flow"],
        }


def entries(folder: Path, stream: str) -> Iterator[dict[str, Any]]:
    for statement in statements(folder):
        owner = text(statement, "c:Acct/c:Ownr/c:Id/c:OrgId/c:Othr/c:Id")
        if owner.lower() != stream:
            continue
        for entry in statement.iterfind("{*}Ntry"):
            made = body(entry)
            assert isinstance(made, dict)
            whole = made | {"entity": owner, "#number": 1}
            listed = entry.findall("{*}NtryDtls/{*}TxDtls")
            for n, transaction in enumerate(listed, start=1):
                details = made["NtryDtls"] | {"TxDtls": body(transaction)}
                yield whole | {"NtryDtls": details, "#number": n}
            if not listed:
                yield whole


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    return Settings.model_validate(load(folder / "tieout.yaml"))


@pytest.fixture(scope="module")
def events(folder: Path, settings: Settings) -> list[Event]:
    streams: dict[str, list[dict[str, Any]]] = {
        "hr/workers": list(rows(folder / "hr/workers.csv", ",")),
        "expense/reports": changes(folder),
        "erp/documents": list(rows(folder / "erp/bkpf.csv", ";")),
        "erp/interface": list(rows(folder / "erp/interface.csv", ";")),
        "erp/cost_centres": list(rows(folder / "erp/csks.csv", ";")),
        "expense/confirmations": document(folder, "confirmations"),
        "expense/payments": document(folder, "payments"),
        "expense/cost_centres": document(folder, "items"),
        "middleware/messages": list(messages(folder)),
        **{f"bank/{name}": list(entries(folder, name)) for name in ("de10", "jp10", "kw10")},
    }
    found: list[Event] = []
    for name, records in streams.items():
        source, stream = name.split("/")
        path = settings.sources[source].streams[stream].mapping
        assert isinstance(path, str)
        mapping = Mapping.model_validate(load(folder / path))
        entity = settings.sources[source].streams[stream].entity
        compiled = CompiledMapping(mapping, name, date(2000, 1, 1), entity)
        for position, record in enumerate(records, start=1):
            made = compiled.apply(Record(position, record), T)
            assert made, record
            found += made
    return found


def test_the_settings_declare_each_stream_with_its_own_count(
    settings: Settings, truth: Truth
) -> None:
    declared = {
        f"{source_id}/{stream_id}": stream.complete.records
        for source_id, source in settings.sources.items()
        for stream_id, stream in source.streams.items()
        if stream.complete is not None and stream.complete.records is not None
    }
    counts_itself = {"middleware/messages", "bank/de10", "bank/jp10", "bank/kw10"}
    assert declared == {n: k for n, k in truth.records.items() if n not in counts_itself}
    assert set(settings.entities) == {"DE10", "JP10", "KW10"}


def test_the_configuration_loads_without_a_problem(folder: Path, tmp_path: Path) -> None:
    parameters = {name: check.parameters for name, check in CHECKS.items()}
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for name in ("base-url", "token-url", "client-id", "client-secret"):
        (tmp_path / "middleware" / name).write_text("http://127.0.0.1:9", "utf-8")
    _, problems = examine(tmp_path / "tieout.yaml", CONNECTORS, parameters)
    assert problems == []


def flows(folder: Path, settings: Settings) -> list[Flow]:
    return [Flow.model_validate(load(folder / str(path))) for path in settings.flows]


def test_every_control_of_the_truth_is_configured_for_its_flow(
    folder: Path, settings: Settings, truth: Truth
) -> None:
    claims, centres = flows(folder, settings)
    assert set(settings.controls) == set(truth.controls)
    checks = {control.check for control in settings.controls.values()}
    assert checks == CHECKS.keys() - {
        "weak_key"
    }  # it is about correlation, and the company's is sound
    for name, control in settings.controls.items():
        expected = centres.flow if name == "stale_dimension" else claims.flow
        assert control.flows == [expected]
    assert set(truth.steps) < {step.name for step in claims.steps}
    systems = {source.system for source in settings.sources.values()}
    assert {step.system for flow in (claims, centres) for step in flow.steps} <= systems


def test_the_flows_name_only_events_that_the_mappings_make(
    folder: Path, settings: Settings, events: list[Event]
) -> None:
    made = {event.type for event in events}
    for flow in flows(folder, settings):
        assert flow.event_types() <= made


def test_the_mappings_make_the_events_that_the_truth_counts(
    events: list[Event], truth: Truth
) -> None:
    assert dict(sorted(Counter(event.type for event in events).items())) == truth.events
    assert len({event.event_id for event in events}) == len(events)


def test_documents_join_to_the_transactions_that_the_truth_counts(
    events: list[Event], truth: Truth
) -> None:
    parent: dict[Name, Name] = {}

    def root(name: Name) -> Name:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name

    for event in events:
        for role, name in event.references:
            if role == IDENTITY:
                parent[root(name)] = root(event.document)
        root(event.document)
    roots = {root(event.document) for event in events}
    assert len(roots) == truth.transactions["all"]


def test_personal_data_stays_in_the_fields_declared_personal(
    folder: Path, events: list[Event]
) -> None:
    workers = rows(folder / "hr/workers.csv", ",")
    private = {row["Email_Work"] for row in workers}
    private |= {f"{row['Legal_First_Name']} {row['Legal_Last_Name']}" for row in workers}
    private |= {record["facts"]["actingUserId"] for record in changes(folder)}
    apart = {str(v) for event in events for v in (event.personal or {}).values()}
    assert private <= apart
    kept = b"\n".join(event.body for event in events)
    assert not [name for name in private if name.encode() in kept]
