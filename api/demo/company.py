"""A small company of our own: who works there, and what became of each expense claim.

Everything here is invented. This module says what *happened*; how each system shows it is the
business of `api.demo.systems`, and what the controls must say about it that of `api.demo.truth`.
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from itertools import count, islice
from random import Random  # noqa: TID251 -- seeded, see Dice
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from api.demo.business_time import Calendar

BERLIN = ZoneInfo("Europe/Berlin")
TOKYO = ZoneInfo("Asia/Tokyo")

STATUS_TIME = datetime(2026, 2, 5, 8, 0, tzinfo=BERLIN)
"""T of the demo: nothing happens after it, and the month before it is over."""

COVERS_FROM = datetime(2026, 1, 1, tzinfo=BERLIN)
"""From when on the exports hold everything."""


class Dice(Random):
    """All chance comes from one of these, made from a seed: the same seed, the same company."""


@dataclass(frozen=True)
class Entity:
    """A legal entity with its bank account. `decimals` is that of its one currency."""

    code: str
    name: str
    currency: str
    decimals: int
    calendar: Calendar
    account: str
    bic: str
    cost_centres: tuple[str, ...]
    domain: str

    def text(self, minor: int, mark: str = ".") -> str:
        """Write an amount as systems do: with the decimals that the currency has."""
        sign, digits = "-" * (minor < 0), f"{abs(minor):0{self.decimals + 1}d}"
        if not self.decimals:
            return sign + digits
        return f"{sign}{digits[: -self.decimals]}{mark}{digits[-self.decimals :]}"


DE10 = Entity(
    code="DE10",
    name="Lindenau Instruments GmbH",
    currency="EUR",
    decimals=2,
    calendar=Calendar(BERLIN, frozenset({date(2026, 1, 1)})),
    account="DE66100000990012345678",
    bic="EXMPDEFFXXX",
    cost_centres=("4100", "4120", "4200", "4310", "4700"),
    domain="lindenau.example",
)
JP10 = Entity(
    code="JP10",
    name="Lindenau Instruments K.K.",
    currency="JPY",
    decimals=0,
    calendar=Calendar(
        TOKYO,
        frozenset(
            date.fromisoformat(day)
            for day in ("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-12", "2026-02-11")
        ),
    ),
    account="0099-001-1234567",
    bic="EXMPJPJTXXX",
    cost_centres=("7100", "7200", "7300"),
    domain="lindenau.example",
)
ENTITIES = (DE10, JP10)


class Deed(StrEnum):
    """What people do to a claim, in the step codes of the expense platform."""

    SUBMIT = "SUBMIT"
    RESUBMIT = "RESUBMIT"
    MANAGER = "MGR_APPROVAL"
    FINAL = "EXRTREADY"
    SEND_BACK = "SENDBACK"
    REJECT = "REJECT"
    RECALL = "RECALL"


class Action(NamedTuple):
    """One deed at its time."""

    at: datetime
    deed: Deed


class Posting(NamedTuple):
    """A claim in the ledger; `by_hand` means past the interface."""

    at: datetime
    reversed_at: datetime | None = None
    by_hand: bool = False


class Refusal(NamedTuple):
    """An attempt of the interface that the ERP refused."""

    at: datetime
    message: str


class Payment(NamedTuple):
    """A claim in a payment run, booked by the bank, and perhaps sent back."""

    run_at: datetime
    settled_at: datetime
    returned_at: datetime | None = None


@dataclass(frozen=True)
class Timeline:
    """What became of a claim."""

    actions: tuple[Action, ...]
    postings: tuple[Posting, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    payment: Payment | None = None


@dataclass(frozen=True)
class Worker:
    """A person. Names and addresses belong in the HR export only."""

    employee_id: str
    user_id: UUID
    first_name: str
    last_name: str
    entity: Entity
    cost_centre: str
    manager_id: str
    hired: date
    updated: datetime

    @property
    def email(self) -> str:
        """The address at work; the number keeps namesakes apart."""
        return f"{self.first_name}.{self.last_name}.{self.employee_id}@{self.entity.domain}".lower()


@dataclass(frozen=True)
class Claim:
    """An expense claim: money to `owner`, charged to a cost centre, and its story.

    `label` is the class that it was planted as and `kind` its variant; `claimed` is what the
    receipts say and `payable` what the company owes the employee, both in minor units.
    """

    report_id: str
    owner: Worker
    manager: Worker
    budget_owner: Worker
    cost_centre: str
    purpose: str
    claimed: int
    payable: int
    label: str
    kind: str
    timeline: Timeline

    @property
    def entity(self) -> Entity:
        """The entity that owes the money."""
        return self.owner.entity


@dataclass(frozen=True)
class Company:
    """Everybody and every claim, claims ordered by their first action."""

    workers: tuple[Worker, ...]
    claims: tuple[Claim, ...]


_FIRST_NAMES = {
    "DE10": "Anna Ben Clara David Elif Felix Greta Hannes Ida Jonas Katrin Lukas Mira Nils Paula",
    "JP10": "Aoi Daiki Emi Haruto Kaito Mei Naoki Riku Sakura Yuto",
}
_LAST_NAMES = {
    "DE10": "Albers Brandner Dorn Eckhold Falkner Gerlach Hollmann Jessen Kaya Lorenzen Nowak",
    "JP10": "Aoyama Fujita Hayashi Kimura Matsuda Nishida Okada Sakai Takeda Yamane",
}
_PER_COST_CENTRE = 20


def hire(rng: Dice) -> tuple[Worker, ...]:
    """Hire a head and a team for every cost centre; heads report to the entity's first head."""
    workers: list[Worker] = []
    for number, entity in enumerate(ENTITIES, start=1):
        ids = (f"{number}{serial:05d}" for serial in count(1))
        chief = ""
        for cost_centre in entity.cost_centres:
            head = ""
            for employee_id in islice(ids, _PER_COST_CENTRE):
                workers.append(_worker(rng, entity, employee_id, cost_centre, head or chief))
                head = head or employee_id
                chief = chief or employee_id
    return tuple(workers)


def _worker(
    rng: Dice, entity: Entity, employee_id: str, cost_centre: str, manager_id: str
) -> Worker:
    hired = date(rng.randint(2008, 2024), rng.randint(1, 12), 1)
    updated = datetime(2026, 1, rng.randint(1, 31), 6, 0, rng.randint(0, 59), tzinfo=BERLIN)
    return Worker(
        employee_id=employee_id,
        user_id=UUID(int=rng.getrandbits(128), version=4),
        first_name=rng.choice(_FIRST_NAMES[entity.code].split()),
        last_name=rng.choice(_LAST_NAMES[entity.code].split()),
        entity=entity,
        cost_centre=cost_centre,
        manager_id=manager_id,
        hired=hired,
        updated=updated,
    )
