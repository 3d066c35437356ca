"""From `tieout init` to `tieout reset`, as the first day goes."""

import json
from pathlib import Path

from typing_extensions import override

from collector.store.embedded import running
from tests.api.cli.desk import STATUS_TIME, Desk
from tests.support.postgres import temporary_base


def test_a_first_day_from_init_to_reset(tmp_path: Path) -> None:
    with temporary_base() as folder:
        desk = Desk(tmp_path, folder / "data")
        with running(folder / "data"):  # starting and stopping it each time would take long
            working(desk)
            in_use = desk("reset --yes")
            assert (in_use.code, in_use.out) == (1, "")
            assert "Another command is using" in in_use.err
        resetting(desk)


def working(desk: Desk) -> None:
    assert "wrote" in desk("init").out
    assert "is fine: 1 stream, 1 flow, 1 control." in desk("config check").out
    read = desk.shown("sync", "sync")["streams"][0]
    assert (read["read"], read["accepted"], read["unread"]) == (7, 7, 0)
    shown = desk.shown(f"flow show orders --as-of {STATUS_TIME}", "flow-show")
    assert shown["steps"][2]["statuses"]["MISSING"] == {"count": 1, "amounts": {"EUR": 7550}}
    told = desk.shown("trace SO-1002", "trace")["transactions"][0]
    assert [s["status"] for s in told["steps"]] == ["DONE", "DONE", "MISSING"]
    run = desk.shown(f"control run stuck_transaction --as-of {STATUS_TIME}", "control-run", 3)
    assert (run["verdict"], run["complete"]) == ("FAIL", True)
    assert [e["subject"] for e in run["exceptions"]] == ["SO-1002"]
    assert "has waited" in desk("exceptions").out
    status = desk.shown("status", "status")
    assert (status["events"], status["documents"], status["runs"]) == (7, 3, 1)
    assert desk.shown(f"coverage --as-of {STATUS_TIME}", "coverage")["streams"][0]["gaps"] == []
    before = desk("dump").out
    assert desk.shown("rebuild", "rebuild") == {"documents": 3}
    assert desk("dump").out == before
    again = desk("sync")
    assert (again.code, "Nothing new" in again.out) == (0, True)
    assert desk("dump").out == before


def resetting(desk: Desk) -> None:
    assert desk.data_dir is not None
    refused = desk("reset", typed="n\n")
    assert refused.code == 1
    assert f"Delete {desk.data_dir}" in refused.out
    assert desk.data_dir.exists()
    done = desk("reset --yes")
    assert (done.code, desk.data_dir.exists()) == (0, False), done


def test_a_dump_is_canonical_and_sorted_and_the_same_whatever_the_order(
    desk: Desk, second_desk: Desk
) -> None:
    path = desk.folder / "in/orders.jsonl"
    lines = path.read_text().splitlines()
    assert second_desk("sync").code == 0
    path.write_text("\n".join(lines[4:]) + "\n")
    assert desk("sync").code == 0
    (desk.folder / "in/more.jsonl").write_text("\n".join(lines[4::-1]) + "\n")
    desk.change("in/orders.jsonl", "in/*.jsonl")
    second = desk.shown("sync", "sync")["streams"][0]
    assert (second["accepted"], second["duplicate"]) == (4, 1)
    for line in ("dump", f"dump --as-of {STATUS_TIME}"):
        told = desk(line).out
        assert told == second_desk(line).out
        for text in told.splitlines():
            row = json.loads(text)
            assert text == json.dumps(
                row, sort_keys=True, separators=(",", ":"), ensure_ascii=False
            )


def test_a_dump_as_of_a_time_holds_nothing_later(desk: Desk) -> None:
    desk("sync")
    rows = [json.loads(t) for t in desk("dump --as-of 2026-01-06T00:00:00+01:00").out.splitlines()]
    assert sum(row["row"] == "event" for row in rows) == 2
    assert {row["row"] for row in rows} == {"event", "transaction", "case orders"}


def test_a_configuration_written_by_init_is_not_overwritten(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk("init").code == 0
    desk.config.write_text("mine")
    answer = desk("init")
    assert (answer.code, answer.out) == (1, "")
    assert "is there already" in answer.err
    assert desk.config.read_text() == "mine"


def test_the_first_configuration_can_be_called_as_one_likes(tmp_path: Path) -> None:
    class Other(Desk):
        @property
        @override
        def config(self) -> Path:
            return self.folder / "money.yaml"

    desk = Other(tmp_path)
    assert desk("init").code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "money.yaml"]
    assert desk("config check").code == 0
