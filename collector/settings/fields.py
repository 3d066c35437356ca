"""Fields in which systems carry business keys: how long they are, and who must fill them.

The data stands in fields.yaml beside this file.
"""

import re
from collections.abc import Mapping as MappingOf
from functools import cache
from importlib import resources
from typing import Final

import yaml
from pydantic import Field

from collector.settings.mapping import Definition

_INTERFACES: Final = frozenset({"IntegrationFlowName", "workflowName", "processName", "routeId"})
"""Fields in which middleware names the interface: SAP Cloud Integration, Azure Logic Apps, Boomi, Camel."""


class CarryingField(Definition):
    """A field that a system has for the number of another system's document."""

    system: str
    length: int | None = Field(None, description="What is longer is cut by the system")
    mend: str = Field(description="Who must fill it, and how, in the system's own words")
    says: str = Field(description="Where the vendor or the standard says so")


@cache
def carrying_fields() -> MappingOf[str, CarryingField]:
    """Return the fields by name."""
    text = (resources.files("collector.settings") / "fields.yaml").read_text(encoding="utf-8")
    return {name: CarryingField.model_validate(said) for name, said in yaml.safe_load(text).items()}


def carrying_field(expr: str) -> tuple[str, CarryingField] | None:
    """Find the field that an expression of a mapping reads: the last of its parts that is known."""
    known = carrying_fields()
    for part in reversed(re.split(r"[./{}]", expr)):
        if part in known:
            return part, known[part]
    return None


def names_an_interface(expr: str) -> bool:
    """Say whether an expression of a mapping reads the name of an interface."""
    return expr.rsplit(".", 1)[-1] in _INTERFACES
