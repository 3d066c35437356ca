"""Which pairs of candidates are linked: pure, and a function of the pairs, whatever their order.

A pair is linked if its score is high enough, all that could rival it is known, and every rival of either
document is lower by the margin. What is linked sets its lower rivals aside, which may leave others
without a rival: that goes on until nothing follows any more. Two such pairs never share a document, and what one
sets aside is never needed by another; so there is one result, and whoever knows more finds no less.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Pair(NamedTuple):
    """Two documents that may belong together, by content id.

    `apart_s`: seconds from one to the other. `settled`: whatever may rival it is known.
    """

    left: bytes
    right: bytes
    score: int
    apart_s: int
    settled: bool
    likeness: tuple[int, ...]

    @property
    def ends(self) -> tuple[bytes, bytes]:
        """Both documents."""
        return self.left, self.right


class Bar(NamedTuple):
    """What a pair must reach, and by how much its rivals must be lower."""

    accept: int
    margin: int


class Settled(NamedTuple):
    """The pairs that are linked now, and those that nothing has set aside: of linked pairs and of others."""

    made: list[Pair]
    left: list[Pair]


def settle(pairs: Sequence[Pair], linked: Mapping[bytes, bytes], bar: Bar) -> Settled:
    """Decide about pairs; `linked` gives what rules linked before, both ways: it stands, and is no further linked."""
    taken = {end: p.score for p in pairs if linked.get(p.left) == p.right for end in p.ends}
    busy = set[bytes]()
    made: list[Pair] = []
    near = [p for p in pairs if p.score > bar.accept - bar.margin]  # others hinder no link
    busy.update(end for p in near for end in p.ends if end in linked)
    while True:
        near = [p for p in near if not _is_beaten(p, taken, bar)]
        found = list(_unique(near, busy, bar))
        if not found:
            return Settled(made, [p for p in pairs if not _is_beaten(p, taken, bar)])
        made += found
        busy.update(end for p in found for end in p.ends)
        taken |= {end: p.score for p in found for end in p.ends}


def _is_beaten(pair: Pair, taken: Mapping[bytes, int], bar: Bar) -> bool:
    best = max(taken.get(pair.left, 0), taken.get(pair.right, 0))
    return best >= pair.score + bar.margin


def _unique(pairs: Sequence[Pair], busy: set[bytes], bar: Bar) -> Iterable[Pair]:
    """Find the pairs that have no rival near them."""
    scores: dict[bytes, list[int]] = defaultdict(list)
    for pair in pairs:
        for end in pair.ends:
            scores[end].append(pair.score)
    best = {end: sorted(found, reverse=True)[:2] for end, found in scores.items()}
    for pair in pairs:
        if pair.settled and pair.score >= bar.accept and not busy.intersection(pair.ends):
            rivals = [score for end in pair.ends for score in _without(best[end], pair.score)]
            if all(score <= pair.score - bar.margin for score in rivals):
                yield pair


def _without(best: Sequence[int], score: int) -> Sequence[int]:
    """Leave one score out of the two best ones."""
    return best[1:] if best[0] == score else best
