"""What counts as a gap, and from when until when a declaration reaches."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collector.pipeline.completeness import Coverage, coverage
from collector.store.totals import Broken, Reach, Totals
from collector.store.trailers import Statement, Trailers


def at(day: int) -> datetime:
    return datetime(2026, 1, day, tzinfo=UTC)


def held(**changes: Any) -> Totals:  # noqa: ANN401 -- fields of the struct
    fields: dict[str, Any] = {
        "source": "bank",
        "stream": "lines",
        "read": 10,
        "accepted": 10,
        "duplicate": 0,
        "ignored": 0,
        "events": 10,
        "quarantined": 0,
        "waived": 0,
        "parts": 1,
        "broken": [],
        "amounts": {},
        "hash_total": "0",
        "last_read": at(9),
    }
    return Totals(**{**fields, **changes})


def covered(totals: Totals | None, *, records: int | None = 10, declared: bool = True) -> Coverage:
    complete = {
        "covers": [at(2).isoformat(), at(20).isoformat()],
        "records": records,
        "by": "Treasury",
    }
    stream = {"complete": complete if declared else None}
    configuration = {"sources": {"bank": {"streams": {"lines": stream}}}}
    known = {} if totals is None else {("bank", "lines"): totals}
    return coverage(configuration, known)["bank", "lines"]


def whats(of: Coverage, until: int, since: int | None = None) -> list[tuple[str, int | None]]:
    start = None if since is None else at(since)
    return [(g.what, g.records) for g in of.gaps_at(at(until), "C", start)]


TABLE: list[tuple[Totals | None, int | None, list[tuple[str, int | None]]]] = [
    (held(), 10, []),
    (held(), None, []),
    (held(duplicate=5), 10, []),
    (held(accepted=8, ignored=2), 10, []),
    (held(accepted=9), 10, [("UNREAD", 1)]),
    (held(accepted=12), 10, [("SURPLUS", 2)]),
    (held(accepted=9, quarantined=1), 10, [("QUARANTINED", 1)]),
    (held(accepted=9, waived=1), 10, []),
    (held(broken=[Broken("a.gz", None, "cut off")]), 10, [("BROKEN", None)]),
    (held(parts=0), 10, [("NEVER_READ", 10)]),
    (None, 10, [("NEVER_READ", 10)]),
]


@pytest.mark.parametrize(("totals", "records", "gaps"), TABLE)
def test_the_declared_total_is_held_against_what_is_known(
    totals: Totals | None, records: int | None, gaps: list[tuple[str, int | None]]
) -> None:
    assert whats(covered(totals, records=records), 20) == gaps


def test_a_declaration_reaches_from_its_first_to_its_last_instant_and_no_further() -> None:
    whole = covered(held())
    assert whats(whole, 20, since=2) == []
    assert whats(whole, 21) == [("NOT_COVERED", None)]
    assert whats(whole, 20, since=1) == [("NOT_COVERED", None)]


def test_what_the_source_states_lifts_a_declaration_and_stands_alone_for_nothing() -> None:
    proved = held(trailers=Trailers(1, "A", 10))
    assert covered(proved).grade == "A"
    assert covered(proved).gaps_at(at(20), "A") == []
    assert whats(covered(proved), 21) == [("NOT_COVERED", None)]
    assert covered(proved, declared=False).grade == "D"
    assert covered(held(parts=2, trailers=Trailers(1, "A", 10))).grade == "C"


def test_where_nobody_declares_anything_nothing_is_complete() -> None:
    undeclared = covered(held(), declared=False)
    assert undeclared.grade == "D"
    assert whats(undeclared, 1) == [("UNDECLARED", None)]


def test_a_grade_below_what_a_control_asks_for_is_a_gap() -> None:
    (gap,) = covered(held()).gaps_at(at(20), "B")
    assert (gap.what, gap.grade) == ("UNDECLARED", "C")


REACH = Reach("B", at(1), at(25), at(30))


@pytest.mark.parametrize("declared", [False, True])
def test_the_word_of_a_source_counts_before_a_declaration(*, declared: bool) -> None:
    of = covered(held(reach=REACH), declared=declared)
    assert (of.grade, of.covers_from, of.watermark) == ("B", at(1), at(25))
    assert of.kept_until == at(30)
    assert whats(of, 24, 2) == []
    assert whats(of, 26) == [("NOT_COVERED", None)]
    assert [g.what for g in of.gaps_at(at(24), "A")] == ["UNDECLARED"]


def test_what_a_person_declares_to_be_there_is_still_counted() -> None:
    assert whats(covered(held(reach=REACH, accepted=9)), 24) == [("UNREAD", 1)]


@pytest.mark.parametrize(
    ("reach", "kept_until"),
    [
        (None, at(9) + timedelta(days=10)),  # after what was read last
        (
            Reach("B", at(1), at(25), None),
            at(25) + timedelta(days=10),
        ),  # after what it was asked for
        (REACH, at(30)),  # its own word
    ],
)
def test_what_a_source_forgets_is_lost_so_long_after_it_was_read(
    reach: Reach | None, kept_until: datetime
) -> None:
    configuration = {"sources": {"bank": {"streams": {"lines": {"retained_days": 10}}}}}
    of = coverage(configuration, {("bank", "lines"): held(reach=reach)})["bank", "lines"]
    assert of.kept_until == kept_until
    assert coverage(configuration, {})["bank", "lines"].kept_until is None


def test_a_source_that_keeps_everything_loses_nothing() -> None:
    assert covered(held()).kept_until is None


def states(
    part: str, *, read: int, quarantined: int, missing: int = 0, eur: int | None
) -> Statement:
    """Stated are EUR 10.00; of the part's records `eur` cents came in."""
    came_in = None if eur is None else {"EUR": eur}
    return Statement(
        part, "A", "trailer", read + missing, {"EUR": 1000}, read, quarantined, came_in
    )


IN_MONEY: list[tuple[int, list[Statement], list[tuple[str, dict[str, int] | None]]]] = [
    (0, [states("a", read=3, quarantined=0, eur=750)], [("DIFFERS", {"EUR": 250})]),
    (0, [states("a", read=3, quarantined=0, missing=1, eur=750)], [("DIFFERS", {"EUR": 250})]),
    (0, [states("a", read=3, quarantined=0, missing=1, eur=None)], [("DIFFERS", None)]),
    (1, [states("a", read=3, quarantined=1, eur=750)], [("QUARANTINED", {"EUR": 250})]),
    (2, [states("a", read=3, quarantined=1, eur=750)], [("QUARANTINED", None)]),
    (1, [states("a", read=3, quarantined=1, eur=None)], [("QUARANTINED", None)]),
    (
        1,
        [states("a", read=3, quarantined=1, missing=1, eur=750)],
        [("DIFFERS", None), ("QUARANTINED", None)],
    ),
]


@pytest.mark.parametrize(("quarantined", "statements", "gaps"), IN_MONEY)
def test_a_gap_comes_to_what_totals_tell_and_else_nobody_knows(
    quarantined: int, statements: list[Statement], gaps: list[tuple[str, dict[str, int] | None]]
) -> None:
    totals = held(quarantined=quarantined, trailers=Trailers(1, "A", 10, statements))
    assert [(g.what, g.amounts) for g in covered(totals, records=None).gaps] == gaps
