"""`tieout grafana provision` against a double, and against a Grafana where TIEOUT_TEST_GRAFANA_URL names one."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from click.testing import CliRunner

from api.cli.root import cli
from dashboards import provision
from dashboards.registry import BOARDS
from tests.api.cli.desk import Answer, conforms
from tests.support.grafana import ADMIN, EDITOR, VIEWER, State, grafana_double

DSN = "postgresql://grafana:pass%40word@db.example.com:5433/tieout?sslmode=disable"
SOURCES = "--prometheus http://prometheus:9090 --postgres ${env:TEST_READER_DSN}"
ALL = 3 + len(BOARDS)
UIDS = {
    "folders": "/api/folders/tieout",
    "prometheus": "/api/datasources/uid/tieout-prometheus",
    "postgres": "/api/datasources/uid/tieout-postgres",
    "board": "/api/dashboards/uid/tieout-operations",
}


class Hand(NamedTuple):
    """Somebody at Grafana, and at a terminal beside it."""

    url: str
    token: str
    client: httpx.Client

    def __call__(self, words: str = SOURCES, *, token: str | None = None) -> Answer:
        """Run the command."""
        line = ["grafana", "provision", "--url", self.url, *words.split()]
        given = {"TIEOUT_GRAFANA_TOKEN": token or self.token, "TEST_READER_DSN": DSN}
        done = CliRunner().invoke(cli, line, env=given, prog_name="tieout")
        return Answer(done.exit_code, done.stdout, done.stderr)

    def plan(self, words: str = "", *, code: int = 0) -> dict[str, str]:
        """Run it with --json; return what was done about each thing."""
        answer = self(f"{SOURCES} {words} --json")
        assert answer.code == code, answer
        conforms("grafana-provision", answer.document)
        return {step["uid"]: step["action"] for step in answer.document["steps"]}

    def get(self, what: str) -> Any:  # noqa: ANN401 -- any JSON
        return self.client.get(UIDS[what]).raise_for_status().json()

    def save(self, **changes: object) -> None:
        """Save the board by hand, as its page does."""
        found = self.get("board")
        body = {"dashboard": {**found["dashboard"], **changes}, "overwrite": True}
        body["folderUid"] = found["meta"]["folderUid"]
        self.client.post("/api/dashboards/db", json=body).raise_for_status()

    def clean(self) -> None:
        for board in provision.boards([]):
            self.client.delete(f"/api/dashboards/uid/{board['uid']}")
        for what in ("postgres", "prometheus", "folders"):
            self.client.delete(UIDS[what])


@pytest.fixture
def state() -> State:
    return State()


def _at(url: str, token: str) -> Iterator[Hand]:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers) as client:
        hand = Hand(url, token, client)
        hand.clean()
        yield hand
        hand.clean()


@pytest.fixture(params=["double", "live"])
def hand(request: pytest.FixtureRequest, state: State) -> Iterator[Hand]:
    """Give the double, and then a real Grafana if there is one to test against."""
    if request.param == "double":
        with grafana_double(state) as url:
            yield from _at(url, ADMIN)
        return
    live = os.environ.get("TIEOUT_TEST_GRAFANA_URL")  # noqa: TID251 -- the switch of this suite
    if live is None:
        pytest.skip(
            "TIEOUT_TEST_GRAFANA_URL is not set: nothing was tried on a live Grafana. Set it, and "
            "TIEOUT_TEST_GRAFANA_TOKEN to a token of a service account with the role Admin; everything "
            "whose uid begins with `tieout` is deleted there."
        )
    yield from _at(live, os.environ["TIEOUT_TEST_GRAFANA_TOKEN"])  # noqa: TID251 -- likewise


@pytest.fixture
def double(state: State) -> Iterator[Hand]:
    with grafana_double(state) as url:
        yield from _at(url, ADMIN)


def test_a_first_run_makes_everything_and_a_second_finds_nothing_to_do(hand: Hand) -> None:
    assert set(hand.plan().values()) == {"create"}
    assert hand.get("folders")["title"] == "Tieout"
    assert hand.get("board")["meta"]["folderUid"] == "tieout"
    prometheus, postgres = hand.get("prometheus"), hand.get("postgres")
    assert (prometheus["type"], prometheus["url"]) == ("prometheus", "http://prometheus:9090")
    assert (postgres["url"], postgres["user"]) == ("db.example.com:5433", "grafana")
    assert postgres["jsonData"]["database"] == "tieout"
    assert postgres["jsonData"]["sslmode"] == "disable"
    assert postgres["secureJsonFields"] == {"password": True}
    again = hand.plan()
    assert set(again.values()) == {"unchanged"}
    assert len(again) == ALL
    assert "There is nothing to do." in hand().out


def test_the_documentation_shows_what_is_printed(double: Hand) -> None:
    page = Path(__file__).parents[3] / "docs/grafana.md"
    shown = page.read_text(encoding="utf-8").split("```text\n")[1].split("```")[0]
    assert shown.split() == double().out.split()


def test_the_board_chooses_the_data_sources_that_came_with_it(hand: Hand) -> None:
    hand.plan()
    variables = {v["name"]: v for v in hand.get("board")["dashboard"]["templating"]["list"]}
    assert variables["prometheus"]["current"]["value"] == "tieout-prometheus"
    assert variables["postgres"]["current"]["value"] == "tieout-postgres"


def test_a_dry_run_shows_the_plan_and_does_nothing(hand: Hand) -> None:
    assert set(hand.plan("--dry-run").values()) == {"create"}
    assert hand.client.get(UIDS["folders"]).status_code == 404
    assert hand.client.get(UIDS["board"]).status_code == 404


def test_a_data_source_that_differs_is_mended_and_keeps_what_is_not_ours(hand: Hand) -> None:
    hand.plan()
    path, changed = UIDS["prometheus"], hand.get("prometheus")
    changed.update(url="http://elsewhere:9090", jsonData={"httpMethod": "POST"})
    hand.client.put(path, json=changed).raise_for_status()
    assert hand.plan()["tieout-prometheus"] == "update"
    mended = hand.get("prometheus")
    assert (mended["url"], mended["jsonData"]) == ("http://prometheus:9090", {"httpMethod": "POST"})
    assert hand.plan()["tieout-prometheus"] == "unchanged"


def test_a_board_saved_by_hand_blocks_everything_until_it_may_be_replaced(hand: Hand) -> None:
    hand.plan()
    hand.save(description="mine")
    answer = hand()
    assert answer.code == 1
    said = " ".join(answer.out.split())
    assert "blocked" in said
    assert "was saved by hand" in said
    assert "--overwrite" in said
    assert "Nothing was done" in answer.err
    assert hand.plan(code=1)["tieout-operations"] == "blocked"
    assert hand.get("board")["dashboard"]["description"] == "mine"
    assert hand.plan("--overwrite")["tieout-operations"] == "update"
    assert hand.get("board")["dashboard"]["description"] != "mine"
    assert set(hand.plan().values()) == {"unchanged"}


def test_a_board_of_another_release_is_replaced(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.plan()
    present = provision.boards

    def next_release(sources: list[provision.Source]) -> Iterator[provision.Document]:
        for board in present(sources):
            yield {**board, "description": "of the next release"}

    monkeypatch.setattr(provision, "boards", next_release)
    assert hand.plan()["tieout-operations"] == "update"
    assert hand.get("board")["dashboard"]["description"] == "of the next release"
    assert set(hand.plan().values()) == {"unchanged"}


def test_a_folder_that_was_renamed_keeps_its_name(hand: Hand) -> None:
    hand.plan()
    body = {"title": "Finance", "overwrite": True}
    hand.client.put(UIDS["folders"], json=body).raise_for_status()
    assert set(hand.plan().values()) == {"unchanged"}
    assert hand.get("folders")["title"] == "Finance"


def test_a_wrong_token_is_said_with_the_way_to_a_right_one(hand: Hand) -> None:
    answer = hand(token="wrong")  # noqa: S106 -- of no Grafana
    assert (answer.code, answer.out) == (2, "")
    assert "does not accept the token" in answer.err
    assert "Service accounts" in answer.err


def test_without_sources_only_folder_and_board_are_made(double: Hand) -> None:
    answer = double("--json")
    assert [s["kind"] for s in answer.document["steps"]] == ["folder", *["dashboard"] * len(BOARDS)]
    assert double("", token=EDITOR).code == 0


@pytest.mark.parametrize(
    ("token", "words", "said"),
    [
        (EDITOR, SOURCES, "The token may not read data sources. Give its service account the role"),
        (VIEWER, "", "The token may not create folders"),
    ],
)
def test_a_token_without_rights_is_said_with_the_role_it_needs(
    double: Hand, token: str, words: str, said: str
) -> None:
    answer = double(words, token=token)
    assert answer.code == 2
    assert said in answer.err


def test_a_name_that_is_taken_is_said(double: Hand) -> None:
    body = {"uid": "other", "name": "Tieout store", "type": "loki", "url": "x", "jsonData": {}}
    double.client.post("/api/datasources", json=body).raise_for_status()
    answer = double()
    assert answer.code == 1
    assert "Where a name is taken, rename what bears it" in answer.err


def test_what_changes_between_plan_and_step_is_not_overwritten(
    double: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.plan()
    double.save(description="mine")
    present = provision.plan

    def slow(*words: Any, **options: Any) -> list[provision.Step]:  # noqa: ANN401 -- handed on
        steps = present(*words, **options)
        double.save(description="just now")
        return steps

    monkeypatch.setattr("api.cli.grafana.plan", slow)
    answer = double(f"{SOURCES} --overwrite")
    assert answer.code == 1
    assert "The dashboard has been changed by someone else" in answer.err
    assert "run this again" in answer.err
    assert double.get("board")["dashboard"]["description"] == "just now"


def test_what_comes_from_grafanas_own_files_is_left_to_them(double: Hand, state: State) -> None:
    double.plan()
    state.sources["tieout-postgres"].update(readOnly=True, user="another")
    state.boards["tieout-operations"]["meta"]["provisioned"] = True
    assert set(double.plan(code=1).values()) == {"unchanged", "blocked"}
    double.save()
    state.boards["tieout-operations"]["meta"]["provisioned"] = True
    assert double.plan("--overwrite", code=1)["tieout-operations"] == "blocked"


def test_a_lost_password_is_sent_again(double: Hand, state: State) -> None:
    double.plan()
    assert state.secrets["tieout-postgres"] == {"password": "pass@word"}
    state.secrets["tieout-postgres"].clear()
    state.sources["tieout-postgres"]["secureJsonFields"] = {}
    assert double.plan()["tieout-postgres"] == "update"
    assert state.secrets["tieout-postgres"] == {"password": "pass@word"}


def test_versions_as_grafana_10_lists_them_are_understood(double: Hand, state: State) -> None:
    state.old = True
    double.plan()
    assert set(double.plan().values()) == {"unchanged"}


def test_a_path_before_grafana_is_kept(state: State) -> None:
    with grafana_double(state, "/monitoring") as url:
        for hand in _at(url + "/", ADMIN):
            assert set(hand.plan().values()) == {"create"}
    assert all(r.split()[1].startswith("/monitoring/api/") for r in state.requests)


def test_secrets_are_never_shown(double: Hand) -> None:
    for words in (SOURCES, f"{SOURCES} --json"):
        answer = double(words)
        assert "pass" not in answer.out + answer.err
        assert ADMIN not in answer.out + answer.err


WRONG = [
    ("--token glsa_secret", "--token: write '${env:NAME}' or '${file:PATH}', not the secret."),
    ("--postgres postgresql://me:hush@db/x", "--postgres: write '${env:NAME}'"),
    ("--token ${env:TIEOUT_NO_SUCH_THING}", "TIEOUT_NO_SUCH_THING is not set"),
    ("--postgres ${file:no.dsn}", "no.dsn cannot be read"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[w for w, _ in WRONG])
def test_a_secret_is_given_by_reference_only(double: Hand, words: str, said: str) -> None:
    answer = double(words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert "hush" not in answer.err


DSNS = [
    ("postgresql://db/tieout", "The reader's DSN should be like"),
    ("postgresql://me:hush@db", "The reader's DSN should be like"),
    ("postgresql://me:hush@db:port/tieout", "The reader's DSN should be like"),
    ("postgresql://me:hush@db/tieout?sslmode=prefer", "sslmode=prefer of the DSN: Grafana knows"),
]


@pytest.mark.parametrize(("dsn", "said"), DSNS, ids=[d for d, _ in DSNS])
def test_a_dsn_that_grafana_cannot_use_is_said(
    double: Hand, tmp_path: Path, dsn: str, said: str
) -> None:
    (tmp_path / "dsn").write_text(dsn)
    answer = double(f"--postgres ${{file:{tmp_path}/dsn}}")
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert "hush" not in answer.err


def test_a_grafana_out_of_reach_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    answer = Hand(f"http://127.0.0.1:{port}", ADMIN, httpx.Client())("")
    assert (answer.code, answer.out) == (1, "")
    assert f"http://127.0.0.1:{port} cannot be reached. Check --url" in answer.err


def test_what_is_no_grafana_is_said(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(State, "answer", lambda *_: (200, {"hello": "world"}))
    with grafana_double(state) as url:
        answer = Hand(url, ADMIN, httpx.Client())("")
    assert answer.code == 2
    assert "does not answer as Grafana does" in answer.err


@pytest.mark.parametrize("url", ["grafana.example.com", "ftp://x", "https://me:hush@grafana", ""])
def test_a_url_that_is_none_or_holds_a_login_is_refused(url: str) -> None:
    answer = Hand(url, ADMIN, httpx.Client())("")
    assert (answer.code, answer.out) == (2, "")
    assert "should be like https://grafana.example.com" in answer.err
    assert "hush" not in answer.err


def test_a_fingerprint_depends_on_what_stands_in_the_board_only() -> None:
    (board, *_) = provision.boards([])
    shuffled = json.loads(json.dumps(board, sort_keys=False))
    assert provision.fingerprint(dict(reversed(shuffled.items()))) == provision.fingerprint(board)
    assert provision.fingerprint({**board, "title": "x"}) != provision.fingerprint(board)
