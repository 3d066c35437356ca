"""The expense platform's side: status changes in weekly JSON files, and what it was told and holds.

Beside each report's changes it keeps the confirmations of postings and payments that came back to it, and
its own copy of the list of cost centres. All its times are in UTC.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from api.demo.company import (
    PAYMENT_SHOWN_AFTER,
    SHOWN_AFTER,
    STATUS_TIME,
    Action,
    Claim,
    Company,
    CostCentre,
    Deed,
    Payment,
    Shown,
    Worker,
)
from api.demo.erp import Books, payment_number

COMPANY_ID = "685fa226-b72d-47f9-b9ad-e621de12d094"
TOPIC = "public.concur.expense.report"
_HREF = "https://emea.api.concursolutions.com/expensereports/v4/users"


class _Change(NamedTuple):
    """What a deed makes of a report: its approval status, and that of its payment."""

    approval: str
    payment: str


_CHANGES = {
    Deed.SUBMIT: _Change("A_PEND", "P_NOTP"),
    Deed.RESUBMIT: _Change("A_PEND", "P_NOTP"),
    Deed.MANAGER: _Change("A_PBDG", "P_NOTP"),
    Deed.FINAL: _Change("A_APPR", "P_PROC"),
    Deed.SEND_BACK: _Change("A_RESU", "P_NOTP"),
    Deed.REJECT: _Change("A_RESU", "P_NOTP"),
    Deed.RECALL: _Change("A_RESU", "P_NOTP"),
}
_NOT_SUBMITTED = _Change("A_NOTF", "P_NOTP")


def records(company: Company) -> list[dict[str, Any]]:
    """List all status changes in the order of their time."""
    changes = [change for claim in company.claims for change in _history(claim)]
    return sorted(changes, key=lambda record: (record["timeStamp"], record["id"]))


def _history(claim: Claim) -> Iterator[dict[str, Any]]:
    before, revision = _NOT_SUBMITTED, 1
    for number, action in enumerate(claim.timeline.actions):
        revision += action.deed is Deed.RESUBMIT
        yield _record(claim, number, action, before, revision)
        before = _CHANGES[action.deed]


def _record(
    claim: Claim, number: int, action: Action, before: _Change, revision: int
) -> dict[str, Any]:
    after, name = _CHANGES[action.deed], f"{claim.report_id}/{number}"
    by_name = f"{claim.owner.user_id}/context/TRAVELER/reports/{claim.report_id}"
    return {
        "id": str(uuid5(NAMESPACE_URL, f"event/{name}")),
        "correlationId": str(uuid5(NAMESPACE_URL, f"correlation/{name}")),
        "eventType": "statusChanged",
        "topic": TOPIC,
        "timeStamp": f"{action.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "facts": {
            "companyId": COMPANY_ID,
            "reportId": claim.report_id,
            "userId": str(claim.owner.user_id),
            "actingUserId": str(_actor(claim, action.deed)),
            "previousApprovalStatus": before.approval,
            "currentApprovalStatus": after.approval,
            "previousPaymentStatus": before.payment,
            "currentPaymentStatus": after.payment,
            "stepCode": action.deed.value,
            "href": f"{_HREF}/{by_name}",
        },
        "report": {
            "name": f"{claim.purpose} {claim.timeline.actions[0].at:%m/%Y}",
            "revisionNumber": revision,
            "employeeId": claim.owner.employee_id,
            "companyCode": claim.entity.code,
            "costCenter": claim.cost_centre,
            "project": claim.project,
            "totalClaimed": _money(claim, claim.claimed),
            "amountDueEmployee": _money(claim, claim.payable),
            "amountDueCompanyCard": _money(claim, _on_card(claim)),
            "offsetByCashAdvance": _money(claim, claim.advanced),
        },
    }


def _actor(claim: Claim, deed: Deed) -> UUID:
    actors: dict[Deed, Worker] = {
        Deed.MANAGER: claim.manager,
        Deed.FINAL: claim.budget_owner,
        Deed.SEND_BACK: claim.budget_owner,
        Deed.REJECT: claim.budget_owner,
    }
    return actors.get(deed, claim.owner).user_id


def _on_card(claim: Claim) -> int:
    return claim.claimed if claim.kind == "company_card" else 0


def _money(claim: Claim, minor: int) -> dict[str, str]:
    return {"value": claim.account.text(minor), "currencyCode": claim.account.currency}


_OTHER_NUMBER = 7_000_000
_NAME_LENGTH = 64


def confirmations(company: Company, books: Books) -> list[dict[str, Any]]:
    """List the posting confirmations in the order of their time."""
    told = [c for claim in company.claims if claim.is_claim for c in _confirmed(claim, books)]
    return sorted(told, key=lambda record: (record["confirmedAt"], record["id"]))


def _confirmed(claim: Claim, books: Books) -> Iterator[dict[str, Any]]:
    for index, posting in enumerate(claim.timeline.postings):
        if posting.shown is Shown.NOTHING or posting.is_parked:
            continue
        entry = books[claim.report_id, index, False]
        number = entry.number
        if posting.shown is Shown.OTHER_NUMBER:
            number = str(int(number) + _OTHER_NUMBER)
        at = posting.shown_at or posting.at + SHOWN_AFTER
        yield {
            "id": str(uuid5(NAMESPACE_URL, f"confirmation/{claim.report_id}/{index}")),
            "confirmedAt": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "reportId": claim.report_id,
            "companyId": claim.entity.code,
            "documentNumber": number,
            "fiscalYear": f"{posting.at:%Y}",
            "overallPostingStatusCode": "error" if posting.shown is Shown.AS_FAILED else "success",
        }


def payments(company: Company, books: Books) -> list[dict[str, Any]]:
    """List the payment confirmations in the order of their time."""
    told = [
        _paid(claim, n, books)
        for claim in company.claims
        for n in range(1, len(claim.timeline.payments) + 1)
    ]
    return sorted(chain(*told), key=lambda record: (record["confirmedAt"], record["id"]))


def payment_confirmations(payment: Payment) -> Iterator[tuple[datetime, str]]:
    """Say when the platform hears of a payment, and of its return, and what it is told."""
    for at, status in ((payment.settled_at, "paid"), (payment.returned_at, "returned")):
        if payment.is_shown and at and at + PAYMENT_SHOWN_AFTER < STATUS_TIME:
            yield at + PAYMENT_SHOWN_AFTER, status


def _paid(claim: Claim, number: int, books: Books) -> Iterator[dict[str, Any]]:
    entry, payment = books[claim.report_id, -number, False], claim.timeline.payments[number - 1]
    cleared = entry.amount if payment.combined else entry.amount - payment.short
    for at, status in payment_confirmations(payment):
        yield {
            "id": str(uuid5(NAMESPACE_URL, f"payment/{claim.report_id}/{number}/{status}")),
            "confirmedAt": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "reportId": claim.report_id,
            "companyId": claim.entity.code,
            "paymentNumber": payment_number(entry),
            "paymentAmount": _money(claim, cleared),
            "paymentStatusCode": status,
        }


def list_items(cost_centres: Sequence[CostCentre]) -> list[dict[str, Any]]:
    """List what the platform took over of the ERP's cost centres, in the order of its time."""
    taken = [
        {
            "code": centre.code,
            "name": value.name[:_NAME_LENGTH],
            "status": "active" if value.is_open else "inactive",
            "companyCode": centre.entity.code,
            "modifiedAt": f"{value.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        for centre in cost_centres
        for value in centre.held
    ]
    return sorted(taken, key=lambda item: (item["modifiedAt"], item["code"]))


def document(name: str, records: list[dict[str, Any]]) -> bytes:
    """Write a list of records as one JSON file that states how many it holds."""
    return msgspec.json.format(
        msgspec.json.encode({"count": len(records), name: records}), indent=1
    )


def files(changes: list[dict[str, Any]]) -> dict[str, bytes]:
    """Write one file per week, named by its Monday; each states how many events it holds."""
    weeks: dict[str, list[dict[str, Any]]] = {}
    for record in changes:
        day = datetime.fromisoformat(record["timeStamp"]).date()
        weeks.setdefault(f"{day - timedelta(day.weekday())}", []).append(record)
    return {f"reports-{monday}.json": _file(monday, events) for monday, events in weeks.items()}


def _file(monday: str, events: list[dict[str, Any]]) -> bytes:
    whole = {"topic": TOPIC, "week": monday, "count": len(events), "events": events}
    return msgspec.json.format(msgspec.json.encode(whole), indent=1)
