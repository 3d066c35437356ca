"""Records that could not be taken: looked at, brought in by a mended mapping, or accepted."""

import json

import pytest

from tests.api.cli.desk import STATUS_TIME, Desk

UNKNOWN = "                  cancelled: sales_order.cancelled"


@pytest.fixture
def kept_out(desk: Desk) -> Desk:
    """Give a desk with two records quarantined: one of an unknown kind, one cut off."""
    desk.append(id="e8", order="SO-1004", what="teleported")
    with (desk.folder / "in/orders.jsonl").open("a") as file:
        file.write('{"id": broken\n')
    desk.change("records: 7", "records: 9")
    assert desk.shown("sync", "sync")["streams"][0]["quarantined"] == 2
    return desk


def gaps(desk: Desk) -> list[tuple[str, int | None]]:
    stream = desk.shown(f"coverage --as-of {STATUS_TIME}", "coverage")["streams"][0]
    return [(gap["what"], gap["records"]) for gap in stream["gaps"]]


def test_it_is_listed_with_the_reason_and_shown_with_its_bytes(kept_out: Desk) -> None:
    unknown, broken = kept_out.shown("quarantine list", "quarantine-list")["records"]
    assert (unknown["position"], unknown["resolution"]) == (8, "")
    assert "teleported" in unknown["sentence"]
    shown = kept_out.shown(f"quarantine show {unknown['id']}", "quarantine-show")
    assert shown["record"] == unknown
    assert '"what": "teleported"' in shown["raw"]
    assert shown["body"] == json.loads(shown["raw"])
    assert "teleported" in kept_out(f"quarantine show {unknown['id']}").out
    assert kept_out.shown(f"quarantine show {broken['id']}", "quarantine-show")["body"] is None
    assert gaps(kept_out) == [("QUARANTINED", 2)]


def test_a_mended_mapping_brings_it_in_and_the_gap_goes(kept_out: Desk) -> None:
    unknown, broken = kept_out.shown("quarantine list", "quarantine-list")["records"]
    same = kept_out.shown("quarantine replay", "quarantine-replay")
    assert same["replayed"] == 0
    assert set(same["refused"]) == {str(unknown["id"]), str(broken["id"])}
    kept_out.change(UNKNOWN, f"{UNKNOWN}\n                  teleported: sales_order.ordered")
    came = kept_out.shown(f"quarantine replay {unknown['id']}", "quarantine-replay")
    assert came == {"replayed": 1, "refused": {}}
    told = kept_out.shown("trace SO-1004", "trace")["transactions"][0]
    assert told["steps"][0]["status"] == "DONE"
    assert gaps(kept_out) == [("QUARANTINED", 1)]
    again = kept_out.shown("quarantine replay", "quarantine-replay")
    assert (again["replayed"], list(again["refused"])) == (0, [str(broken["id"])])
    assert "could not be parsed" in again["refused"][str(broken["id"])]
    once_more = kept_out(f"quarantine replay {unknown['id']}")
    assert (once_more.code, once_more.out) == (1, "")
    assert f"Record {unknown['id']} was resolved before." in once_more.err
    resolved = kept_out.shown("quarantine list --all", "quarantine-list")["records"]
    assert [r["resolution"] for r in resolved] == ["replayed", ""]


def test_one_is_accepted_for_a_reason_and_once(kept_out: Desk) -> None:
    unknown, broken = kept_out.shown("quarantine list", "quarantine-list")["records"]
    without = kept_out(f"quarantine accept {broken['id']}")
    assert (without.code, without.out) == (2, "")
    done = kept_out(f"quarantine accept {broken['id']} --reason 'cut off at the vendor'")
    assert (done.code, done.err) == (0, "")
    assert gaps(kept_out) == [("QUARANTINED", 1)]
    again = kept_out(f"quarantine accept {broken['id']} --reason 'once more'")
    assert again.code == 1
    assert "was resolved before" in again.err
    assert kept_out(f"quarantine accept {unknown['id']} --reason 'a test record'").code == 0
    assert gaps(kept_out) == []
    assert kept_out("quarantine list").out.strip().endswith("Nothing is quarantined.")


def test_an_accepted_record_is_excluded_from_the_controls_that_need_its_stream(
    kept_out: Desk,
) -> None:
    unknown, broken = kept_out.shown("quarantine list", "quarantine-list")["records"]
    line = f"control run stuck_transaction --as-of {STATUS_TIME}"
    before = kept_out.shown(line, "control-run", 4)
    cancelled = {"CANCELLED": 1}
    assert before["population"]["excluded"] == cancelled
    for record, reason in ((broken, "cut off at the vendor"), (unknown, "a test record")):
        assert kept_out(f"quarantine accept {record['id']} --reason '{reason}'").code == 0
    after = kept_out.shown(line, "control-run", 3)
    population = after["population"]
    assert population["excluded"] == cancelled | {"ACCEPTED_UNREAD": 2}
    assert population["in_scope"] == before["population"]["in_scope"] + 2
    classes = [population[name] for name in ("ok", "pending", "exceptions")]
    assert population["in_scope"] == sum(classes) + 3 + sum(population["unevaluable"].values())
    first, second = (note for note in after["notes"] if note.startswith("excluded: "))
    assert first.startswith("excluded: record 8 of in/orders.jsonl (shop/orders), accepted by ")
    assert first.endswith(": a test record")
    assert "record 9 " in second
    assert second.endswith(": cut off at the vendor")
    as_it_was = kept_out.shown(f"{line} --as-known {before['as_known']}", "control-run", 4)
    assert as_it_was["population"]["excluded"] == cancelled


@pytest.mark.parametrize("line", ["show 99", "accept 99 --reason none", "replay 99"])
def test_one_that_is_not_there_is_said(desk: Desk, line: str) -> None:
    answer = desk(f"quarantine {line}")
    assert answer.code == 1, answer
    assert "no quarantined record 99" in answer.err


def test_an_accepted_record_needs_a_reason_that_says_something(kept_out: Desk) -> None:
    entry = kept_out.shown("quarantine list", "quarantine-list")["records"][0]["id"]
    answer = kept_out(f"quarantine accept {entry} --reason ' '")
    assert answer.code == 2
    assert gaps(kept_out) == [("QUARANTINED", 2)]
