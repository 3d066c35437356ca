"""One transfer that pays several claims: what an employee gets in one payment run, put together.

The ledger pays claim by claim and names the transfer with each payment; the bank sees the transfer alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from api.demo.bank import LOST_DAYS
from api.demo.company import ENTITIES, Claim, Company, Dice
from api.demo.plan import COMBINED, COMBINED_SHORT, COMBINED_WHOLE, ORDINARY, Plot

_CLAIMS = 3
_SHORT = 500


def combine(company: Company, seed: int) -> Company:
    """Put ordinary claims of the same payee and payment run together, three to a transfer."""
    rng, changed = Dice(seed), dict[str, Claim]()
    for number, entity in enumerate(ENTITIES):
        whole, short = COMBINED_WHOLE.planted[number] // _CLAIMS, COMBINED_SHORT.planted[number]
        together = _together(claim for claim in company.claims if claim.entity is entity)
        for n, members in enumerate(rng.sample(together, whole + short)):
            transfer = _transfer(members, COMBINED_SHORT if n >= whole else COMBINED_WHOLE)
            changed |= {claim.report_id: claim for claim in transfer}
    claims = tuple(changed.get(claim.report_id, claim) for claim in company.claims)
    return replace(company, claims=claims)


def _together(claims: Iterable[Claim]) -> list[list[Claim]]:
    """List what could be paid in one transfer: three claims each."""
    found: dict[tuple[str, str, datetime], list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.label == ORDINARY.label:
            (payment,) = claim.timeline.payments
            if not LOST_DAYS[0] <= payment.settled_at.date() <= LOST_DAYS[1]:
                key = claim.owner.employee_id, claim.account.currency, payment.run_at
                found[key].append(claim)
    return [members[:_CLAIMS] for members in found.values() if len(members) >= _CLAIMS]


def _transfer(members: Sequence[Claim], plot: Plot) -> list[Claim]:
    """Pay claims in one transfer; where the bank pays it short, the first one is the defect."""
    first = members[0]
    payments = [claim.timeline.payments[0] for claim in members]
    settled_at = max(payment.settled_at for payment in payments)
    day = f"{payments[0].run_at:%Y%m%d}"
    name = f"{first.entity.code}-{day}-{first.owner.employee_id}-{first.account.currency}"
    out = []
    for claim, payment in zip(members, payments, strict=True):
        is_short = plot is COMBINED_SHORT and claim is first
        paid = payment._replace(
            settled_at=settled_at, combined=name, short=_SHORT if is_short else 0
        )
        told = replace(claim.timeline, payments=(paid,))
        label, kind = (plot.label, plot.kind) if is_short else (COMBINED, "together")
        out.append(replace(claim, label=label, kind=kind, timeline=told))
    return out
