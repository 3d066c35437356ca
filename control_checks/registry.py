"""The checks there are: one line each, sorted by name."""

from control_checks.checks.amount_differs import check as amount_differs
from control_checks.checks.approval_missing import check as approval_missing
from control_checks.checks.approved_not_paid import check as approved_not_paid
from control_checks.checks.approved_not_posted import check as approved_not_posted
from control_checks.checks.duplicate_posting import check as duplicate_posting
from control_checks.checks.posted_not_approved import check as posted_not_approved
from control_checks.checks.stale_dimension import check as stale_dimension
from control_checks.checks.status_not_returned import check as status_not_returned
from control_checks.checks.stuck_transaction import check as stuck_transaction
from control_checks.checks.weak_key import check as weak_key
from control_checks.contract import Check

CHECKS: dict[str, Check] = {
    "amount_differs": amount_differs.CHECK,
    "approval_missing": approval_missing.CHECK,
    "approved_not_paid": approved_not_paid.CHECK,
    "approved_not_posted": approved_not_posted.CHECK,
    "duplicate_posting": duplicate_posting.CHECK,
    "posted_not_approved": posted_not_approved.CHECK,
    "stale_dimension": stale_dimension.CHECK,
    "status_not_returned": status_not_returned.CHECK,
    "stuck_transaction": stuck_transaction.CHECK,
    "weak_key": weak_key.CHECK,
}
