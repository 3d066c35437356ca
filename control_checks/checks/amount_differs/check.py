"""Every amount is the same at each step (FIC-09)."""

import msgspec
from pydantic import Field

from collector.model.money import from_minor
from collector.settings.mapping import Definition
from collector.settings.parameters import StepIfAny
from control_checks.contract import Check, Item, Telling, texts


class Parameters(Definition):
    """What counts as rounding. Which steps are compared, the flow says under `compare`.

    Rounding is allowed for lines that a document says it has, in its attribute `lines`.
    """

    rounding_minor: int = Field(1, ge=0, description="Allowed for each line, in minor units")
    rounding_minor_max: int = Field(5, ge=0, description="Allowed for a whole document")
    posted: StepIfAny = Field(
        "posted", description="The step of which `duplicate_posting` owns what is done twice"
    )


def sentence(item: Item, telling: Telling) -> str:
    """Say what is wrong with one item."""
    opening = _opening(item, telling)
    if item.reason == "CURRENCY":
        return f"{opening}: amounts are never netted across currencies."
    difference = item.difference_minor or 0
    much = "too much" if difference > 0 else "too little"
    told = f"{opening}: {from_minor(abs(difference), str(item.currency))} {much}"
    why = {
        "SIGN": "; the sign is reversed",
        "SCALE": f"; it is off by a factor of {item.reason[6:-1]}",
        "EQUALS_TAX": ", which is just the tax",
        "PARTLY_OVERDUE": f"; the rest was due by {telling.minute(item.due_at)}",
        "OVER_ROUNDING": f", more than {item.details.get('lines')} lines may be rounded by",
    }
    return f"{told}{why.get(item.reason.partition('(')[0], '')}."


def _opening(item: Item, telling: Telling) -> str:
    d, currency = item.details, str(item.currency)
    noun = telling.subject(_bare(item))
    right = "several currencies"
    if "right_minor" in d:
        right = from_minor(d["right_minor"], d["right_currency"])
    left = f"{d['left']} for {from_minor(d['left_minor'], currency)}"
    if d.get("components_minor"):
        left += f", of which {from_minor(d['components_minor'], currency)} is documented otherwise,"
    if d["grain"] == "group":
        return f"{noun} is {right} and settles items {left} ({item.entity})"
    names = " ".join(filter(None, [item.entity, d["names"]]))
    return f"{noun} was {left} and {d['right']} for {right} ({names})"


def _bare(item: Item) -> Item:
    """Leave out what the sentence says later."""
    return msgspec.structs.replace(item, entity=None, amount_minor=None)


_source, _query, _plain = texts(__file__)
CHECK = Check(
    name="amount_differs",
    title="Every amount is the same at each step",
    objective="What is posted and paid is what was approved, to the minor unit.",
    assertion="accuracy",
    catalogue="FIC-09",
    population=(
        "Each pair of steps that the flow declares under `compare`, where both stand done at the status "
        "time: by claim, or, with the grain `group`, by the document that settles several items."
    ),
    rule=(
        "Right less left less the documented components (advance, personal share, withholding, charges; "
        "each a fact) is within the tolerance, by default 0, and what lines may be rounded by: a minor unit "
        "a line, at most 5 a document."
    ),
    due="For a step that may come in parts (`in_parts`), its due time in the flow; otherwise at once.",
    pending="Part of the amount came, and the status time is not past the due time of the step.",
    reasons={
        "AMOUNT": "the amounts differ",
        "CURRENCY": "the currencies differ",
        "SIGN": "the sign is reversed",
        "SCALE": "it is off by a factor of 10, 100 or 1,000",
        "EQUALS_TAX": "the difference is just the tax",
        "PARTLY_OVERDUE": "part of the amount is overdue",
        "OVER_ROUNDING": "it looks like rounding, and is more than may be rounded",
    },
    presence=frozenset({"AMOUNT", "CURRENCY", "SIGN", "SCALE", "EQUALS_TAX", "OVER_ROUNDING"}),
    excluded={"DUPLICATE": "it is posted twice, which `duplicate_posting` owns"},
    unevaluable={
        "NO_AMOUNT": "a document carries no amount, or the left side is in several currencies",
        "NO_DUE_TIME": "part of the amount came, and nothing says when the rest is due",
        "SEVERAL_ANCHORS": "its transaction holds several claims: compare by the grain `group`",
    },
    traps=(
        "A personal share",
        "Withholding and charges",
        "A tip",
        "Net versus gross",
        "Document currency versus local currency",
        "A currency without minor units",
        "A currency with three decimals",
        "Rounding by line",
        "One payment for several claims",
        "A posting in several documents",
        "Reversed and posted again",
        "A part before its due time",
    ),
    evidence="Both amounts, the documents that they come from, and every component with its fact.",
    parameters=Parameters,
    query=_query,
    source=_source,
    plain=_plain,
    sentence=sentence,
)
