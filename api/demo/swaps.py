"""Two payments of one run whose amounts the bank swaps: the sum is right, its list of payments is not."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from api.demo.company import DE10, Claim, Company, Dice
from api.demo.plan import ORDINARY, SWAPPED_LESS, SWAPPED_MORE, Plot
from api.demo.stories import EARLY_APPROVED

_TIMES_MAX = 9
"""Paid more than that times as much, an amount looks as if it had lost a decimal."""


def swap(company: Company, seed: int) -> Company:
    """Let DE10's bank pay to two claims of a run what is due to the other."""
    changed: dict[str, Claim] = {}
    for less, more in Dice(seed).sample(list(_pairs(company.claims)), SWAPPED_MORE.planted[0]):
        distance = more.payable - less.payable
        changed[less.report_id] = _paid(less, SWAPPED_MORE, -distance)
        changed[more.report_id] = _paid(more, SWAPPED_LESS, distance)
    claims = tuple(changed.get(claim.report_id, claim) for claim in company.claims)
    return replace(company, claims=claims)


def _pairs(claims: Iterable[Claim]) -> Iterator[tuple[Claim, Claim]]:
    """Yield of each run two ordinary claims that are overdue by now, the smaller one first."""
    runs: dict[datetime, list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.entity is DE10 and claim.label == ORDINARY.label:
            (payment,), approved = claim.timeline.payments, claim.timeline.actions[-1]
            if approved.at.date() <= EARLY_APPROVED:
                runs[payment.run_at].append(claim)
    for members in runs.values():
        members.sort(key=lambda claim: claim.payable)
        pairs = (p for p in pairwise(members) if _are_alike(*p))
        yield from list(pairs)[-1:]


def _are_alike(less: Claim, more: Claim) -> bool:
    return less.payable < more.payable <= _TIMES_MAX * less.payable


def _paid(claim: Claim, plot: Plot, short: int) -> Claim:
    payment = claim.timeline.payments[0]._replace(short=short)
    told = replace(claim.timeline, payments=(payment,))
    return replace(claim, label=plot.label, kind=plot.kind, timeline=told)
