"""Every source document is posted once (FIC-16)."""

from pydantic import Field

from collector.model.money import from_minor
from collector.settings.mapping import Definition, Kind
from collector.settings.parameters import NeededStep, StepIfAny
from control_checks.contract import Check, Item, Telling, texts


class Parameters(Definition):
    """Which documents are looked at, and what tells the interface's from those that persons enter.

    The key of a posting is made of its attributes `source_system`, `source_document` (by default the
    number of the claim that it belongs to), `revision`, and `line` or `allocation`, and its entity.
    """

    posted: NeededStep = "posted"
    approved: StepIfAny = Field("approved", description="Whose amount the postings may sum up to")
    paid: StepIfAny = Field("paid", description="Tells whether it is paid already")
    interface: dict[Kind, list[str]] = Field(
        {}, description="Document type, batch user (`actor`) or source code: attribute and values"
    )
    ledgers: list[str] = Field(
        ["0L"],
        min_length=1,
        description="Leading ledgers; a document that names none is in the leading one",
    )


def sentence(item: Item, telling: Telling) -> str:
    """Say what is wrong with one item."""
    d = item.details
    amount = from_minor(item.amount_minor or 0, str(item.currency))
    times = "twice" if d["nth"] == 2 else f"{d['nth']} times"  # noqa: PLR2004 -- a word for two
    opening = (
        f"{telling.noun} {d['source']} is posted {times} in {item.entity}: {d['original']} "
        f"({telling.day(d['original_at'])}) and {item.number} ({telling.day(item.basis_at)}), {amount} each"
    )
    if item.reason == "REVERSED_IN_LATER_PERIOD":
        told = (
            f"{opening}; one of them was reversed on {telling.day(d['reversed_at'])}, in a later period. "
            f"Overstated by {amount} until then"
        )
    else:
        how = {
            "INTERFACE_AND_MANUAL": ", one of them by hand",
            "REPLAYED": ", from the same message",
        }
        told = f"{opening}{how.get(item.reason, '')}, no reversal. Overstated by {amount}"
    unseen = "" if telling.complete else " A later reversal would not be visible."
    return f"{told}; {_paid(d['paid_minor'], d['approved_minor'])}.{unseen}"


def _paid(paid_minor: int, approved_minor: int | None) -> str:
    if not paid_minor:
        return "not yet paid"
    return "paid more than once" if paid_minor > (approved_minor or 0) else "paid once"


_source, _query, _plain = texts(__file__)
CHECK = Check(
    name="duplicate_posting",
    title="Every source document is posted once",
    objective="Nothing is in the ledger twice.",
    assertion="occurrence",
    catalogue="FIC-16",
    population=(
        "Each posted document of the leading ledger, by source system, source document, revision, line or "
        "allocation (if sent) and company code. What was reversed within the period of its posting is not in it."
    ),
    rule=(
        "After reversals are netted, at the end of any period up to the status time, at most one set of "
        "documents stands for each key. The earliest entry is the original; each later one is an exception "
        "with its own amount. Without line keys: documents with equal account, amount and currency, as far "
        "as the postings of the claim sum up to more than what was approved."
    ),
    due="",
    pending="Nothing: what is there is proven. Where the ledger is not complete, the sentence says so.",
    reasons={
        "RESENT": "it was sent again",
        "REPLAYED": "the same message was processed again",
        "INTERFACE_AND_MANUAL": "one came by the interface, one was entered by hand",
        "REVERSED_IN_LATER_PERIOD": "one was reversed, but in a later period: the earlier one is overstated",
    },
    presence=frozenset({"RESENT", "REPLAYED", "INTERFACE_AND_MANUAL", "REVERSED_IN_LATER_PERIOD"}),
    excluded={},
    unevaluable={
        "NO_SOURCE_DOCUMENT": "it names no source document: `posted_not_approved` looks at it",
        "APPROVED_UNKNOWN": "it equals another one, has no line key, and nobody knows what was approved",
    },
    traps=(
        "Reversed and posted again",
        "Posted again in the next period, after its reversal",
        "A split at the limit of lines",
        "A split by company code",
        "A delta of a new revision",
        "A posting of zero",
        "Two equal lines of one report",
        "The same record delivered twice",
        "Reversed within the period",
        "A parallel ledger",
    ),
    evidence="The chain of postings with reversals netted.",
    parameters=Parameters,
    query=_query,
    source=_source,
    plain=_plain,
    sentence=sentence,
)
