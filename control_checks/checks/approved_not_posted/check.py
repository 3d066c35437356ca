"""Every finally approved claim is posted in the ledger in time (FIC-03)."""

from datetime import datetime

from pydantic import Field

from collector.settings.definitions import Duration
from collector.settings.mapping import Definition, EventType, Kind
from collector.settings.parameters import NeededStep, StepIfAny
from control_checks.contract import Check, Item, Telling, texts


class Parameters(Definition):
    """Which steps of the flow are meant, and when posting is due after the final approval."""

    due: Duration | None = Field(None, description="By default the due time of the step `posted`")
    due_at_period_end: Duration | None = Field(
        None,
        description="For what is approved in the last three business days of a month, for example `2 hours`",
    )
    approved: NeededStep = "approved"
    posted: NeededStep = "posted"
    sent: StepIfAny = Field(
        "sent", description="Tells NO_DOCUMENT from NEVER_SENT, where the flow has it"
    )
    go_live: datetime | None = Field(None, description="What was approved before it is excluded")
    test: Kind = Field("test", description="The end state of the flow that marks a test")
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


_source, _query, _plain = texts(__file__)
CHECK = Check(
    name="approved_not_posted",
    title="Every finally approved claim is posted in time",
    objective="What was approved reaches the ledger, in the right period.",
    assertion="completeness, cut-off",
    catalogue="FIC-03",
    population=(
        "Each claim whose final approval is effective at the status time: the last one, with no later "
        "rejection, withdrawal, resubmission or change of amount."
    ),
    rule=(
        "At least one posted document is linked to it by identity, and not reversed at the status time. Which "
        "ledger leads is settled by the mapping: the step is done by events of the leading one. Of a claim that "
        "several companies share, one posting is enough here: `amount_differs` asks for the whole amount."
    ),
    due=(
        "`due` after the approval; by default the due time of the step `posted` in the flow. "
        "`due_at_period_end`, if given, for what is approved in the last three business days of a period: a "
        "calendar month by the clock of the entity, since no other fiscal periods are configured. What comes "
        "after the cut-off counts for the next business day, here too."
    ),
    pending="The status time is not past the due time: in transit.",
    reasons={
        "NEVER_SENT": "it was never handed to the ledger",
        "SEND_FAILED": "sending it failed, and it was not sent again",
        "REFUSED_BY_ERP": "the ledger refused the last attempt",
        "PARKED": "a document was parked, which is not posted",
        "NO_DOCUMENT": "it was sent, and no document came of it",
        "REVERSED_NOT_REPOSTED": "the posting was reversed and not made again",
    },
    excluded={
        "ZERO_PAYABLE": "nothing is payable",
        "TEST": "the flow marks it as a test",
        "BEFORE_GO_LIVE": "it was approved before `go_live`",
    },
    unevaluable={
        "NO_DUE_TIME": "there is no rule for its due time, or its entity has no calendar",
        "SEVERAL_ANCHORS": "its transaction holds several claims, and the flow does not allow that",
    },
    traps=(
        "A claim of zero",
        "A wholly personal claim",
        "Waiting for a scheduled payment run",
        "The approval was withdrawn",
        "Rejected, or submitted anew, after the approval",
        "The amount changed after the approval",
        "The entity was not yet live",
        "A claim settled against an advance stays in",
        "A posting that became known later",
    ),
    evidence="The approval, and every attempt to post with the ledger's answer.",
    parameters=Parameters,
    query=_query,
    source=_source,
    plain=_plain,
    sentence=sentence,
)
