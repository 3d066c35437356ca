"""The middleware's side: one log per message between the expense platform and the ERP.

Written as data for a tenant on loopback that answers as the vendor's API does: the demo reads it over
HTTP, as it would be read at a customer. Most messages name the report that they carry, some do not.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

import msgspec

from api.demo.company import STATUS_TIME, Claim, Company

FLOW = "Expense_to_Ledger"
_AHEAD, _TOOK = timedelta(seconds=80), timedelta(seconds=12)
_QUIET = timedelta(minutes=15)


class Log(msgspec.Struct):
    """One message processing log; `report_id` is None where the message does not name its report."""

    guid: str
    started_at: datetime
    ended_at: datetime
    status: str
    correlation_id: str
    report_id: str | None
    flow: str = FLOW


def logs(company: Company) -> list[Log]:
    """List all logs in the order of their end."""
    made = [log for claim in company.claims if claim.is_claim for log in _of(claim)]
    return sorted(made, key=lambda log: (log.ended_at, log.guid))


def _of(claim: Claim) -> Iterator[Log]:
    told = claim.timeline
    postings = (p.at for p in told.postings if not p.by_hand and not p.replayed)
    delivered = [*postings, *(r.at for r in told.refusals)]
    delivered += [s.at for s in told.sendings if not s.failed]
    ended = {at - _AHEAD: "COMPLETED" for at in delivered}
    ended |= {s.at - _AHEAD: "FAILED" for s in told.sendings if s.failed}
    for at, status in ended.items():
        end = at.astimezone(UTC)
        name = f"{claim.report_id}/{end.isoformat()}"
        yield Log(
            guid=uuid5(NAMESPACE_URL, f"message/{name}").hex.upper()[:28],
            started_at=end - _TOOK,
            ended_at=end,
            status=status,
            correlation_id=uuid5(NAMESPACE_URL, f"scenario/{end:%Y-%m-%dT%H}").hex.upper()[:28],
            report_id=None if claim.keyless else claim.report_id,
        )


def present() -> datetime:
    """Return when the tenant is asked: what ends at T has been quiet for long enough then."""
    return (STATUS_TIME + _QUIET).astimezone(UTC)


def read(content: bytes) -> list[Log]:
    """Read the logs back."""
    return msgspec.json.decode(content, type=list[Log])


def document(made: list[Log]) -> bytes:
    """Write the logs as one JSON file."""
    return msgspec.json.format(msgspec.json.encode(made), indent=1)
