"""The JSON Schema of `tieout.yaml`, for editors: generated from the definitions."""

from collections.abc import Mapping as MappingOf
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from collector.connector import Spec
from collector.settings.definitions import Settings

NONE: MappingOf[str, Any] = MappingProxyType({})
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(
    connectors: MappingOf[str, Spec] = NONE, checks: MappingOf[str, type[BaseModel]] = NONE
) -> dict[str, Any]:
    """Return the schema of the settings, with the options of connectors and parameters of checks.

    A file with one mapping or flow follows `#/$defs/Mapping` or `#/$defs/Flow`.
    """
    options = {name: spec.options for name, spec in sorted(connectors.items())}
    models: list[type[BaseModel]] = [
        Settings,
        *options.values(),
        *(checks[name] for name in sorted(checks)),
    ]
    references, whole = models_json_schema([(model, "validation") for model in models])
    definitions = whole["$defs"]

    def reference(model: type[BaseModel]) -> dict[str, Any]:
        return references[model, "validation"]

    settings = definitions.pop(reference(Settings)["$ref"].rsplit("/", 1)[1])
    if connectors:
        definitions["Source"]["properties"]["connector"] = {"enum": sorted(options)}
        definitions["Source"]["allOf"] = [
            _where("connector", name, _within_streams("read", reference(model)))
            for name, model in options.items()
        ]
    if checks:
        definitions["Control"]["properties"]["check"] = {"enum": sorted(checks)}
        definitions["Control"]["allOf"] = [
            _where("check", name, {"parameters": reference(checks[name])})
            for name in sorted(checks)
        ]
    return {"$schema": DIALECT, **settings, "title": "tieout.yaml", "$defs": definitions}


def _where(key: str, value: str, then: dict[str, Any]) -> dict[str, Any]:
    return {
        "if": {"properties": {key: {"const": value}}},
        "then": {"properties": then},
    }


def _within_streams(key: str, inner: dict[str, Any]) -> dict[str, Any]:
    return {"streams": {"additionalProperties": {"properties": {key: inner}}}}
