"""What stands open of a control after its last run of the present."""

from datetime import datetime
from typing import Any

import msgspec

from collector.model.control import Exception_


class Open(msgspec.Struct, frozen=True):
    """An open exception: the run that found it, its place in that run, and what it says."""

    run: int
    ordinal: int
    exception: Exception_


class Standing(msgspec.Struct, frozen=True):
    """What a run of the present left: its verdict, and the exceptions that are open after it.

    `evaluated` is the last run that evaluated its population, as of `as_of` (None: none did yet),
    `concluded` whether that one could judge everything. `notice` is the last one of the control, None where nothing was told.
    """

    run: int
    as_of: datetime | None
    verdict: str
    evaluated: int | None
    concluded: bool
    open: list[Open]
    notice: dict[str, Any] | None = None
