"""Nothing is committed without an effective final approval (FIC-31)."""

from typing import Literal

from pydantic import Field

from collector.settings.mapping import Definition, EventType, Kind
from collector.settings.parameters import NeededStep
from control_checks.contract import Check, Item, Telling, texts

SubTest = Literal["before", "after", "self"]


class Parameters(Definition):
    """Which step commits, which approves, and which sub-tests the data can answer.

    `before`: no effective final approval before the commitment; `after`: approved more than
    `grace_minutes` after it (both are one question here); `self`: approved by the submitter.
    """

    commitment: NeededStep = Field(
        "posted", description="The committing step: posting, or payment where no ledger is read"
    )
    approved: NeededStep = "approved"
    grace_minutes: int = Field(2, ge=0, description="How far the two clocks may differ")
    sub_tests: list[SubTest] = Field(
        ["before", "after"],
        description="`self` only where records name persons that can be compared",
    )
    submitted: list[EventType] = Field([], description="Event types whose actor is the submitter")
    beneficiary: Kind | None = Field(
        None, description="The attribute of those events that names who gets the money"
    )
    system_users: list[str] = Field(
        [], description="Actors that are no persons: they approve for nobody, themselves included"
    )
    automatic: list[EventType] = Field(
        [],
        description="Approvals by a policy: they count if they carry the attributes `policy` and `policy_version`",
    )
    changes: list[str] = Field(
        ["submitted", "resubmitted", "saved", "changed", "amended"],
        description="Verbs of events that undo an approval by a change rather than by a refusal",
    )


def sentence(item: Item, telling: Telling) -> str:
    """Say what is wrong with one item."""
    d = item.details
    opening = f"{telling.subject(item)} was committed ({str(d['commitment']).lower()}) on {telling.minute(d['committed_at'])}"
    match item.reason:
        case "AFTER_COMMIT":
            return (
                f"{opening}, before its final approval on {telling.minute(d['approved_later_at'])}."
            )
        case "SUPERSEDED_BY_CHANGE":
            return f"{opening}, but it was changed on {telling.minute(d['undone_at'])}, after its final approval."
        case "REJECTED_AFTER":
            return (
                f"{opening}, but its approval was taken back on {telling.minute(d['undone_at'])}."
            )
        case "SELF":
            return f"{opening} with the final approval of the person who submitted it or gets the money."
        case _:
            last = f"; the last step was '{d['last']}'" if d.get("last") else ""
            return f"{opening} without a final approval{last}."


_source, _query, _plain = texts(__file__)
CHECK = Check(
    name="approval_missing",
    title="Nothing is committed without an effective final approval",
    objective="Only what somebody entitled has approved is posted or paid.",
    assertion="authorisation",
    catalogue="FIC-31",
    population="Each claim that is committed at the status time: posted, or paid where no ledger is read.",
    rule=(
        "A final approval was effective when it was committed, or came within `grace_minutes` after; with "
        "the sub-test `self`, by neither the submitter nor the beneficiary. Sub-tests that the data cannot "
        "answer are noted in each run as not tested. Limits of approvers are not tested: no limits are read."
    ),
    due="",
    pending="Nothing: it is judged as soon as it is committed.",
    reasons={
        "NONE": "there was no final approval",
        "AFTER_COMMIT": "the final approval came after the commitment",
        "SUPERSEDED_BY_CHANGE": "it was changed after its final approval",
        "REJECTED_AFTER": "its final approval was taken back",
        "SELF": "the approver is the submitter or the beneficiary",
    },
    presence=frozenset({"SELF"}),
    excluded={},
    unevaluable={
        "PERSON_UNKNOWN": "`self` is asked for, and nobody knows who approved or submitted",
        "SEVERAL_ANCHORS": "its transaction holds several claims, and the flow does not allow that",
    },
    traps=(
        "Two clocks that differ by two minutes",
        "Approved by a policy that is cited with its version",
        "A system user",
        "A change that leaves the amount as it is",
        "Rejected once, and approved afterwards",
    ),
    evidence="The chain of approvals with the persons, and the commitment.",
    parameters=Parameters,
    query=_query,
    source=_source,
    plain=_plain,
    sentence=sentence,
    not_tested=lambda p: [t for t in ("before", "after", "self") if t not in p.sub_tests],
)
