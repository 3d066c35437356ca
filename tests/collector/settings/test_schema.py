"""The schema that editors use and the definitions say the same."""

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships none

from collector.settings.explain import keys_at
from collector.settings.load import examine
from collector.settings.mapping import Mapping
from collector.settings.schema import schema
from collector.settings.tree import read
from connectors.registry import CONNECTORS
from tests.collector.settings.house import CLAIMS, FLOW, PARAMETERS, TIEOUT, changed

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*/tieout.yaml"))
WHOLE = schema(CONNECTORS, PARAMETERS)


def data(folder: Path, text: str) -> object:
    """The text as the house reads it: times stay text."""
    path = folder / "tieout.yaml"
    path.write_text(text, "utf-8")
    return read(path).data


def faults(document: object, part: str = "") -> list[str]:
    part_of = WHOLE if not part else {"$defs": WHOLE["$defs"], "$ref": f"#/$defs/{part}"}
    return [error.message for error in Draft202012Validator(part_of).iter_errors(document)]


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(WHOLE)


def test_what_is_right_is_right_by_the_schema(tmp_path: Path) -> None:
    assert faults(data(tmp_path, TIEOUT)) == []
    assert faults(yaml.safe_load(CLAIMS), "Mapping") == []
    assert faults(yaml.safe_load(FLOW), "Flow") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("flows: [flow.yaml]", "flow: [flow.yaml]"),
        ("connector: files", "connector: file"),
        ("format: csv", "form: csv"),
        ("check: approved_not_paid", "check: nothing"),
        ('schedule: "0 6 * * *"', "parameters: {dew: 1 day}"),
    ],
)
def test_what_is_wrong_is_wrong_by_the_schema(tmp_path: Path, old: str, new: str) -> None:
    text = changed("tieout.yaml", old, new)["tieout.yaml"]
    assert faults(data(tmp_path, text))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_each_example_loads_without_a_problem(path: Path) -> None:
    assert examine(path, CONNECTORS, PARAMETERS)[1] == []
    assert faults(read(path).data) == []


def test_the_keys_of_a_place_are_those_of_its_definition() -> None:
    assert keys_at(Mapping, ("events", 0, "type")) == ["unknown", "value", "values"]
    assert "is" in keys_at(Mapping, ("events", 0, "when", 1))
    assert keys_at(Mapping, ("nulls",)) == []
