"""What can become of a cost centre between its owner, the ERP, and the expense platform.

One row per variant, as in `api.demo.plan`: what the owner entered, what the platform holds, and the
reason that `stale_dimension` must give, if any.
"""

from datetime import date, datetime, timedelta
from typing import NamedTuple

from api.demo.company import ENTITIES, STATUS_TIME, CostCentre, Dice, Entity, Value

_TAKEN_OVER = timedelta(hours=2)
_LONG_AGO = timedelta(days=55)
_LAST_WEEK, _AN_HOUR_AGO = timedelta(days=8), timedelta(hours=1)
_NEXT_YEAR = date(2027, 1, 1)
_NAMES = "Sales Service Assembly Research Quality Logistics Purchasing Finance Training Laboratory"


class Fate(NamedTuple):
    """A variant: how many per entity, and the reason of `stale_dimension` if it must speak."""

    kind: str
    planted: int
    reason: str | None = None
    pending: bool = False


IN_STEP = "in_step"
STILL_ACTIVE = "closed_still_active"
FATES = (
    Fate(STILL_ACTIVE, 1, "STILL_ACTIVE"),
    Fate("never_arrived", 1, "MISSING"),
    Fate("renamed", 1, "DIFFERENT(name)"),
    Fate("closing_next_year", 2),
    Fate("closed_everywhere", 1),
    Fate("opening_next_year", 1),
    Fate("renamed_just_now", 1, pending=True),
)
BY_KIND = {fate.kind: fate for fate in FATES}


def cost_centres(rng: Dice) -> tuple[CostCentre, ...]:
    """Open the cost centres of all entities: those that claims are charged to, and planted ones."""
    return tuple(c for entity in ENTITIES for c in _of(entity, rng))


def _of(entity: Entity, rng: Dice) -> list[CostCentre]:
    names = _NAMES.split()
    rng.shuffle(names)
    made = [_made(code, entity, IN_STEP, names[0]) for code in entity.cost_centres]
    serial = int(entity.blocked)
    for fate in FATES:
        for _ in range(fate.planted):
            made.append(_made(str(serial), entity, fate.kind, names[serial % len(names)]))
            serial += 1
    return made


def _made(code: str, entity: Entity, kind: str, name: str) -> CostCentre:
    """Tell what both sides entered; both began with the same list in September."""
    began = STATUS_TIME - _LONG_AGO
    opened, taken = Value(began, name), Value(began + _TAKEN_OVER, name)
    closed_at: datetime = STATUS_TIME - _LAST_WEEK
    later: dict[str, tuple[tuple[Value, ...], tuple[Value, ...]]] = {
        STILL_ACTIVE: ((opened, Value(began + _LAST_WEEK, name, is_open=False)), (taken,)),
        "never_arrived": ((opened,), ()),
        "renamed": ((opened, Value(closed_at, f"{name} North")), (taken,)),
        "closing_next_year": (
            (opened, Value(closed_at, name, is_open=False, valid_from=_NEXT_YEAR)),
            (taken,),
        ),
        "closed_everywhere": (
            (opened, Value(closed_at, name, is_open=False)),
            (taken, Value(closed_at + timedelta(minutes=30), name, is_open=False)),
        ),
        "opening_next_year": ((Value(closed_at, name, valid_from=_NEXT_YEAR),), ()),
        "renamed_just_now": (
            (opened, Value(STATUS_TIME - _AN_HOUR_AGO, f"{name} South")),
            (taken,),
        ),
    }
    owned, held = later.get(kind, ((opened,), (taken,)))
    return CostCentre(code, entity, kind, owned, held)
