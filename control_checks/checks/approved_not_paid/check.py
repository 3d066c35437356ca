"""Every finally approved claim is paid in time (FIC-03, payment form)."""

from pydantic import Field

from collector.model.money import from_minor
from collector.settings.definitions import Duration
from collector.settings.mapping import Definition, EventType
from collector.settings.parameters import NeededStep, StepIfAny
from control_checks.contract import Check, Item, Telling, texts


class Parameters(Definition):
    """Which steps of the flow are meant, and when payment is due after the final approval."""

    due: Duration = Field("30 days", description="After the effective final approval")
    approved: NeededStep = "approved"
    paid: NeededStep = Field(
        "paid", description="What paid means: the step done by execution, or by settlement"
    )
    posted: StepIfAny = Field(
        "posted", description="Tells NOT_POSTED apart, where the flow has such a step"
    )
    reasons: dict[EventType, str] = Field(
        {"payment.rejected": "REJECTED_BY_BANK", "payment.blocked": "BLOCKED"},
        description="The reason that an event type of `failed_by` stands for",
    )
    exclusions: dict[EventType, str] = Field(
        {
            "expense_report.nothing_payable": "ZERO_PAYABLE",
            "expense_report.company_paid": "COMPANY_PAID",
            "expense_report.offset_by_advance": "OFFSET_BY_ADVANCE",
        },
        description="The exclusion that an event type of `skip_when` stands for",
    )


def sentence(item: Item, telling: Telling) -> str:
    """Say what is wrong with one item."""
    since = telling.day(item.details["approved_at"])
    unpaid = f"{telling.subject(item)}, approved on {since}, is unpaid after {telling.days_since(item.basis_at)}"
    match item.reason:
        case "PARTLY_PAID":
            paid = from_minor(item.details["paid_minor"], str(item.currency))
            return f"{telling.subject(item)}, approved on {since}, is paid only in part: {paid}."
        case "RETURNED":
            return (
                f"{unpaid}; the payment was returned on {telling.day(item.details['undone_at'])}."
            )
        case "REJECTED_BY_BANK":
            why = item.details.get("message")
            return f"{unpaid}; the bank refused it" + (f": {why}." if why else ".")
        case "BLOCKED":
            why = item.details.get("message")
            return f"{unpaid}; it is blocked for payment" + (f": {why}." if why else ".")
        case "NOT_POSTED":
            return f"{unpaid}; it was never posted in the ledger."
        case _:
            return f"{unpaid}; it was never included in a payment run."


_source, _query, _plain = texts(__file__)
CHECK = Check(
    name="approved_not_paid",
    title="Every finally approved claim is paid in time",
    objective="What was approved for payment reaches the payee.",
    assertion="completeness",
    catalogue="FIC-03",
    population=(
        "Each claim whose final approval is effective at the status time: the last one, with no later "
        "rejection, withdrawal, resubmission or change of amount."
    ),
    rule=(
        "The payments, net of what was returned, reach the payable amount, in its currency: what was approved "
        "and what the flow documents under `compare` as its components (an advance, a personal share)."
    ),
    due="`due` after the approval, 30 calendar days by default.",
    pending="The status time is not past the due time.",
    reasons={
        "NOT_POSTED": "it was never posted in the ledger",
        "BLOCKED": "it is blocked for payment: a reason, not an exclusion",
        "NOT_IN_RUN": "it is posted, and no payment run took it",
        "REJECTED_BY_BANK": "the bank refused the payment",
        "RETURNED": "the payment came back",
        "PARTLY_PAID": "the payments, net of returns, are less than the payable amount",
    },
    excluded={
        "ZERO_PAYABLE": "nothing is payable to the payee",
        "COMPANY_PAID": "the company has paid the merchant itself",
        "OFFSET_BY_ADVANCE": "an advance has covered it",
    },
    unevaluable={
        "OTHER_CURRENCY": "it was paid in another currency than it was claimed in, or in several: amounts are never netted across currencies",
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
        "A personal share",
        "Several payments of one claim",
        "Returned and sent again",
        "Charges are no return",
    ),
    evidence="The approval, the posting, and every payment with the bank's answer.",
    parameters=Parameters,
    query=_query,
    source=_source,
    plain=_plain,
    sentence=sentence,
)
