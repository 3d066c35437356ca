"""The connector against its sandbox, over real HTTP: what is read, when, and what is said of the rest."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

from collector.errors import Permanent
from collector.http import NotAuthenticated
from connectors.sap_cloud_integration import connector
from connectors.sap_cloud_integration.sandbox import Message, Phase, Trouble
from tests.connectors.cpi import DAY, HOUR, MINUTE, NOON, House, ended, house, unverified

SECOND = timedelta(seconds=1)


def many(n: int, step: timedelta = MINUTE) -> list[Message]:
    return [ended(f"M{i:05}", NOON - step * (i + 1)) for i in range(n)]


# ------------------------------------------------------------------------------ what ended


@pytest.mark.parametrize("relative", [False, True])
def test_every_page_is_read_wherever_its_link_points_from(*, relative: bool) -> None:
    with house(*many(50), page_rows=7) as h:
        h.tenant.relative_links = relative
        assert sorted(h.read()) == sorted(m.guid for m in many(50))
        assert h.last() == h.truth()
        assert h.end is not None
        assert h.end.unread == 0


def test_the_source_states_the_number_of_messages_in_each_window() -> None:
    with house(*many(50)) as h:
        h.read()
        assert sum(s.count or 0 for s in h.stated) == 50
        assert {s.grade for s in h.stated} == {"B"}


def test_a_second_pass_at_the_same_instant_brings_nothing() -> None:
    with house(*many(50)) as h:
        h.read()
        cursor = h.cursor
        assert h.read() == []
        assert h.cursor == cursor


def test_each_message_is_read_twice_however_often_one_asks() -> None:
    with house(*[ended(f"M{i:05}", NOON + MINUTE * i) for i in range(30)]) as h:
        seen: Counter[str] = Counter()
        for _ in range(60):
            seen.update(h.read())
            h.time.pass_by(MINUTE)
        assert set(seen.values()) == {2}
        assert len(seen) == 30


def test_what_is_read_again_is_the_same_to_the_letter() -> None:
    with house(*many(9)) as h:
        h.read()
        h.time.pass_by(HOUR)
        h.read()
        bodies = [repr(sorted(b.items())) for b in h.bodies]
        assert set(Counter(bodies).values()) == {2}


@unverified("late_entries")
@pytest.mark.parametrize("late_s", [4, 300, 600])
def test_a_log_that_appears_late_is_read(late_s: int) -> None:
    end = NOON - 3 * SECOND
    late = Message("LATE", end - MINUTE, [Phase(end + timedelta(seconds=late_s), "FAILED", end)])
    with house(*many(5), late) as h:
        assert "LATE" not in h.read()
        for _ in range(12):
            h.time.pass_by(MINUTE)
            h.read()
        assert h.last()["LATE"][0] == "FAILED"


def test_the_watermark_is_what_was_asked_for_again_after_the_overlap() -> None:
    with house(*many(5)) as h:
        h.read()
        assert h.stated[-1].covers == (NOON - 30 * DAY, NOON - 10 * MINUTE)
        h.time.pass_by(HOUR)
        h.read()
        assert h.stated[-1].covers == (NOON - 30 * DAY, NOON + 50 * MINUTE)


def test_a_window_that_holds_too_much_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "CHUNK_RECORDS_MAX", 100)
    messages = [ended(f"M{i:05}", NOON - SECOND * (1 + i // 4)) for i in range(2_500)]
    with house(*messages) as h:
        sizes = [len(h.keep(chunk)) for chunk in h.chunks()]
        assert max(sizes) <= 100
        assert len(h.last()) == 2_500 == sum(sizes)


def test_more_than_a_chunk_within_one_second_is_read_in_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connector, "CHUNK_RECORDS_MAX", 100)
    with house(*(ended(f"M{i:05}", NOON - MINUTE) for i in range(205))) as h:
        sizes = [len(h.keep(chunk)) for chunk in h.chunks()]
        assert [size for size in sizes if size] == [100, 100, 5]
        assert len(h.last()) == 205


def test_more_than_can_be_held_of_one_second_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "CHUNK_RECORDS_MAX", 100)
    monkeypatch.setattr(connector, "SECOND_RECORDS_MAX", 200)
    with (
        house(*(ended(f"M{i:05}", NOON - MINUTE) for i in range(205))) as h,
        pytest.raises(Permanent, match="205 messages ended at 2026-03-01 11:59:00 UTC"),
    ):
        h.read()


def test_positions_go_on_from_pass_to_pass() -> None:
    with house(*many(5)) as h:
        positions = [r.position for chunk in h.chunks() for r in chunk.records if not h.keep(chunk)]
        h.time.pass_by(HOUR)
        positions = [r.position for chunk in h.chunks() for r in chunk.records]
        assert positions == [6, 7, 8, 9, 10]


def test_killed_after_any_chunk_it_goes_on_without_loss() -> None:
    messages = [ended(f"M{i:05}", NOON - DAY * (i % 20) - MINUTE * (i + 1)) for i in range(60)]
    with house(*messages) as undisturbed:
        chunks = len(list(undisturbed.chunks()))
        for killed_after in range(1, chunks):
            with house(*messages) as h:
                reading = h.chunks()
                for _ in range(killed_after):
                    h.keep(next(reading))
                h.read()
                assert h.last() == h.truth()
                assert len(h.bodies) == 60  # nothing came twice: windows are whole chunks


# ------------------------------------------------------------------------------ what did not


@unverified("processing_has_no_end")
def test_a_message_that_hangs_is_shown_and_read_again_when_it_ends() -> None:
    hangs = Message(
        "HANGS",
        NOON - HOUR,
        [Phase(NOON - HOUR, "PROCESSING"), Phase(NOON + HOUR, "COMPLETED", NOON + HOUR)],
    )
    with house(hangs) as h:
        assert h.read() == ["HANGS"]
        assert h.last()["HANGS"] == ("PROCESSING", None)
        h.time.pass_by(MINUTE)
        assert h.read() == []  # nothing changed
        h.time.pass_by(2 * HOUR)
        h.read()
        assert h.last() == h.truth()
        assert h.cursor is not None
        assert h.cursor["watched"] == {}


@unverified("retry_moves_end")
def test_each_attempt_of_a_retry_is_read() -> None:
    attempts = [NOON + MINUTE * 5 * i for i in range(3)]
    phases = [Phase(at, "RETRY", at) for at in attempts]
    end = NOON + 20 * MINUTE
    with house(Message("R", NOON - MINUTE, [*phases, Phase(end, "FAILED", end)])) as h:
        for _ in range(40):
            h.time.pass_by(MINUTE)
            h.read()
        seen = {(b["Status"], b["LogEnd"]) for b in h.bodies}
        assert len([s for s, _ in seen if s == "RETRY"]) == 3
        assert h.last() == h.truth()


def test_an_end_that_no_window_shows_any_more_is_read_by_key() -> None:
    hangs = Message("H", NOON - HOUR, [Phase(NOON - HOUR, "ABANDONED")])
    with house(hangs) as h:
        h.read()
        old = NOON - 30 * MINUTE  # behind everything that is asked for again
        h.tenant.add(Message("H", NOON - HOUR, [Phase(NOON - HOUR, "COMPLETED", old)]))
        h.time.pass_by(MINUTE)
        assert h.read() == ["H"]
        assert h.last() == h.truth()


def test_a_watched_message_that_vanishes_is_remarked_on_once() -> None:
    hangs = Message("GONE", NOON - 29 * DAY, [Phase(NOON - 29 * DAY, "PROCESSING")])
    with house(hangs) as h:
        h.read()
        h.time.pass_by(2 * DAY)
        h.read()
        assert h.end is not None
        assert "GONE had not ended" in h.end.sentence
        h.read()
        assert h.end.sentence == ""


def test_more_that_hangs_than_is_watched_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "WATCHED_MAX", 10)
    hanging = [Message(f"H{i}", NOON - HOUR, [Phase(NOON - HOUR, "RETRY")]) for i in range(30)]
    with house(*hanging, page_rows=10) as h:
        assert len(h.read()) == 10
        assert h.end is not None
        assert "30 messages are RETRY: only the oldest 10 are watched" in h.end.sentence
        assert h.cursor is not None
        assert len(h.cursor["watched"]) == 10


def test_several_logs_of_one_scenario_and_empty_ids_are_read_as_they_are() -> None:
    messages = [
        ended(f"M{i}", NOON - MINUTE, correlation_id="C", headers=[("po", "1"), ("po", "0")])
        for i in range(3)
    ]
    with house(*messages) as h:
        h.read()
        assert {b["CorrelationId"] for b in h.bodies} == {"C"}
        assert [b["ApplicationMessageId"] for b in h.bodies] == [None] * 3
        assert h.bodies[0]["CustomHeaderProperties"] == {"po": ["0", "1"]}
        assert "__metadata" not in repr(h.bodies)
        assert "127.0.0.1" not in repr(h.bodies)


# ------------------------------------------------------------------------------ gaps


def lose_rows(h: House, n: int) -> None:
    """Lose a row of each of the next pages that hold any."""
    left = iter([Trouble.ROW_LOST] * n)
    h.tenant.trouble = lambda: next(left, None)


def test_a_row_that_is_lost_once_is_asked_for_again() -> None:
    with house(*many(20), page_rows=7) as h:
        lose_rows(h, 3)
        h.read()
        assert h.last() == h.truth()
        assert h.end is not None
        assert h.end.unread == 0


def test_rows_that_stay_lost_are_a_gap_with_their_number_until_they_come() -> None:
    with house(*(ended(f"M{i}", NOON - HOUR - MINUTE * i) for i in range(20)), page_rows=5) as h:
        h.tenant.trouble = lambda: Trouble.ROW_LOST
        assert len(h.read()) == 16  # four pages lack one each
        assert h.end is not None
        assert h.end.unread == 4
        assert "counts 4 more messages than it gives" in h.end.sentence
        h.time.pass_by(HOUR)
        h.read()
        assert h.end.unread == 4  # and it is said again
        h.tenant.trouble = lambda: None
        h.read()
        assert h.end.unread == 0
        assert h.last() == h.truth()


def test_what_was_dropped_before_it_was_read_is_a_gap_that_stays() -> None:
    with house(*many(5)) as h:
        h.read()
        h.time.pass_by(45 * DAY)
        for _ in range(2):
            h.read()
            assert h.end is not None
            assert h.end.unread is None
            assert "2026-03-01 11:50:00 to 2026-03-16 12:00:00 UTC" in h.end.sentence
        h.read(start="2026-03-16T12:00:00+00:00")  # as the sentence advises
        assert h.end is not None
        assert (h.end.unread, h.end.sentence) == (0, "")


def test_a_start_that_the_tenant_has_dropped_is_a_gap() -> None:
    with house(*many(5)) as h:
        h.read(start="2026-01-01T00:00:00+00:00")
        assert h.end is not None
        assert h.end.unread is None
        assert "2026-01-01 00:00:00 to 2026-01-30 12:00:00 UTC" in h.end.sentence


def test_an_earlier_start_reads_what_lies_before() -> None:
    with house(ended("OLD", NOON - 9 * DAY), ended("NEW", NOON - DAY)) as h:
        assert h.read(start="2026-02-27T00:00:00+00:00") == ["NEW"]
        assert h.read(start="2026-02-01T00:00:00+00:00") == ["OLD", "NEW"]


def test_the_time_to_data_loss_is_stated() -> None:
    with house(*many(5)) as h:
        h.read()
        assert h.end is not None
        assert h.end.notes == {"time to data loss": "29 days 23 hours"}
        assert h.stated[-1].kept_until == NOON - 10 * MINUTE + 30 * DAY


def test_too_many_short_windows_end_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "GAPS_MAX", 2)
    with house(*(ended(f"M{i}", NOON - DAY * (i + 1)) for i in range(9))) as h:
        h.tenant.trouble = lambda: Trouble.ROW_LOST
        with pytest.raises(Permanent, match="reading stops here"):
            h.read()


# ------------------------------------------------------------------------------ the connection


@unverified("throttling")
@unverified("limit_by_clock")
def test_it_waits_as_long_as_a_throttling_tenant_asks_for() -> None:
    hanging = [Message(f"H{i}", NOON - HOUR, [Phase(NOON - HOUR, "RETRY")]) for i in range(40)]
    with house(*hanging) as h:
        h.tenant.requests_per_s = 5
        h.read()
        for i in range(40):
            h.tenant.add(ended(f"H{i}", NOON - 30 * MINUTE))
        before = h.time()
        assert len(h.read()) == 40  # one request each
        assert h.time() - before >= timedelta(seconds=40 / 5 - 1)


def test_a_token_that_expired_is_renewed_before_it_is_used() -> None:
    with house(*many(5)) as h:
        reading = h.chunks()
        h.keep(next(reading))
        h.time.pass_by(2 * HOUR)
        for chunk in reading:
            h.keep(chunk)
        assert h.last() == h.truth()


@unverified("token_after_restart")
@unverified("skiptoken_after_restart")
def test_a_restart_between_pages_loses_nothing() -> None:
    with house(*many(50), page_rows=10) as h:
        troubles: Iterator[Trouble | None] = iter([None, None, None, Trouble.RESTART])
        h.tenant.trouble = lambda: next(troubles, None)
        h.read()
        assert h.last() == h.truth()
        assert h.end is not None
        assert h.end.unread == 0


@pytest.mark.parametrize("minutes", [-120, -5, 5, 120])
def test_a_clock_of_ours_that_is_wrong_loses_nothing(minutes: int) -> None:
    with house(skew=timedelta(minutes=minutes)) as h:
        for i in range(60):
            h.tenant.add(ended(f"M{i}", h.time()))
            h.time.pass_by(5 * MINUTE)
            h.read()
        h.time.pass_by(3 * HOUR)
        h.read()
        assert {m: s for m, (s, _) in h.last().items()} == {f"M{i}": "COMPLETED" for i in range(60)}


def test_a_wrong_secret_is_said_and_is_nowhere_in_what_is_said() -> None:
    with house(*many(5)) as h, pytest.raises(NotAuthenticated) as caught:
        h.read(client_secret="wrong-but-still-secret")  # noqa: S106 -- wrong
    said = f"{caught.value} {caught.value.detail} {caught.value!r}"
    assert "/oauth/token does not accept the credentials" in said
    assert "wrong-but-still-secret" not in said
