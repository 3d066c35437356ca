"""Every finally approved claim is posted in the ledger in time (FIC-03)."""

from datetime import datetime

from pydantic import Field

from collector.settings.definitions import Duration
from collector.settings.mapping import Definition, EventType
from collector.settings.parameters import NeededStep, StepIfAny
from control_checks.contract import Check, Item, Telling, source_and_query


class Parameters(Definition):
    """Which steps of the flow are meant, and when posting is due after the final approval."""

    due: Duration | None = Field(None, description="By default the due time of the step `posted`")
    approved: NeededStep = "approved"
    posted: NeededStep = "posted"
    sent: StepIfAny = Field(
        "sent", description="Tells NO_DOCUMENT from NEVER_SENT, where the flow has it"
    )
    go_live: datetime | None = Field(None, description="What was approved before it is excluded")
    reasons: dict[EventType, str] = Field(
        {
            "journal.refused": "REFUSED_BY_ERP",
            "journal.parked": "PARKED",
            "message.failed": "SEND_FAILED",
        },
        description="The reason that an event type of `failed_by` stands for",
    )


def sentence(item: Item, telling: Telling) -> str:
    """Say what is wrong with one item."""
    opening = (
        f"{telling.subject(item)} was approved on {telling.minute(item.details['approved_at'])} and due "
        f"in the ledger by {telling.minute(item.due_at)}. By {telling.minute(telling.as_of)} it is not posted"
    )
    message = item.details.get("message")
    why = f": {message}" if message else ""
    match item.reason:
        case "REFUSED_BY_ERP":
            return f"{opening}; the last attempt was refused{why}."
        case "SEND_FAILED":
            return f"{opening}; sending it failed{why}."
        case "PARKED":
            return f"{opening}; it is parked{why}."
        case "REVERSED_NOT_REPOSTED":
            return f"{opening}: the posting was reversed on {telling.day(item.details['undone_at'])} and not made again."
        case "NO_DOCUMENT":
            return f"{opening}; it was sent on {telling.minute(item.details['sent_at'])}, but no document came of it."
        case _:
            return f"{opening}; it was never sent."


_source, _query = source_and_query(__file__)
CHECK = Check(
    name="approved_not_posted",
    title="Every finally approved claim is posted in time",
    objective="What was approved reaches the ledger, in the right period.",
    assertion="completeness, cut-off",
    catalogue="FIC-03",
    parameters=Parameters,
    query=_query,
    source=_source,
    sentence=sentence,
)
