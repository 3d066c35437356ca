"""No claim waits longer at a step than the step's limit (FIC-08)."""

from pydantic import Field

from collector.settings.mapping import Definition
from collector.settings.parameters import StepsIfAny
from control_checks.contract import Check, Item, Telling, source_and_query


class Parameters(Definition):
    """Which steps other controls own, and what counts as going round in circles.

    The limit of a step is its `due` in the flow: configured, never learned, for a slow interface must
    not loosen its own control.
    """

    owned: StepsIfAny = Field(["posted", "paid"], description="Steps that other controls watch")
    attempts: int = Field(5, ge=2, description="Failed attempts within 24 hours")
    alternations: int = Field(3, ge=2, description="How often a step was undone again")


def sentence(item: Item, telling: Telling) -> str:
    """Say what is wrong with one item."""
    subject, d = telling.subject(item), item.details
    if item.reason == "RETRY_LOOP":
        return f"{subject} failed {d['burst']} times within 24 hours at '{d['title']}'."
    if item.reason == "PING_PONG":
        return f"{subject} goes back and forth: '{d['title']}' was undone {d['undone']} times."
    waited = f"since {telling.minute(item.basis_at)} ({telling.days_since(item.basis_at)}); the limit is {d['rule']}"
    if item.reason == "FAILED_NOT_REPROCESSED":
        why = f" ({d['message']})" if d.get("message") else ""
        return f"{subject} failed at '{d['title']}'{why} and was not processed again {waited}."
    who = d["waits_for"] or d["system"]
    return f"{subject} has waited for {'the ' if d['waits_for'] else ''}{who} {waited}."


_source, _query = source_and_query(__file__)
CHECK = Check(
    name="stuck_transaction",
    title="No claim waits longer at a step than its limit",
    objective="What has begun comes to an end, or somebody is told.",
    assertion="completeness, cut-off",
    catalogue="FIC-08",
    parameters=Parameters,
    query=_query,
    source=_source,
    sentence=sentence,
)
