"""Every consumer of master data has what its owner has (FIC-27)."""

from typing import Any

from pydantic import Field

from collector.model.money import from_minor
from collector.model.words import counted
from collector.settings.definitions import Duration
from collector.settings.mapping import Definition, EventType, Kind
from collector.settings.parameters import NeededStep, NeededSteps
from control_checks.contract import Check, Item, Telling, texts


class Parameters(Definition):
    """Which steps give the owner's and the consumers' values, and what must agree how soon.

    A kind of master data is a flow: its anchor is the kind, the step `owner` is done by the owner's
    events on a code, and each of `consumers` by the events by which a consumer took a value. The values
    are attributes of the events, or of the rows of whole lists; `valid` of the mapping says from when until when one
    is valid, otherwise from its event or list on (docs/dimensions.md).
    """

    owner: NeededStep = "owned"
    consumers: NeededSteps = Field(
        ["consumed"], description="The steps by which consumers take a value"
    )
    attributes: list[Kind] = Field(["status"], min_length=1, description="What must agree")
    due: Duration = Field("24 hours", description="4 hours for employees and approvers")
    due_closed: Duration = Field("1 hour", description="For closures and blocks")
    closed: list[str] = Field(["closed", "blocked"], description="What `status` means closed")
    decimals: list[Kind] = Field(
        [], description="Attributes that are decimal numbers: 1.0830 is 1.083, digit by digit"
    )
    values: dict[str, str] = Field(
        {}, description="A consumer's word, and the owner's for the same"
    )
    subset: dict[Kind, list[str]] = Field(
        {}, description="The subset that is replicated: attribute of the owner and values"
    )
    ended_days: int = Field(400, ge=1, description="What was closed longer ago is out of scope")
    synchronised: dict[Kind, Kind] = Field(
        {},
        description="Consumer and the step that is done whenever its whole list was synchronised",
    )
    stopped_hours: int = Field(24, ge=1, description="Without that for so long, it has stopped")
    dimension: Kind = Field("cost_center", description="What transactions call this dimension")
    used_in: str = Field("", description="The flow whose transactions use it")
    used_by: list[EventType] = Field([], description="The events by which they use it")


def sentence(item: Item, telling: Telling) -> str:
    """Say what is wrong with one item."""
    d, since = item.details, telling.minute(item.basis_at)
    if item.reason == "SYNC_STOPPED":
        return (
            f"{telling.subject(item)} was last synchronised in {d['consumer']} on {since}, more than "
            f"{d['hours']} hours ago; {counted(d['codes'], 'code')} differ because of it."
        )
    hours = int((telling.as_of - item.basis_at).total_seconds() // 3600) if item.basis_at else 0
    late = f"{counted(hours, 'hour')} later (limit {d['rule']})"
    subject = telling.subject(item)
    match item.reason.partition("(")[0]:
        case "STILL_ACTIVE":
            told = f"{subject} was {d['status']} in {d['owner']} on {since} and is still {d['held_status']} in {d['consumer']} {late}."
        case "MISSING":
            told = f"{subject} is there in {d['owner']} since {since} and missing in {d['consumer']} {late}."
        case _:
            told = (
                f"{subject} has the {d['attribute']} '{d['value']}' in {d['owner']} since {since} and "
                f"'{d['held']}' in {d['consumer']} {late}."
            )
    return told + _used(d)


def _used(d: Any) -> str:  # noqa: ANN401 -- details
    if not d["used"]:
        return ""
    amounts = [from_minor(int(minor), c) for c, minor in sorted((d["amounts"] or {}).items())]
    have = "has" if d["used"] == 1 else "have"
    return f" {', '.join([counted(d['used'], 'transaction'), *amounts])}, {have} used it since."


_source, _query, _plain = texts(__file__)
CHECK = Check(
    name="stale_dimension",
    title="Every consumer of master data has what its owner has",
    objective="Nobody books or approves by master data that its owner has changed or closed.",
    assertion="presentation, accuracy",
    catalogue="FIC-27",
    population=(
        "Each code of the declared subset, by consumer, for the listed attributes: current, or closed within "
        "`ended_days`. The owner's value counts by valid time (effective at the status time) and by knowledge "
        "time (known at K)."
    ),
    rule="The consumer's value equals the owner's value effective at the status time.",
    due="`due` after the later of the owner's valid-from and its change; `due_closed` for closures and blocks.",
    pending="The status time is not past the due time.",
    reasons={
        "MISSING": "the consumer does not have the code",
        "STILL_ACTIVE": "the owner has closed it, the consumer has not",
        "DIFFERENT": "an attribute differs",
        "SYNC_STOPPED": "the consumer's list is no longer synchronised: one exception for the whole list",
    },
    excluded={
        "CONSUMER_ONLY": "the owner does not have the code",
        "FUTURE_DATED": "the owner's first value is valid only later",
        "LIST_NOT_SYNCHRONISED": "it differs because its list's synchronisation stopped, which is the exception",
    },
    unevaluable={
        "NO_DUE_TIME": "its entity has no calendar, and the due time needs one",
        "GAP": "one row has ended and the next has not begun: there is no value to compare",
        "OVERLAP": "several rows state to be valid, with different values",
    },
    traps=(
        "A closure that is effective only later",
        "A status that only the consumer has",
        "Case and leading zeros",
        "A deliberate subset",
        "Closed long ago",
        "A change that was not known then",
        "A list that is cut off",
        "A row that begins later",
        "Rows that overlap with the same value",
        "A number that is written otherwise",
    ),
    evidence="Both values with valid-from and seen-at, and the transactions that used the stale one, in count and amount.",
    parameters=Parameters,
    query=_query,
    source=_source,
    plain=_plain,
    sentence=sentence,
)
