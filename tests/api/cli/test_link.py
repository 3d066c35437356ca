"""A person sees why documents belong together, decides otherwise, and takes that back."""

import json

import pytest

from tests.api.cli.desk import Desk, conforms


@pytest.fixture
def trips(desk: Desk) -> Desk:
    """Give a desk with orders that name a trip: two of T-1, one of T-2 that should have been T-1."""
    desk.change(
        "entity: =HQ",
        "entity: =HQ\n          references: [{kind: trip, role: identity, value: trip}]",
    )
    desk.change("tieout: 1", "tieout: 1\nkinds: {trip: {title: Journey}}")
    for key, order, trip in (("a", "SO-1", "T-1"), ("b", "SO-2", "T-1"), ("c", "SO-3", "T-2")):
        desk.append(id=key, order=order, what="ordered", trip=trip)
    assert desk("sync").code == 0
    return desk


def together(desk: Desk, key: str) -> set[str]:
    (found,) = desk.shown(f"trace {key}", "trace")["transactions"]
    return {d["number"] for d in found["documents"]}


def test_it_says_which_name_joins_them_and_who_told_it(trips: Desk) -> None:
    found = trips.shown("transaction explain SO-1 SO-2", "transaction-explain")
    assert {d["number"] for d in found["documents"]} == {"SO-1", "SO-2"}
    assert found["transaction"] == min(d["id"] for d in found["documents"])
    (edge,) = found["path"]
    assert (edge["kind"], edge["value"], edge["joins"]) == ("trip", "T-1", True)
    assert {(h["role"], h["stream"]) for h in edge["holders"]} == {("identity", "shop/orders")}
    assert trips.shown("transaction explain SO-1 SO-3", "transaction-explain")["path"] == []
    assert "Nothing joins the two." in trips("transaction explain SO-1 SO-3").out
    said = trips("transaction explain SO-1").out
    assert "trip T-1  joins" in said
    assert "told by shop/orders" in said


def test_a_link_holds_until_it_is_taken_back(trips: Desk) -> None:
    added = trips("link add SO-3 SO-1 --reason 'typed T-2, meant T-1'")
    assert added.code == 0, added
    assert together(trips, "SO-2") == {"SO-1", "SO-2", "SO-3"}
    (decision,) = trips.shown("link list", "link-list")["decisions"]
    assert (decision["action"], decision["undone_by"]) == ("add", None)
    assert decision["reason"] == "typed T-2, meant T-1"
    trips.append(id="d", order="SO-3", what="invoiced", trip="T-2")  # told again as before
    assert trips("sync").code == 0
    assert together(trips, "SO-3") == {"SO-1", "SO-2", "SO-3"}
    found = trips.shown("transaction explain SO-2 SO-3", "transaction-explain")
    assert [e["decisions"] for e in found["path"]] == [[], [decision["id"]]]
    joined = found["changes"][-1]
    assert joined["by"] == "link decision"

    assert trips(f"link undo {decision['id']} --reason 'two trips after all'").code == 0

    assert together(trips, "SO-3") == {"SO-3"}
    assert together(trips, "SO-1") == {"SO-1", "SO-2"}
    again = trips(f"link undo {decision['id']} --reason again")
    assert (again.code, again.out) == (1, "")
    assert "taken back before" in again.err
    (kept,) = trips.shown("link list", "link-list")["decisions"]
    assert kept["undone_by"] is not None


def test_a_cut_survives_that_the_source_tells_it_again_and_a_rebuild(trips: Desk) -> None:
    assert trips("link cut SO-2 SO-1 --reason 'of another trip'").code == 0
    trips.append(id="d", order="SO-2", what="invoiced", trip="T-1")
    trips.append(id="e", order="SO-4", what="ordered", trip="T-1")
    assert trips("sync").code == 0
    for _ in range(2):
        assert together(trips, "SO-1") == {"SO-1", "SO-4"}
        assert together(trips, "SO-2") == {"SO-2"}
        assert trips("rebuild").code == 0
    # what was cut still finds it
    found = trips.shown("trace T-1", "trace")
    assert {d["number"] for t in found["transactions"] for d in t["documents"]} >= {"SO-1", "SO-4"}
    dumped = [json.loads(line) for line in trips("dump").out.splitlines()]
    for row in dumped:
        conforms("dump", row)
    (kept,) = [row for row in dumped if row["row"] == "link_decision"]
    assert (kept["action"], kept["reason"], kept["undone"]) == ("cut", "of another trip", False)
    explained = trips.shown("transaction explain SO-2", "transaction-explain")
    assert [(d["action"], d["reason"]) for d in explained["decisions"]] == [
        ("cut", "of another trip")
    ]
    split = explained["changes"][-1]
    assert sorted(sorted(d["number"] for d in group) for group in split["groups"]) == [
        ["SO-1"],
        ["SO-2"],
    ]


def test_a_decision_needs_a_reason_and_documents_that_are_there(trips: Desk) -> None:
    assert trips("link add SO-3 SO-1").code == 2
    assert trips("link add SO-3 SO-1 --reason ' '").code == 2
    nobody = trips("link cut SO-3 SO-9 --reason wrong")
    assert (nobody.code, nobody.out) == (1, "")
    assert "No document goes by 'SO-9'" in nobody.err
    apart = trips("link cut SO-3 SO-1 --reason wrong")
    assert "share no name that joins them" in apart.err
    assert trips.shown("link list", "link-list") == {"decisions": []}
    assert "Nobody has decided anything." in trips("link list").out


def test_an_ignored_value_joins_nothing_until_that_is_taken_back(trips: Desk) -> None:
    ignored = trips("link ignore trip T-1 --reason 'the form fills it in'")
    assert ignored.code == 0, ignored
    assert "ignore trip T-1" in ignored.out
    trips.append(id="d", order="SO-4", what="ordered", trip="T-1")
    assert trips("sync").code == 0
    assert together(trips, "SO-1") == {"SO-1"}
    assert {t["documents"][0]["number"] for t in trips.shown("trace T-1", "trace")["transactions"]} == {
        "SO-1", "SO-2", "SO-4",
    }  # fmt: skip
    (decision,) = trips.shown("link list", "link-list")["decisions"]
    assert (decision["action"], decision["name"]) == ("ignore", "trip T-1")
    (edge,) = trips.shown("transaction explain SO-1", "transaction-explain")["edges"]
    assert (edge["joins"], edge["why_not"]) == (False, "cut")
    assert edge["decisions"] == [decision["id"]]

    assert trips(f"link undo {decision['id']} --reason 'a trip after all'").code == 0

    assert together(trips, "SO-4") == {"SO-1", "SO-2", "SO-4"}
