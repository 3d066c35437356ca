"""No claim waits longer at a step than the step's limit (FIC-08)."""

from pydantic import Field

from collector.settings.mapping import Definition, EventType, Kind
from collector.settings.parameters import StepsIfAny
from control_checks.contract import Check, Item, Telling, texts


class Parameters(Definition):
    """Which steps other controls own, and what counts as going round in circles.

    The limit of a step is its `due` in the flow: configured, never learned, for a slow interface must
    not loosen its own control.
    """

    owned: StepsIfAny = Field(["posted", "paid"], description="Steps that other controls watch")
    attempts: int = Field(5, ge=2, description="Failed attempts within 24 hours")
    on_hold: Kind = Field("on_hold", description="The end state of the flow that means a hold")
    held_by: list[EventType] = Field(
        ["expense_report.held"],
        description="Events that hold, with a `reason_code` and the attribute `hold_until`",
    )
    cancelled: list[Kind] = Field(
        ["cancelled"], description="The end states of the flow that mean a cancellation"
    )
    alternations: int = Field(3, ge=2, description="How often a step was undone again")


def sentence(item: Item, telling: Telling) -> str:
    """Say what is wrong with one item."""
    subject, d = telling.subject(item), item.details
    if item.reason == "RETRY_LOOP":
        return f"{subject} failed {d['burst']} times within 24 hours at '{d['title']}'."
    if item.reason == "PING_PONG":
        return f"{subject} goes back and forth: it was taken back {d['undone']} times at '{d['title']}'."
    waited = f"since {telling.minute(item.basis_at)} ({telling.days_since(item.basis_at)}); the limit is {d['rule']}"
    if item.reason == "FAILED_NOT_REPROCESSED":
        why = f" ({d['message']})" if d.get("message") else ""
        return f"{subject} failed at '{d['title']}'{why} and was not processed again {waited}."
    who = d["waits_for"] or d["system"]
    return f"{subject} has waited for {'the ' if d['waits_for'] else ''}{who} {waited}."


_source, _query, _plain = texts(__file__)
CHECK = Check(
    name="stuck_transaction",
    title="No claim waits longer at a step than its limit",
    objective="What has begun comes to an end, or somebody is told.",
    assertion="completeness, cut-off",
    catalogue="FIC-08",
    population=(
        "Each open step whose step before is done, with no later step done, except those in `owned`, "
        "which other controls watch."
    ),
    rule=(
        "The step is not past its limit, the `due` of the flow (elapsed time for a system, business time "
        "for a person); it did not fail `attempts` times within 24 hours, and was not undone `alternations` "
        "times. Limits are configured, never learned."
    ),
    due="The step's `due` in the flow, after the completion of the step before.",
    pending="The status time is not past the limit.",
    reasons={
        "WAITING_FOR_PERSON": "a person, by role, has not acted in time",
        "WAITING_FOR_SYSTEM": "a system has not acted in time",
        "RETRY_LOOP": "it is tried again and again",
        "PING_PONG": "it goes back and forth",
        "FAILED_NOT_REPROCESSED": "it failed, and nobody processed it again in time",
    },
    presence=frozenset({"RETRY_LOOP", "PING_PONG"}),
    excluded={
        "NO_LIMIT": "the flow gives the step no due time; listed as such",
        "ON_HOLD": "it is on hold for a reason, until a time that has not passed",
        "CANCELLED": "it was cancelled",
    },
    unevaluable={
        "NO_DUE_TIME": "its entity has no calendar",
        "SEVERAL_ANCHORS": "its transaction holds several claims, and the flow does not allow that",
    },
    traps=(
        "A person's limit counts business time",
        "A step without a limit",
        "A step that another control owns",
        "Failed, and then processed",
        "A later step is done",
        "Failed attempts on several days",
    ),
    evidence="The history of states.",
    parameters=Parameters,
    query=_query,
    source=_source,
    plain=_plain,
    sentence=sentence,
)
