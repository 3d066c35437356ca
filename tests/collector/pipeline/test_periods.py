"""From when until when a row is valid, as SAP, HR systems and tax tables write it."""

from typing import Any

import pytest
from pydantic import ValidationError

from collector.pipeline.periods import compile_valid
from collector.pipeline.values import NotMapped
from collector.settings.mapping import Mapping, ValidRule

SAP = {"from": "DATAB", "last_day": "DATBI", "format": "%Y%m%d", "timezone": "Europe/Berlin"}
HR = {"from": "start", "until": "end", "timezone": "in value"}
EFFECTIVE = {"from": "EFFDT", "timezone": "UTC"}


def valid(rule: dict[str, str], **record: str) -> dict[str, str]:
    compiled = compile_valid(ValidRule.model_validate(rule), frozenset({"00000000"}))
    assert compiled is not None
    return compiled(record)


@pytest.mark.parametrize(
    ("rule", "record", "expected"),
    [
        # midnight in Berlin is 23:00 UTC in winter and 22:00 in summer
        (SAP, {"DATAB": "20260101", "DATBI": "20260331"}, ("2025-12-31T23:00:00+00:00", "2026-03-31T22:00:00+00:00")),
        (SAP, {"DATAB": "20260101", "DATBI": "99991231"}, ("2025-12-31T23:00:00+00:00", "infinity")),
        (SAP, {"DATAB": "20260101", "DATBI": "20260101"}, ("2025-12-31T23:00:00+00:00", "2026-01-01T23:00:00+00:00")),
        (SAP, {"DATAB": "00010101", "DATBI": "20260331"}, ("-infinity", "2026-03-31T22:00:00+00:00")),
        (SAP, {"DATAB": "00000000", "DATBI": "20260331"}, (None, "2026-03-31T22:00:00+00:00")),
        (HR, {"start": "2026-01-01T08:00:00+01:00", "end": "2026-02-01T08:00:00Z"}, ("2026-01-01T07:00:00+00:00", "2026-02-01T08:00:00+00:00")),
        (HR, {"start": "2026-01-01T08:00:00+01:00", "end": ""}, ("2026-01-01T07:00:00+00:00", "infinity")),
        (EFFECTIVE, {"EFFDT": "2026-01-01"}, ("2026-01-01T00:00:00+00:00", None)),
    ],
)  # fmt: skip
def test_a_validity_is_written_in_utc_with_the_end_that_it_states(
    rule: dict[str, str], record: dict[str, str], expected: tuple[str | None, str | None]
) -> None:
    found = valid(rule, **record)
    assert (found.get("from"), found.get("to")) == expected


@pytest.mark.parametrize(
    ("rule", "record", "words"),
    [
        (SAP, {"DATAB": "20260101", "DATBI": "20251231"}, "ends before it begins"),
        (SAP, {"DATAB": "20260230", "DATBI": "20260331"}, "'20260230' is no day or time"),
        (SAP, {"DATAB": "20260101", "DATBI": "open"}, "'open' is no day or time"),
        (HR, {"start": "2026-01-01T08:00:00", "end": ""}, "has no offset"),
        (EFFECTIVE, {"EFFDT": "2026-01-01T08:00:00+01:00"}, "carries an offset"),
    ],
)
def test_what_cannot_be_told_is_refused_with_its_reason(
    rule: dict[str, str], record: dict[str, str], words: str
) -> None:
    with pytest.raises(NotMapped, match=words) as refused:
        valid(rule, **record)
    assert refused.value.fault.reason == "IMPOSSIBLE_PERIOD"


SNAPSHOT = {"value": "as_of", "timezone": "UTC"}
RULE = {"rule": "listed", "type": "centre.listed"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"occurred_at": SNAPSHOT}, "remove `occurred_at`"),
        ({"events": [RULE | {"when": [{"value": "status"}]}]}, "leaves rows out"),
        (
            {"events": [RULE | {"type": {"value": "s", "values": {"a": "centre.a"}, "unknown": "ignore"}}]},
            "leaves rows out",
        ),
        ({"valid": SAP | {"until": "END"}}, "keep the one that the source means"),
    ],
)  # fmt: skip
def test_a_mapping_of_whole_lists_that_could_mislead_is_refused(
    changed: dict[str, Any], words: str
) -> None:
    mapping = {
        "key": "code",
        "snapshot": SNAPSHOT,
        "document": {"type": "centre", "number": "code"},
        "events": [RULE],
    }
    Mapping.model_validate(mapping)
    with pytest.raises(ValidationError, match=words):
        Mapping.model_validate(mapping | changed)
