"""What `--json` shows is what its JSON Schema says: every command, over a store with something in it."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from collector.store.embedded import Server
from tests.api.cli.desk import COMMON, HTTP, Desk, conforms, same_signals, schemas
from tests.support import shop
from tests.support.postgres import Database, fresh_database, temporary_base

CLOSED = {"additionalProperties", "unevaluatedProperties"}
OPEN = {COMMON: ("exception", "run_summary"), HTTP: ("problem",)}
"""What others add members to."""
T = "2026-01-31T08:00:00Z"
COMMANDS = [
    ("sync", "sync", 0),
    ("sweep", "sweep", 4),
    ("sync --dry-run --limit 20", "sync-dry-run", 0),
    ("coverage", "coverage", 0),
    ("coverage ledger --from 2026-01-01 --to 2026-03-01", "coverage-ledger", 0),
    (f"coverage --as-of {T} --as-known {T}", "coverage", 0),
    ("coverage certificate --from 2026-01-01 --to 2026-03-01", "coverage-certificate", 4),
    (f"control run late_payments --as-of {T}", "control-run", 3),
    (f"control run nothing_stuck --as-of {T}", "control-run", 0),
    (f"control run nothing_stuck --as-of {T} --as-known 2026-01-06T00:00:00Z", "control-run", 1),
    (f"control run --all --as-of {T}", "control-run-all", 3),
    ("control list", "control-list", 0),
    ("control runs late_payments", "control-runs", 0),
    ("control runs never_run", "control-runs", 0),
    ("exceptions", "exceptions", 0),
    ("exceptions --control late_payments --limit 1", "exceptions", 0),
    (f"bridge --period 2026-01 --as-of {T}", "bridge", 3),
    (f"bridge --period 2026-01 --as-of {T} --items paid/from", "bridge-items", 3),
    ("flow list", "flow-list", 0),
    (f"flow show invoices --as-of {T}", "flow-show", 0),
    (f"transactions --as-of {T}", "transactions", 0),
    ("transactions --status late --flow invoices --step paid", "transactions", 0),
    ("trace B-MISSING", "trace", 0),
    ("trace E-LATE", "trace", 0),
    ("trace A-", "trace", 0),
    ("trace -- -", "trace", 1),
    ("trace nobody", "trace", 1),
    ("transaction explain B-MISSING", "transaction-explain", 0),
    ("transaction explain B-MISSING E-LATE", "transaction-explain", 0),
    ("link list", "link-list", 0),
    ("link match", "link-match", 0),
    ("link suggestions", "link-suggestions", 0),
    ("status", "status", 0),
    ("readiness", "readiness", 0),
    ("quarantine list", "quarantine-list", 0),
    ("quarantine list --records", "quarantine-list", 0),
    ("quarantine list --all --source bank", "quarantine-list", 0),
    ("quarantine show 1", "quarantine-show", 0),
    ("quarantine replay", "quarantine-replay", 0),
    ("mapping diff bank/payments", "mapping-diff", 0),
    ("mapping apply bank/payments", "mapping-apply", 0),
    ("rebuild", "rebuild", 0),
    ("migrate", "migrate", 0),
    ("config check", "config-check", 0),
    ("alerts list", "alerts-list", 0),
    ("alerts list --state pending --limit 1", "alerts-list", 0),
    ("alerts send", "alerts-send", 1),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database_of_the_shop(server: Server) -> AsyncIterator[Database]:
    async with fresh_database(server) as database:
        yield database


@pytest.fixture(scope="module")
def shop_desk(
    database_of_the_shop: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("shop")
    shop.write(folder)
    dsn = database_of_the_shop.server.dsn("postgres", database_of_the_shop.name)
    with same_signals():
        desk = Desk(folder).over(dsn)
        assert desk("sync").code == 0
        assert desk(f"control run --all --as-of {T}").code == 3
        assert desk("control run late_payments").code == 3
        yield desk


@pytest.mark.parametrize(("line", "schema", "code"), COMMANDS, ids=[c[0] for c in COMMANDS])
def test_a_command_shows_one_document_as_its_schema_says(
    shop_desk: Desk, line: str, schema: str, code: int
) -> None:
    answer = shop_desk(line.replace(" --", " --json --", 1) if " -- " in line else f"{line} --json")
    assert answer.code == code, answer
    conforms(schema, answer.document)


@pytest.mark.parametrize("line", ["dump", f"dump --as-of {T}"])
def test_every_line_of_a_dump_is_as_its_schema_says(shop_desk: Desk, line: str) -> None:
    answer = shop_desk(line)
    assert answer.code == 0
    rows = [json.loads(text) for text in answer.out.splitlines()]
    kinds = {row["row"] for row in rows}
    assert kinds >= {"event", "transaction", "quarantined"}
    for kind in kinds:
        several = [row for row in rows if row["row"] == kind]
        for row in several[:20]:
            conforms("dump", row)


def test_a_wrong_configuration_is_shown_as_its_schema_says(tmp_path: Path) -> None:
    desk = Desk(tmp_path, tmp_path).start()
    desk.change("title: Order to cash", "titel: Order to cash")
    document = desk.shown("config check", "config-check", 2)
    assert {p["key"] for p in document["problems"]} >= {"flows.0.titel"}


def test_the_demo_finds_what_it_planted_and_shows_it_as_its_schema_says() -> None:
    with temporary_base() as folder:
        document = Desk(folder, folder / "demo").shown("demo --no-serve --seed 11", "demo")
    assert document["defects"]
    assert all(d["planted"] == d["found"] > 0 == d["false"] for d in document["defects"])
    assert all(d["planted"] > 0 == d["alarms"] for d in document["lookalikes"])


@pytest.mark.parametrize("name", sorted(schemas()))
def test_a_schema_is_strict_and_valid(name: str) -> None:
    schema = schemas()[name]
    open_ones = [schema["$defs"][n] for n in OPEN[name]] if name in OPEN else []
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"{name}.schema.json"
    for part in parts(schema):
        if "properties" in part:
            assert set(part["required"]) <= set(part["properties"])
            assert part.keys() & CLOSED or part in open_ones, part


def parts(schema: object) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for inner in schema.values():
            yield from parts(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from parts(inner)


def test_a_schema_refuses_what_is_not_ours() -> None:
    with pytest.raises(AssertionError, match="surprise"):
        conforms("rebuild", {"documents": 1, "surprise": 2})
    with pytest.raises(AssertionError, match="date-time"):
        conforms("transactions", {"as_of": "2026-01-31", "transactions": []})
