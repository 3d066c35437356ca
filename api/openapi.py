"""The description of the API, from the JSON Schemas that `--json` and the API share (`api/schemas`)."""

import re
from importlib import resources
from typing import Any

import msgspec
from fastapi import FastAPI
from typing_extensions import override

from api.errors import MEDIA_TYPE

_PLACE = "#/components/schemas/"
_LIBRARIES = ("common", "http")
"""Files of definitions: each becomes a component."""
_DOCUMENTS = {
    "story": "trace",
    "flow": "flow-show",
    "bridge": "bridge",
    "readiness": "readiness",
}
"""Files of one document: a component by the name that the API has for it."""
_DEFINITION = re.compile(r'"([a-z-]+\.schema\.json)?#/\$defs/')

Responses = dict[int | str, dict[str, Any]]


def shows(component: str) -> Responses:
    """Say what a route answers with: a definition of the schemas, `story`, `flow`, `bridge` or `readiness`."""
    return {200: {"content": {"application/json": {"schema": {"$ref": _PLACE + component}}}}}


PROBLEM: Responses = {
    "default": {
        "description": "A problem (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_PLACE}problem"}}},
    }
}


class Described(FastAPI):
    """An application whose OpenAPI document holds the schemas of its answers."""

    @override
    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = {**super().openapi(), "components": {"schemas": _components()}}
        return self.openapi_schema


def _components() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _LIBRARIES:
        found |= _schema(name)["$defs"]
    for component, name in _DOCUMENTS.items():
        whole = _schema(name)
        found[component] = {k: v for k, v in whole.items() if k not in {"$schema", "$id"}}
    return found


def _schema(name: str) -> dict[str, Any]:
    """Read a schema, with its references as they are within the OpenAPI document."""
    file = resources.files("api") / "schemas" / f"{name}.schema.json"
    text = _DEFINITION.sub(f'"{_PLACE}', file.read_text(encoding="utf-8"))
    schema: dict[str, Any] = msgspec.json.decode(text)
    return schema
