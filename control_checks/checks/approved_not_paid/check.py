"""Every finally approved claim is paid in time (FIC-03, payment form)."""

from pydantic import Field

from collector.model.money import from_minor
from collector.settings.definitions import Duration
from collector.settings.mapping import Definition
from collector.settings.parameters import NeededStep, StepIfAny
from control_checks.contract import Check, Item, Telling, source_and_query


class Parameters(Definition):
    """Which steps of the flow are meant, and when payment is due after the final approval."""

    due: Duration = Field("30 days", description="After the effective final approval")
    approved: NeededStep = "approved"
    paid: NeededStep = "paid"
    posted: StepIfAny = Field(
        "posted", description="Tells NOT_POSTED apart, where the flow has such a step"
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
        case "NOT_POSTED":
            return f"{unpaid}; it was never posted in the ledger."
        case _:
            return f"{unpaid}; it was never included in a payment run."


_source, _query = source_and_query(__file__)
CHECK = Check(
    name="approved_not_paid",
    title="Every finally approved claim is paid in time",
    objective="What was approved for payment reaches the payee.",
    assertion="completeness",
    catalogue="FIC-03",
    parameters=Parameters,
    query=_query,
    source=_source,
    sentence=sentence,
)
