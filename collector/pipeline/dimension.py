"""Master data as its owner and its consumers have it: one code over time, and what is unclear about it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from collector.errors import Misconfigured
from collector.settings.definitions import Flow
from collector.settings.load import Configuration
from collector.store import dimensions
from collector.store.dimensions import Value
from collector.store.ingest import Connection

CHECK = "stale_dimension"
"""The check whose controls say who owns a kind of master data, and who consumes it."""

ALWAYS = datetime.min.replace(tzinfo=UTC)
EVER = datetime.max.replace(tzinfo=UTC)


class Dimension(NamedTuple):
    """A kind of master data: its flow, and the rules of the control that watches it."""

    control: str
    flow: Flow
    rules: dict[str, Any]

    @property
    def steps(self) -> list[tuple[str, str, str]]:
        """The owner and the consumers: (step, role, system)."""
        system = {step.name: step.system for step in self.flow.steps}
        roles = [(self.rules["owner"], "owner")]
        roles += [(name, "consumer") for name in self.rules["consumers"]]
        return [(name, role, system[name]) for name, role in roles]


class Span(msgspec.Struct, frozen=True):
    """A time in which it is unclear what is valid: None without a bound."""

    since: datetime | None
    until: datetime | None


class Holding(msgspec.Struct, frozen=True):
    """What the owner or a consumer has of a code, and had."""

    step: str
    role: str
    system: str
    number: str
    entity: str | None
    state: str
    since: datetime
    value: dict[str, str] | None
    differs: list[str]
    values: list[Value]
    gaps: list[Span]
    overlaps: list[Span]


def configured(configuration: Configuration, rules: dict[str, dict[str, Any]]) -> list[Dimension]:
    """List the kinds of master data; `rules` are the parameters of their controls, defaults included."""
    return [
        Dimension(name, configuration.flow(flow), rules[name])
        for name, control in sorted(configuration.settings.controls.items())
        if control.check == CHECK
        for flow in control.flows
    ]


def of_kind(found: Sequence[Dimension], kind: str) -> Dimension:
    """Return the first that has a kind as its anchor, or is called so.

    Raises:
        Misconfigured: there is none.
    """
    for dimension in found:
        if kind in (dimension.flow.anchor, dimension.flow.flow):
            return dimension
    known = ", ".join(sorted({d.flow.anchor for d in found})) or "none"
    raise Misconfigured(
        f"'{kind}' is no kind of master data that a control `{CHECK}` watches. Known: {known}."
    )


async def holdings(
    conn: Connection, dimension: Dimension, code: str, times: tuple[datetime, datetime]
) -> list[Holding]:
    """Tell what everybody has of a code at T, as known at K, and what they had; the owner first."""
    flow, (_, as_known) = dimension.flow, times
    documents = await dimensions.documents(conn, flow.anchor, as_known, code)
    rows = await dimensions.holdings(conn, flow.flow, dimension.rules, times, documents)
    values = await dimensions.values(conn, flow.flow, as_known, documents)
    found = []
    for step, role, system in dimension.steps:
        for row in rows:
            if row["step"] == step:
                of_it = values[step, row["number"]]
                kept = {name: row[name] for name in ("number", "entity", "state", "since", "value")}
                found.append(
                    Holding(
                        step=step,
                        role=role,
                        system=system,
                        **kept,
                        differs=row["differs"],
                        values=of_it,
                        gaps=gaps(of_it),
                        overlaps=overlaps(of_it),
                    )
                )
    return found


def gaps(values: Sequence[Value]) -> list[Span]:
    """List the times between two values in which none is valid; after a deletion that is no gap."""
    found: list[Span] = []
    reached: Value | None = None
    for value in sorted(values, key=_begin):
        if reached is not None and _end(reached) < _begin(value) and reached.gone_at is None:
            found.append(Span(reached.valid_to, value.valid_from))
        if reached is None or _end(value) > _end(reached):
            reached = value
    return found


def overlaps(values: Sequence[Value]) -> list[Span]:
    """List the times in which several rows state to be valid, with different values."""
    stated = sorted((value for value in values if value.stated), key=_begin)
    found = [
        Span(max(_begin(a), _begin(b)), min(_end(a), _end(b)))
        for i, a in enumerate(stated)
        for b in stated[i + 1 :]
        if a.value != b.value and max(_begin(a), _begin(b)) < min(_end(a), _end(b))
    ]
    return [Span(_bound(span.since, ALWAYS), _bound(span.until, EVER)) for span in found]


def _begin(value: Value) -> datetime:
    return value.valid_from or ALWAYS


def _end(value: Value) -> datetime:
    return value.valid_to or EVER


def _bound(instant: datetime | None, none: datetime) -> datetime | None:
    return None if instant == none else instant
