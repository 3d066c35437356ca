"""A small company of our own: who works there, and what became of each expense claim.

Everything here is invented. This module says what *happened*; how each system shows it is the
business of `api.demo.systems`, and what the controls must say about it that of `api.demo.truth`.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from itertools import count, islice
from random import Random  # noqa: TID251 -- seeded, see Dice
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from api.demo.business_time import Calendar

BERLIN = ZoneInfo("Europe/Berlin")
TOKYO = ZoneInfo("Asia/Tokyo")

KUWAIT = ZoneInfo("Asia/Kuwait")

STATUS_TIME = datetime(2026, 11, 5, 8, 0, tzinfo=BERLIN)
"""T of the demo: nothing happens after it, and the two months before it are over."""

COVERS_FROM = datetime(2026, 9, 1, tzinfo=BERLIN)
"""From when on the exports hold everything. The clocks of Berlin went back on 25 October."""


class Dice(Random):
    """All chance comes from one of these, made from a seed: the same seed, the same company."""


@dataclass(frozen=True)
class Account:
    """A bank account of an entity in one currency; amounts in minor units.

    `top_up` comes weekly from the cash pool, `fee` is charged weekly. `other` is a currency with as many
    decimals, which can be taken for it.
    """

    currency: str
    decimals: int
    number: str
    bic: str
    opening: int
    top_up: int
    fee: int
    other: str

    def text(self, minor: int, mark: str = ".") -> str:
        """Write an amount as systems do: with the decimals that the currency has."""
        sign, digits = "-" * (minor < 0), f"{abs(minor):0{self.decimals + 1}d}"
        if not self.decimals:
            return sign + digits
        return f"{sign}{digits[: -self.decimals]}{mark}{digits[-self.decimals :]}"


@dataclass(frozen=True)
class Entity:
    """A legal entity: where it is, when it works, pays and posts, and its accounts.

    `pays_on` are the weekdays of its payment runs, which its bank books payment by payment or, with
    `books_runs`, each in one sum; unless it `lists_payments` nobody sees them there. Its interface runs at
    `posts_at`: in the evening of a business day, or with `overnight` early on the next one.
    """

    code: str
    name: str
    calendar: Calendar
    accounts: tuple[Account, ...]
    cost_centres: tuple[str, ...]
    blocked: str
    pays_on: tuple[int, int]
    posts_at: time
    overnight: bool = False
    books_runs: bool = False
    lists_payments: bool = True
    domain: str = "lindenau.example"


DE10 = Entity(
    code="DE10",
    name="Lindenau Instruments GmbH",
    calendar=Calendar(BERLIN, frozenset()),
    accounts=(
        Account(
            currency="EUR",
            decimals=2,
            number="DE66100000990012345678",
            bic="EXMPDEFFXXX",
            opening=90_000_000,
            top_up=40_000_000,
            fee=1_290,
            other="USD",
        ),
    ),
    cost_centres=("4100", "4120", "4200", "4310", "4700"),
    blocked="4711",
    pays_on=(1, 4),
    posts_at=time(19, 30),
    books_runs=True,
)
JP10 = Entity(
    code="JP10",
    name="Lindenau Instruments K.K.",
    calendar=Calendar(
        TOKYO,
        frozenset(
            date.fromisoformat(day)
            for day in ("2026-09-21", "2026-09-22", "2026-09-23", "2026-10-12", "2026-11-03")
        ),
    ),
    accounts=(
        Account(
            currency="JPY",
            decimals=0,
            number="0099-001-1234567",
            bic="EXMPJPJTXXX",
            opening=90_000_000,
            top_up=40_000_000,
            fee=880,
            other="KRW",
        ),
    ),
    cost_centres=("7100", "7200", "7300"),
    blocked="7711",
    pays_on=(1, 4),
    posts_at=time(19, 30),
    books_runs=True,
    lists_payments=False,
)
KW10 = Entity(
    code="KW10",
    name="Lindenau Instruments W.L.L.",
    calendar=Calendar(KUWAIT, frozenset(), weekend=frozenset({4, 5})),
    accounts=(
        Account(
            currency="KWD",
            decimals=3,
            number="KW81EXMP0000000000001234560101",
            bic="EXMPKWKWXXX",
            opening=90_000_000,
            top_up=40_000_000,
            fee=2_500,
            other="BHD",
        ),
        Account(
            currency="USD",
            decimals=2,
            number="KW54EXMP0000000000001234560202",
            bic="EXMPKWKWXXX",
            opening=30_000_000,
            top_up=15_000_000,
            fee=900,
            other="EUR",
        ),
    ),
    cost_centres=("9100", "9200"),
    blocked="9711",
    pays_on=(6, 2),
    posts_at=time(4, 30),
    overnight=True,
)
ENTITIES = (DE10, JP10, KW10)


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


class Shown(StrEnum):
    """How the expense platform shows a posting: rightly, or what is wrong with it."""

    RIGHT = "right"
    NOTHING = "nothing"
    OTHER_NUMBER = "other number"
    AS_FAILED = "as failed"


class Posting(NamedTuple):
    """A claim in the ledger.

    `amount` is what was posted where it is not what is payable, in minor units; `by_hand` means past
    the interface; `replayed` from the same message as the posting before; `allocation` is the part of
    a declared split. The platform shows it at `shown_at`, by default `SHOWN_AFTER` later. It may be
    parked, which posts nothing; blocked for payment; or in `Account.other` instead of its currency.
    """

    at: datetime
    reversed_at: datetime | None = None
    by_hand: bool = False
    amount: int | None = None
    allocation: str = ""
    replayed: bool = False
    shown: Shown = Shown.RIGHT
    shown_at: datetime | None = None
    is_parked: bool = False
    is_blocked: bool = False
    in_other_currency: bool = False


SHOWN_AFTER = timedelta(minutes=90)


class Refusal(NamedTuple):
    """An attempt of the interface that the ERP refused."""

    at: datetime
    message: str


class Sending(NamedTuple):
    """A message of the middleware of which no document came."""

    at: datetime
    failed: bool = False


class Payment(NamedTuple):
    """A claim in a payment run, booked by the bank, and perhaps sent back.

    `amount` is what was paid where it is not what is payable, in minor units. `combined` names the
    transfer that carries it with others of the same payee; the bank books that transfer once. It pays
    `short` minor units less than it should. The platform shows `PAYMENT_SHOWN_AFTER` later that it was
    paid, or sent back.
    """

    run_at: datetime
    settled_at: datetime
    returned_at: datetime | None = None
    amount: int | None = None
    combined: str = ""
    short: int = 0
    is_shown: bool = True


PAYMENT_SHOWN_AFTER = timedelta(hours=12)
"""By then the ERP has read the bank's statement of the day, and told what it cleared with it."""


