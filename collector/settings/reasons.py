"""Why a record can be quarantined: the codes, what each means for the business, who mends it and how.

They stand in reasons.yaml beside this file; docs/quarantine.md is generated from it.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec
import yaml


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a code means for the business, in a sentence; who usually mends it, and how."""

    means: str
    who: str
    mend: str


@cache
def reasons() -> Mapping[str, Reason]:
    """Return every reason there is, by its code."""
    text = (resources.files("collector.settings") / "reasons.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), dict[str, Reason])
