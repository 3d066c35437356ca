"""What stands open of a control after a run: missing data never resolves anything.

An open exception ends on evidence only. A run speaks for a document if it found every item of it in order
or an exception again: that replaces what was open of it. A run that concluded, complete and with no item
that it could not judge, speaks for every document. Whatever a run does not speak for stays open: it is
held. Excluded is no evidence where a run did not conclude: the reason may be that a source fell silent. A
run that did not run speaks for nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from collector.model.control import Run
from collector.model.standing import Open, Standing

_JUDGED = frozenset({"ok", "exceptions"})


class Watch:
    """Notes what a run finds of the documents (content ids) that have an open exception."""

    def __init__(self, subjects: Iterable[str] = ()) -> None:
        self.subjects = frozenset(subjects)
        self._judged: set[str] = set()
        self._doubtful: set[str] = set()

    def note(self, subject: str, state: str) -> None:
        """Note the state that an item of a document was counted under."""
        if subject in self.subjects:
            (self._judged if state in _JUDGED else self._doubtful).add(subject)

    @property
    def settled(self) -> frozenset[str]:
        """The documents of which every item was judged."""
        return frozenset(self._judged - self._doubtful)


class Changes(NamedTuple):
    """How many open exceptions are new, changed in amount, the same, and no longer open."""

    new: int
    changed: int
    persisting: int
    resolved: int


def after(before: Standing | None, run: Run, settled: Collection[str]) -> Standing:
    """Return what stands after a run of the present; `settled` are the documents that it spoke for."""
    if run.verdict == "ERROR":
        return Standing(
            run.run,
            before.as_of if before else None,
            run.verdict,
            before.evaluated if before else None,
            before.concluded if before else True,
            before.open if before else [],
        )
    concluded = run.complete and not run.population["unevaluable"]
    held = [] if concluded or before is None else _held(before.open, run, settled)
    found = [Open(run.run, n, e) for n, e in enumerate(run.exceptions)]
    return Standing(run.run, run.as_of, run.verdict, run.run, concluded, [*held, *found])


def _held(before: Iterable[Open], run: Run, settled: Collection[str]) -> list[Open]:
    """Pick what stays open of before: neither spoken for nor found again for the same reason."""
    again = Counter((e.subject, e.reason) for e in run.exceptions)
    held = []
    for one in before:
        kind = one.exception.subject, one.exception.reason
        if again[kind]:
            again[kind] -= 1
        elif one.exception.subject not in settled:
            held.append(one)
    return held


def changes(before: Iterable[Open], now: Iterable[Open]) -> Changes:
    """Compare open exceptions by document and reason, and by amount."""
    was, is_ = Counter(map(_kind, before)), Counter(map(_kind, now))
    new = (is_ - was).total()
    other = (Counter(map(_whole, now)) - Counter(map(_whole, before))).total() - new
    return Changes(new, other, is_.total() - new - other, (was - is_).total())


def new_ones(before: Iterable[Open], now: Iterable[Open]) -> list[Open]:
    """List the exceptions that were not open before, each as often as it is new."""
    was = Counter(map(_kind, before))
    found = []
    for one in now:
        if was[_kind(one)]:
            was[_kind(one)] -= 1
        else:
            found.append(one)
    return found


def _kind(one: Open) -> tuple[str, str]:
    return one.exception.subject, one.exception.reason


def _whole(one: Open) -> tuple[str, str, int | None, str | None]:
    return *_kind(one), one.exception.amount_minor, one.exception.currency
