"""Every posting and payment is reported back to its source in time (FIC-05)."""

from pydantic import Field

from collector.settings.definitions import Duration
from collector.settings.mapping import Definition, Kind
from collector.settings.parameters import NeededStep
from control_checks.contract import Check, Item, Telling, texts


class Parameters(Definition):
    """What is to be reported back, by which step, and how the source calls it.

    Postings and payments are two controls of this check: `of: posted` and `of: paid`.
    """

    of: NeededStep = Field("posted", description="The step whose documents are reported back")
    returned: NeededStep = Field("returned", description="The step by which the source shows them")
    due: Duration = "1 business day"
    number: Kind = Field("document_number", description="The attribute with the document's number")
    year: Kind = Field(
        "fiscal_year", description="The attribute, or the accounting field, with its fiscal year"
    )
    statuses: list[str] = Field(
        ["posted"],
        min_length=1,
        description="What the source may call it; the first is expected. Models differ: paid, cleared",
    )


def sentence(item: Item, telling: Telling) -> str:
    """Say what is wrong with one item."""
    d = item.details
    opening = (
        f"{telling.subject(item)}, {d['step']} on {telling.minute(item.basis_at)}, was due in its source "
        f"by {telling.minute(item.due_at)}"
    )
    match item.reason:
        case "NUMBER_DIFFERS":
            return f"{opening}, which shows {d['shown']} instead of {d['own']}."
        case "STATUS_DIFFERS":
            return f"{opening}, which shows it as '{d['shown_status'] or 'unknown'}' instead of '{d['status']}'."
        case _:
            return f"{opening}, which does not show it."


_source, _query, _plain = texts(__file__)
CHECK = Check(
    name="status_not_returned",
    title="Every posting and payment is reported back to its source in time",
    objective="Who claimed and who approved can see what became of it.",
    assertion="completeness",
    catalogue="FIC-05",
    population="Each document that does the step `of` at the status time: an accepted posting, or an executed payment.",
    rule="The source shows its number, its fiscal year and a status that means the same.",
    due="`due` after the posting or the payment.",
    pending="The status time is not past the due time.",
    reasons={
        "NOT_RETURNED": "the source shows nothing",
        "NUMBER_DIFFERS": "the source shows another number, or another year",
        "STATUS_DIFFERS": "the source shows another status",
    },
    excluded={},
    unevaluable={
        "NO_DUE_TIME": "its entity has no calendar",
        "NOT_NAMED": "a group document that none is known to name: who is to see it is not known",
    },
    traps=(
        "The source still shows what it had cached",
        "A partial payment",
        "Another model of statuses",
        "Leading zeros of a number",
        "Reversed and posted again",
    ),
    evidence="Both states with their times.",
    parameters=Parameters,
    query=_query,
    source=_source,
    plain=_plain,
    sentence=sentence,
)
