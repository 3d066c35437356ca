"""Golden pairs: a payload in the vendor's shape, and beside it the records and events that it must become.

To write an expectation anew after a deliberate change: `TIEOUT_GOLDEN=write pytest tests/connectors/test_golden.py`,
and read the difference.
"""

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

import connectors
from collector.connector import Body, Record
from collector.pipeline.mapping import CompiledMapping
from collector.pipeline.values import NotMapped
from collector.settings.mapping import Mapping
from connectors.kit import odata
from connectors.sap_cloud_integration import wire

FOLDER = Path(connectors.__file__).parent
LATEST = datetime(2030, 1, 1, tzinfo=UTC)


def sap_cloud_integration(folder: Path) -> list[Body]:
    page = odata.decode_page((folder / "page.json").read_bytes())
    assert page.count == str(len(page.results))
    return [wire.body_of(row) for row in page.results]


BODIES = {"sap_cloud_integration": sap_cloud_integration}


def test_every_golden_folder_is_tested() -> None:
    assert {path.parent.name for path in FOLDER.glob("*/golden")} == BODIES.keys()


@pytest.mark.parametrize("name", sorted(BODIES))
def test_the_payload_becomes_the_expected_records_and_events(name: str) -> None:
    folder = FOLDER / name / "golden"
    mapping = Mapping.model_validate(yaml.safe_load((folder / "mapping.yaml").read_text()))
    compiled = CompiledMapping(mapping, f"golden/{name}", date(2000, 1, 1))
    made = [become(compiled, Record(n, b)) for n, b in enumerate(BODIES[name](folder), 1)]
    path = folder / "expected.json"
    if os.environ.get("TIEOUT_GOLDEN") == "write":  # noqa: TID251 -- asked for by hand
        path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert made == json.loads(path.read_text(encoding="utf-8"))


def become(mapping: CompiledMapping, record: Record) -> dict[str, Any]:
    """A record and its events, as JSON says them."""
    out: dict[str, Any] = {"record": msgspec.to_builtins(record.body)}
    try:
        events = mapping.apply(record, LATEST)
    except NotMapped as reason:
        return {**out, "quarantined": reason.fault.reason, "sentence": reason.fault.sentence}
    out["events"] = [
        {
            "id": event.event_id.hex(),
            "type": event.type,
            "occurred_at": event.occurred_at.isoformat(),
            "month": event.month.isoformat(),
            "body": msgspec.json.decode(event.body),
        }
        for event in events
    ]
    return out
