"""The cursor on time: each instant is asked for twice, and nothing is left out in between."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from connectors.kit.windows import Front, in_words
from tests.connectors.cpi import DAY, HOUR, MINUTE, NOON

SECOND = timedelta(seconds=1)


@given(
    pauses=st.lists(st.integers(1, 2_000), min_size=1, max_size=20),
    overlap_s=st.integers(1, 900),
    width_s=st.integers(1, 700),
)
def test_every_second_is_asked_for_and_again_when_it_is_quiet(
    pauses: list[int], overlap_s: int, width_s: int
) -> None:
    overlap, front, now = timedelta(seconds=overlap_s), Front(NOON, NOON, NOON), NOON
    asked: list[tuple[int, int]] = []  # (second, how long ago it was when it was asked for)
    for pause in pauses:
        now += pause * SECOND
        while (due := front.due(now, now - overlap)) is not None:
            window = due.first(width_s * SECOND)
            first, last = (window.start - NOON) // SECOND, (window.end - NOON) // SECOND
            asked += [(s, (now - NOON) // SECOND - s) for s in range(first, last)]
            front = front.behind(window, now - overlap)
        assert front.asked == now
    elapsed = (now - NOON) // SECOND
    assert {second for second, _ in asked} == set(range(elapsed))
    settled = {second for second, age in asked if age >= overlap_s}
    assert settled >= set(range((front.settled - NOON) // SECOND))
    assert len(asked) <= 2 * elapsed


def test_a_later_start_passes_over_and_an_earlier_one_begins_anew() -> None:
    front = Front(NOON, NOON + HOUR, NOON + 2 * HOUR)
    assert front.starting(NOON + 3 * HOUR) == Front(*[NOON + 3 * HOUR] * 3)
    assert front.starting(NOON + MINUTE) == Front(NOON + MINUTE, NOON + HOUR, NOON + 2 * HOUR)
    assert front.starting(NOON - DAY) == Front(*[NOON - DAY] * 3)


def test_spans_are_written_as_people_do() -> None:
    assert in_words(29 * DAY + 23 * HOUR + MINUTE) == "29 days 23 hours"
    assert in_words(3 * HOUR + 5 * MINUTE) == "3 hours 5 minutes"
    assert in_words(-DAY) == "0 hours 0 minutes"
