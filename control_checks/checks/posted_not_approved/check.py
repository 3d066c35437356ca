"""Every posted interface document has an approved source (FIC-04)."""

from pydantic import Field

from collector.settings.definitions import Duration
from collector.settings.mapping import Definition, Kind
from collector.settings.parameters import NeededStep
from control_checks.contract import Check, Item, Telling, texts


class Parameters(Definition):
    """Which documents are the interface's, and how long the source may take to show their origin.

    A document is the interface's if one of the attributes in `interface` (or its actor) has one of the
    values; without `interface`, each that does the step `posted`.
    """

    posted: NeededStep = "posted"
    approved: NeededStep = "approved"
    interface: dict[Kind, list[str]] = Field(
        {}, description="Document type, batch user (`actor`) or source code: attribute and values"
    )
    ledgers: list[str] = Field(
        ["0L"],
        min_length=1,
        description="Leading ledgers; a document that names none is in the leading one",
    )
    grace: Duration = Field("1 business day", description="How much later the source may show it")
    look_back_days: int = Field(
        35, ge=1, description="How long before the posting it may have been approved"
    )
    migration: list[str] = Field([], description="Document types of opening balances")
    manual: list[str] = Field([], description="Document types that are declared as manual")
    rejected: Kind = Field("rejected", description="The end state of the flow that means rejected")


def sentence(item: Item, telling: Telling) -> str:
    """Say what is wrong with one item."""
    d = item.details
    by = f" by {d['user']}" if d.get("user") else ""
    opening = f"{telling.subject(item)} was posted on {telling.minute(d['posted_at'])}{by}"
    match item.reason:
        case "SOURCE_REJECTED":
            return f"{opening}, but its source {d['source']} was rejected."
        case "SOURCE_NOT_APPROVED":
            return f"{opening}, but its source {d['source']} is not approved."
        case "LINK_BROKEN":
            return f"{opening} and names the source {d['named']}, which does not exist there."
        case _:
            return f"{opening} and names no source."


_source, _query, _plain = texts(__file__)
CHECK = Check(
    name="posted_not_approved",
    title="Every posted interface document has an approved source",
    objective="Nothing reaches the ledger through the interface that nobody has approved.",
    assertion="occurrence, authorisation",
    catalogue="FIC-04",
    population=(
        "Each document of the interface that stands posted in the leading ledger at the status time. A "
        "reversal follows its original: what is reversed stands no longer."
    ),
    rule="A source transaction with an effective final approval is linked to it by identity.",
    due="`grace` after the posting.",
    pending=(
        "Until the source's stream is complete to the due time: a late feed of the source is no orphan."
    ),
    reasons={
        "NO_SOURCE": "it names no source document",
        "LINK_BROKEN": "it names a source document that the source does not have",
        "SOURCE_NOT_APPROVED": "its source is not approved",
        "SOURCE_REJECTED": "its source was rejected",
    },
    excluded={
        "MIGRATION": "a document type of opening balances",
        "DECLARED_MANUAL_TYPE": "a document type that is declared as manual",
    },
    unevaluable={"NO_DUE_TIME": "its entity has no calendar"},
    traps=(
        "Opening balances of a migration",
        "A reversal",
        "A reversal with a number of its own",
        "A late feed of the source",
        "A document of another ledger",
        "A document that is not the interface's",
        "A parked document",
    ),
    evidence="The posting user and source code, and when each side was first seen.",
    parameters=Parameters,
    query=_query,
    source=_source,
    plain=_plain,
    sentence=sentence,
    waits_for_streams=True,
)
