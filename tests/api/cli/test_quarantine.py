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
    unknown, broken = kept_out.shown("quarantine list --records", "quarantine-list")["records"]
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
    unknown, broken = kept_out.shown("quarantine list --records", "quarantine-list")["records"]
    same = kept_out.shown("quarantine replay", "quarantine-replay")
    assert (same["replayed"], same["refused"], same["unchanged"]) == (0, 0, 2)
    forced = kept_out.shown("quarantine replay --force", "quarantine-replay")
    assert (forced["replayed"], forced["refused"], forced["unchanged"]) == (0, 2, 0)
    assert set(forced["sentences"]) == {str(unknown["id"]), str(broken["id"])}
    kept_out.change(UNKNOWN, f"{UNKNOWN}\n                  teleported: sales_order.ordered")
    came = kept_out.shown(f"quarantine replay {unknown['id']}", "quarantine-replay")
    assert (came["replayed"], came["refused"]) == (1, 0)
    told = kept_out.shown("trace SO-1004", "trace")["transactions"][0]
    assert told["steps"][0]["status"] == "DONE"
    assert gaps(kept_out) == [("QUARANTINED", 1)]
    again = kept_out.shown("quarantine replay", "quarantine-replay")
    assert (again["replayed"], list(again["sentences"])) == (0, [str(broken["id"])])
    assert "could not be parsed" in again["sentences"][str(broken["id"])]
    assert kept_out.shown("quarantine replay", "quarantine-replay")["unchanged"] == 1
    once_more = kept_out(f"quarantine replay {unknown['id']}")
    assert (once_more.code, once_more.out) == (1, "")
    assert f"Record {unknown['id']} was resolved before." in once_more.err
    resolved = kept_out.shown("quarantine list --all", "quarantine-list")["records"]
    assert [r["resolution"] for r in resolved] == ["replayed", ""]


def test_one_is_accepted_for_a_reason_and_once(kept_out: Desk) -> None:
    unknown, broken = kept_out.shown("quarantine list --records", "quarantine-list")["records"]
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
    unknown, broken = kept_out.shown("quarantine list --records", "quarantine-list")["records"]
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


def test_it_is_told_by_defect(kept_out: Desk) -> None:
    for number in range(3):
        kept_out.append(
            id=f"f{number}", order=f"SO-20{number}", what="paid", at=f"04.01.2026 10:0{number}"
        )
    assert kept_out("sync").code in (0, 4)
    groups = kept_out.shown("quarantine list", "quarantine-list")["groups"]
    assert [(g["reason"], g["records"]) for g in groups] == [
        ("IMPOSSIBLE_TIME", 3),
        *sorted([("INVALID_JSON", 1), ("UNKNOWN_VALUE", 1)], key=lambda g: _order(groups, g[0])),
    ]
    times = groups[0]
    assert (times["field"], times["shape"], times["before"]) == ("at", "99.99.9999 99:99", "")
    assert times["share_ppm"] == 1_000_000  # of those that came with the first of them
    assert times["said"].startswith("3 records: 'at' looks like '99.99.9999 99:99' since 20")
    assert times["mend"].startswith("State the `format`")
    listed = kept_out.shown(
        f"quarantine list --records --group {times['group']}", "quarantine-list"
    )
    assert [r["id"] for r in listed["records"]][:: len(listed["records"]) - 1] == times["samples"]
    assert len(listed["records"]) == 3
    only = kept_out.shown("quarantine list --reason UNKNOWN_VALUE", "quarantine-list")["groups"]
    assert [g["reason"] for g in only] == ["UNKNOWN_VALUE"]
    assert kept_out.shown("quarantine list --stream shop/none", "quarantine-list") == {"groups": []}
    said = kept_out("quarantine list").out
    assert "5 records in 3 groups." in said
    assert "Mend (whoever keeps the mapping)" in said
    assert kept_out("quarantine list --records --group 00000000").code == 1
    assert kept_out("quarantine list --reason NONSENSE").code == 2


def _order(groups: list[dict[str, str]], reason: str) -> str:
    return next(g["group"] for g in groups if g["reason"] == reason)


def test_what_the_field_looked_like_before_is_said_where_records_are_kept(desk: Desk) -> None:
    desk.change("        complete:", "        keep_raw: true\n        complete:")
    assert desk("sync").code == 0
    desk.append(id="f1", order="SO-2001", what="paid", at="04.01.2026 10:00")
    assert desk("sync").code in (0, 4)
    (group,) = desk.shown("quarantine list", "quarantine-list")["groups"]
    assert group["before"] == "9999-99-99A99:99:99+99:99"
    assert group["said"].endswith("; before it looked like '9999-99-99A99:99:99+99:99'")


def test_a_record_is_listed_under_what_the_last_mapping_said_of_it(kept_out: Desk) -> None:
    kept_out.change("value: at", "value: then")
    tried = kept_out.shown("quarantine replay --reason UNKNOWN_VALUE", "quarantine-replay")
    assert (tried["replayed"], tried["refused"], tried["unchanged"]) == (0, 1, 0)
    kept_out.change("value: what", "value: id")  # refused again, for the value of another field
    assert kept_out.shown("quarantine replay", "quarantine-replay")["refused"] == 2
    groups = kept_out.shown("quarantine list", "quarantine-list")["groups"]
    assert {(g["reason"], g["field"], g["shape"]) for g in groups} == {
        ("INVALID_JSON", "", ""),
        ("UNKNOWN_VALUE", "id", "A9"),
    }


def test_an_accepted_record_needs_a_reason_that_says_something(kept_out: Desk) -> None:
    entry = kept_out.shown("quarantine list --records", "quarantine-list")["records"][0]["id"]
    answer = kept_out(f"quarantine accept {entry} --reason ' '")
    assert answer.code == 2
    assert gaps(kept_out) == [("QUARANTINED", 2)]
