"""No key names more documents than one business case can have (`core.md` 1)."""

from pydantic import Field

from collector.model.words import counted
from collector.settings.mapping import Definition, Kind
from control_checks.contract import Check, Item, Telling, texts


class Parameters(Definition):
    """Which keys are looked at.

    How many documents a key may name is not said here: it is what correlation goes by, `max_documents` of
    the kind or of `limits`.
    """

    kinds: list[Kind] = Field([], description="Kinds of keys; by default all")


def sentence(item: Item, telling: Telling) -> str:
    """Say what is wrong with one item."""
    d, subject = item.details, telling.subject(item)
    names = f"{subject} names {counted(d['documents'], 'document')}"
    if item.reason == "TOO_LARGE":
        return (
            f"{names}, more than any other key of {counted(d['within'], 'document')} that would be one transaction; "
            "each of them stands alone until a key is mapped as a group, or cut."
        )
    return (
        f"{names} (limit {d['limit']}), so it joins none of them. If it is a default, have its senders leave it "
        "out, or list it in `defaults` of its kind; if it is shared by nature, map it as a group."
    )


_source, _query, _plain = texts(__file__)
CHECK = Check(
    name="weak_key",
    title="No key names more documents than one business case can have",
    objective="No key joins strangers; and what stands alone because of one is known by its name.",
    assertion="accuracy, occurrence",
    catalogue="none: a control of correlation itself",
    population=(
        "Each key, a document's own name or an identity reference that nobody cut, that at least two documents hold as "
        "known at K, of whatever flow: a key joins across all of them."
    ),
    rule=(
        "It names no more documents than `max_documents` of its kind, and those that are joined by it and other keys "
        "are no more than 1,000: above, nothing is joined, whatever the order in which things arrived."
    ),
    due="",
    pending="Never.",
    reasons={
        "TOO_MANY": "it names more documents than a key of its kind can",
        "TOO_LARGE": "of the keys of a transaction that is too large it names the most documents: one exception for all",
    },
    presence=frozenset({"TOO_MANY", "TOO_LARGE"}),
    excluded={},
    unevaluable={},
    traps=(
        "A payment run names hundreds of claims as their group",
        "A default that is only searched",
        "A key at its limit",
    ),
    evidence="The key, how many documents it names, and the limit.",
    parameters=Parameters,
    query=_query,
    source=_source,
    plain=_plain,
    sentence=sentence,
)