@dataclass(frozen=True)
class Timeline:
    """What became of a claim. Without actions it is no claim: it stands in the ledger alone."""

    actions: tuple[Action, ...]
    postings: tuple[Posting, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    sendings: tuple[Sending, ...] = ()
    payments: tuple[Payment, ...] = ()

    @property
    def began(self) -> datetime:
        """When it was first heard of."""
        return self.actions[0].at if self.actions else self.postings[0].at


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
    receipts say and `payable` what the company owes the employee, both in minor units; `advanced` is
    what of it an advance covers. `keyless` claims travel in messages that do not name them.
    """

    report_id: str
    owner: Worker
    manager: Worker
    budget_owner: Worker
    account: Account
    cost_centre: str
    project: str
    purpose: str
    claimed: int
    payable: int
    advanced: int
    keyless: bool
    label: str
    kind: str
    timeline: Timeline

    @property
    def entity(self) -> Entity:
        """The entity that owes the money."""
        return self.owner.entity

    @property
    def is_claim(self) -> bool:
        """Whether anybody claimed it: what stands in the ledger alone nobody did."""
        return bool(self.timeline.actions)


class Value(NamedTuple):
    """What somebody entered for a cost centre, and from when on it is valid if not at once."""

    at: datetime
    name: str
    is_open: bool = True
    valid_from: date | None = None


@dataclass(frozen=True)
class CostCentre:
    """A cost centre as its owner, the ERP, has it, and as the expense platform took it over."""

    code: str
    entity: Entity
    kind: str
    owned: tuple[Value, ...]
    held: tuple[Value, ...]


@dataclass(frozen=True)
class Company:
    """Everybody, every cost centre and every claim, claims ordered by their first action."""

    workers: tuple[Worker, ...]
    cost_centres: tuple[CostCentre, ...]
    claims: tuple[Claim, ...]


_FIRST_NAMES = {
    "DE10": "Anna Ben Clara David Elif Felix Greta Hannes Ida Jonas Katrin Lukas Mira Nils Paula",
    "JP10": "Aoi Daiki Emi Haruto Kaito Mei Naoki Riku Sakura Yuto",
    "KW10": "Abdullah Dalal Fahad Hessa Jaber Lulwa Noura Salem Yousef",
}
_LAST_NAMES = {
    "DE10": "Albers Brandner Dorn Eckhold Falkner Gerlach Hollmann Jessen Kaya Lorenzen Nowak",
    "JP10": "Aoyama Fujita Hayashi Kimura Matsuda Nishida Okada Sakai Takeda Yamane",
    "KW10": "Albader Alkandari Almutairi Alnajjar Alqattan Alrashed Alsaleh",
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
    updated = datetime(2026, 10, rng.randint(1, 30), 6, 0, rng.randint(0, 59), tzinfo=BERLIN)
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
