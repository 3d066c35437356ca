"""Exit codes: 0 fine, 1 error, 2 usage or configuration, 3 exceptions noted, 4 could not conclude."""

import gzip
import logging
from pathlib import Path

import pytest

from collector.pipeline.story import Stories
from tests.api.cli.desk import STATUS_TIME, Desk

RUN = f"control run stuck_transaction --as-of {STATUS_TIME}"


def test_a_sync_with_quarantined_records_is_fine(desk: Desk) -> None:
    desk.append(id="e8", order="SO-1004", what="teleported")
    answer = desk("sync")
    assert answer.code == 0
    assert "quarantined: `tieout quarantine list` says why" in answer.out


def test_a_sync_that_left_something_unread_could_not_conclude(desk: Desk) -> None:
    path = desk.folder / "in/orders.jsonl"
    whole = gzip.compress(path.read_bytes() * 50)
    path.with_suffix(".jsonl.gz").write_bytes(whole[: len(whole) // 2])
    desk.change("in/orders.jsonl", "in/orders.jsonl.gz")
    answer = desk("sync")
    assert answer.code == 4
    assert "shop/orders: " in answer.err
    assert desk.shown("sync", "sync", code=4)["streams"][0]["unread"] is None
    gaps = desk.shown(f"coverage --as-of {STATUS_TIME}", "coverage")["streams"][0]["gaps"]
    assert "BROKEN" in {gap["what"] for gap in gaps}


def test_a_control_without_exceptions_is_fine(desk: Desk) -> None:
    desk("sync")
    run = desk.shown("control run stuck_transaction --as-of 2026-01-20T00:00:00Z", "control-run", 0)
    assert (run["verdict"], run["complete"], run["exceptions"]) == ("PASS", True, [])


def test_a_control_with_exceptions_notes_them(desk: Desk) -> None:
    desk("sync")
    answer = desk(RUN)
    assert answer.code == 3
    assert "SO-1002" in answer.out
    assert desk("control run --all --as-of 2026-02-09T00:00:00Z").code == 3


def test_a_control_on_incomplete_data_does_not_conclude(desk: Desk) -> None:
    desk.change("records: 7", "records: 8")
    desk("sync")
    run = desk.shown(RUN, "control-run", code=4)
    assert (run["verdict"], run["complete"], run["exceptions"]) == ("INCOMPLETE", False, [])
    assert [(g["what"], g["records"], g["grade"]) for g in run["gaps"]] == [("UNREAD", 1, "C")]
    population = run["population"]
    assert population["excluded"] == {"CANCELLED": 1}  # order SO-1003: what is there is proven
    assert population["unevaluable"] == {"UNREAD": population["in_scope"] - 1}


def test_a_control_before_anything_was_read_is_an_error(desk: Desk) -> None:
    run = desk.shown(f"{RUN} --as-known 2020-01-01T00:00:00Z", "control-run", code=1)
    assert (run["verdict"], run["population"]) == ("ERROR", None)
    assert "tieout sync" in run["error"]


USAGE = [
    ("", "Usage:"),
    ("nonsense", "No such command 'nonsense'"),
    ("sync --nonsense", "No such option"),
    ("sync nobody", "There is no source 'nobody'. Sources: shop."),
    ("control run", "Name one control, or say --all"),
    ("control run stuck_transaction --all", "Name one control, or say --all"),
    ("control run nothing", "There is no control 'nothing'. Controls: stuck_transaction."),
    ("control runs nothing", "There is no control 'nothing'"),
    ("flow show nothing", "nothing"),
    ("transactions --flow nothing", "There is no flow 'nothing'"),
    ("transactions --status lost", "is not one of"),
    ("transactions --limit many", "is not a valid integer"),
    ("quarantine accept 1", "Missing option '--reason'"),
    ("trace", "Missing argument 'KEY'"),
    ("init --from", "--from takes the files"),
    ("init some.csv", "does not exist"),
    ("flow show orders --as-of 2026-02-05", "has no offset; write"),
    ("flow show orders --as-of 2026-02-05T08:00:00", "has no offset; write"),
    ("trace SO-1001 --as-of yesterday", "is no time; write"),
    ("dump --as-known 2026-02-05T08:00:00", "has no offset"),
]


@pytest.mark.parametrize(("line", "said"), USAGE, ids=[line or "nothing" for line, _ in USAGE])
def test_wrong_usage_is_said_and_nothing_is_shown(desk: Desk, line: str, said: str) -> None:
    answer = desk(line)
    assert (answer.code, answer.out) == (2, "")
    assert said in " ".join(answer.err.split())


READING = ["sync", "sync --dry-run", "status", "coverage", "dump", "trace x", "control list"]


@pytest.mark.parametrize("line", [*READING, "config check", "reset --yes", "migrate"])
def test_a_wrong_configuration_names_file_line_and_column(desk: Desk, line: str) -> None:
    desk.change("anchor: sales_order", "ancor: sales_order")
    answer = desk(line)
    assert (answer.code, answer.out) == (2, "")
    line_number = desk.config.read_text().splitlines().index("    ancor: sales_order") + 1
    said = f"{desk.config}:{line_number}:5: flows.0.ancor: unknown key. Did you mean 'anchor'?"
    assert said in answer.err.splitlines()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tieout: 1", "tieout: [1", "tieout.yaml:"),
        (
            "${file:store.dsn}",
            "${env:TIEOUT_NO_SUCH_THING}",
            "TIEOUT_NO_SUCH_THING is not set",
        ),
        ("${file:store.dsn}", "${file:no.secret}", "no.secret cannot be read"),
    ],
)
def test_what_cannot_be_read_of_the_configuration_is_said(
    desk: Desk, old: str, new: str, said: str
) -> None:
    desk.change(old, new)
    answer = desk("sync")
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_no_configuration_is_said_with_the_remedy(tmp_path: Path) -> None:
    answer = Desk(tmp_path)("sync")
    assert answer.code == 2
    assert "tieout.yaml" in answer.err
    assert "tieout init" in answer.err


def test_a_server_out_of_reach_is_an_error(tmp_path: Path) -> None:
    desk = Desk(tmp_path).start().over("postgresql://me:hush-hush@127.0.0.1:1/tieout")
    for line in ("status", "sync", "migrate"):
        answer = desk(line)
        assert (answer.code, answer.out) == (1, ""), line
        assert "cannot be reached" in answer.err
        assert "hush" not in answer.err


def test_whatever_else_crashes_is_a_sentence_and_the_trace_is_for_who_asks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(*_: object) -> None:
        raise RuntimeError("the moon is missing")

    monkeypatch.setattr(Stories, "tell", crash)
    caplog.set_level(logging.DEBUG, "tieout")
    answer = desk("trace SO-1001 --json")
    assert (answer.code, answer.out) == (1, "")
    assert "RuntimeError: the moon is missing" in answer.err
    assert "Traceback" not in answer.err
    assert caplog.records[-1].levelno == logging.DEBUG  # shown with --verbose only
    assert caplog.records[-1].exc_info


def test_ctrl_c_ends_a_command_with_a_word(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stories, "tell", interrupted)
    answer = desk("trace SO-1001")
    assert (answer.code, answer.out) == (1, "")
    assert "Aborted" in answer.err
