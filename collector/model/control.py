"""A control run and its exceptions, as they are kept."""

from datetime import datetime
from typing import Any

import msgspec


class Exception_(msgspec.Struct, frozen=True):  # noqa: N801 -- the audit term; Python took the word
    """One item that a control found wrong. Differences are signed: actual less expected.

    `step` is the step of the flow that it is about, where there is one.
    """

    subject: str
    number: str
    entity: str | None
    reason: str
    sentence: str
    expected: str
    actual: str
    difference_minor: int | None
    amount_minor: int | None
    currency: str | None
    step: str | None = None


class Run(msgspec.Struct):
    """One execution of a control: what it was asked, what it saw, what it concluded and why.

    `run` is its number in commit order. `certificate` is the hash of the coverage certificate that
    it stands on, None where it did not come so far; `gaps` what is known to be missing. `definition`, `parameters`, the hashes and `query` are what
    it takes to perform the run again.
    """

    control: str
    as_of: datetime
    as_known: datetime
    started_at: datetime
    finished_at: datetime
    trigger: str
    actor: str
    definition: dict[str, Any]
    parameters: dict[str, Any]
    rule_hash: str
    code_hash: str
    query: str
    run: int = 0
    verdict: str = "ERROR"
    complete: bool = False
    certificate: str | None = None
    gaps: list[dict[str, Any]] = []
    population: dict[str, Any] = {}
    notes: list[str] = []
    exceptions: list[Exception_] = []
    error: str | None = None
