"""Holds what the API answers against what its own OpenAPI document says."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from tests.api.cli.desk import formats

Described = dict[str, Any]


def conforms(described: Described, schema: Described, document: object) -> None:
    """Hold a document against a schema within the OpenAPI document."""
    whole = {**schema, "components": described["components"]}
    validator = Draft202012Validator(whole, format_checker=formats())
    wrong = [f"{e.json_path}: {e.message}" for e in validator.iter_errors(document)]
    assert not wrong, wrong


def holding(described: Described) -> Callable[[httpx.Response], Awaitable[None]]:
    """Return a hook that holds every response against its description; not the description itself."""

    async def hold(response: httpx.Response) -> None:
        said = _said(described, response)
        if said is None:
            return
        await response.aread()
        media = response.headers["content-type"].split(";")[0]
        assert media in said, (response.url, media)
        if media != "text/plain":
            conforms(described, said[media]["schema"], response.json())

    return hold


def _said(described: Described, response: httpx.Response) -> Described | None:
    """Find what a response is to hold, by media type."""
    path, status = response.request.url.path, str(response.status_code)
    for template, operations in described["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            said = operations["get"]["responses"]
            content: Described = said.get(status, said["default"])["content"]
            return content
    anywhere: Described = described["paths"]["/healthz"]["get"]["responses"]["default"]["content"]
    return None if status == "200" else anywhere
