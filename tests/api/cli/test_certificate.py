"""A coverage certificate says what was seen, has the hash of its bytes, and is found out when it is altered."""

import asyncio
import json
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

from collector.clock import now
from collector.store import certificates
from tests.api.cli.desk import STATUS_TIME, Desk
from tests.support.postgres import Database

ISSUE = "coverage certificate --stream shop/orders --from 2026-01-01 --to 2026-02-01"


def canonical(document: object) -> str:
    """Write JSON as RFC 8785 does where keys are ASCII and numbers are whole and below 2^53."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hash_of(document: object) -> str:
    return sha256(canonical(document).encode()).hexdigest()


def issued(desk: Desk, code: int = 0, line: str = ISSUE) -> dict[str, Any]:
    found: dict[str, Any] = desk.shown(line, "coverage-certificate", code)
    assert found["hash"] == hash_of(found["certificate"])
    return found


def test_it_states_what_was_seen_and_its_hash_is_that_of_its_bytes(desk: Desk) -> None:
    assert desk("sync").code == 0
    found = issued(desk)
    certificate = found["certificate"]
    (stream,) = certificate["streams"]
    assert (certificate["complete"], certificate["grade"]) == (True, "C")
    assert (stream["declared"], stream["totals"]["accepted"], stream["gaps"]) == (7, 7, [])
    assert (
        sum(line["events"] for line in stream["ledger"]["lines"] if len(line["window"]) == 7) == 7
    )
    shown = desk(f"coverage certificate show {found['hash']} --json")
    assert shown.out == canonical(certificate)
    assert f"certificate {found['hash']}" in desk(f"coverage certificate show {found['hash']}").out
    assert "grade C" in desk(ISSUE).out


def test_the_same_question_about_the_same_knowledge_has_the_same_hash_on_any_later_day(
    desk: Desk,
) -> None:
    assert desk("sync").code == 0
    first = issued(desk)
    assert issued(desk) == first
    desk.append(id="e8", order="SO-1004", what="ordered")
    desk.change("records: 7", "records: 8")
    assert desk("sync").code == 0
    later = issued(desk)
    assert later["hash"] != first["hash"]
    assert desk("rebuild").code == 0
    known = first["certificate"]["asked"]["as_known"]
    assert issued(desk, line=f"{ISSUE} --as-known {known}") == first
    assert desk(f"coverage certificate show {later['hash']}").code == 0


def test_gaps_have_their_size_and_what_nobody_knows_is_unknown(desk: Desk) -> None:
    with (desk.folder / "in/orders.jsonl").open("a") as file:
        file.write('{"id": broken\n')
    desk.change("records: 7", "records: 9")
    assert desk("sync").code == 0
    certificate = issued(desk, 4)["certificate"]
    (stream,) = certificate["streams"]
    assert not certificate["complete"]
    assert [(g["what"], g["records"], g["amounts"]) for g in stream["gaps"]] == [
        ("QUARANTINED", 1, None),
        ("UNREAD", 1, None),
    ]
    assert stream["quarantined"] == {"INVALID_JSON": 1}
    text = desk(ISSUE).out
    assert text.count("amount: unknown") == 2
    beyond = "coverage certificate --from 2019-01-01 --to 2027-01-01"
    whats = [g["what"] for g in issued(desk, 4, beyond)["certificate"]["streams"][0]["gaps"]]
    assert whats == ["QUARANTINED", "UNREAD", "NOT_COVERED", "NOT_COVERED"]


def test_of_what_was_never_read_nothing_is_said_to_be_zero(desk: Desk) -> None:
    (stream,) = issued(desk, 4)["certificate"]["streams"]
    assert (stream["totals"], stream["stated"]) == (None, None)
    assert [(g["what"], g["records"]) for g in stream["gaps"]] == [("NEVER_READ", 7)]
    assert stream["ledger"]["lines"][0]["unread"] is None


def test_a_run_names_the_certificate_that_it_stands_on(desk: Desk) -> None:
    assert desk("sync").code == 0
    run = desk.shown(f"control run stuck_transaction --as-of {STATUS_TIME}", "control-run", 3)
    body = desk(f"coverage certificate show {run['certificate']} --json").out
    assert sha256(body.encode()).hexdigest() == run["certificate"]
    certificate = json.loads(body)
    assert certificate["asked"]["as_known"] == run["as_known"]
    assert certificate["complete"] is run["complete"] is True
    assert [s["stream"] for s in certificate["streams"]] == ["shop/orders"]
    listed = desk.shown("control runs stuck_transaction", "control-runs")["runs"]
    assert [r["certificate"] for r in listed] == [run["certificate"]]


def test_a_certificate_that_there_is_not_is_refused(desk: Desk) -> None:
    assert desk("sync").code == 0
    assert desk(f"coverage certificate show {'0' * 64}").code == 1
    assert (
        desk("coverage certificate --stream shop/order --from 2026-01-01 --to 2026-02-01").code == 2
    )
    assert desk("coverage certificate --from 2026-02-01 --to 2026-02-01").code == 2
    assert desk("coverage certificate").code == 2


async def test_the_database_takes_no_text_under_another_hash(database: Database) -> None:
    conn = await asyncpg.connect(database.dsn("tieout_app"))
    try:
        with pytest.raises(asyncpg.CheckViolationError, match="genuine"):
            await certificates.keep(conn, "0" * 64, "{}", now())
        await certificates.keep(conn, hash_of({}), "{}", now())
        await certificates.keep(conn, hash_of({}), "{}", now())
        assert await certificates.body_of(conn, hash_of({})) == "{}"
    finally:
        await conn.close()


def test_the_database_takes_no_pass_without_a_certificate(desk: Desk, database: Database) -> None:
    assert desk("sync").code == 0
    assert desk(f"control run stuck_transaction --as-of {STATUS_TIME}").code == 3
    asyncio.run(_as_owner(database, COMMIT))
    for wrong in ("'PASS', true, NULL", "'PASS', false, certificate"):
        with pytest.raises(asyncpg.CheckViolationError, match="pass_is_proven"):
            asyncio.run(_as_owner(database, RUN.format(wrong)))
    asyncio.run(_as_owner(database, RUN.format("'PASS', true, certificate")))


COMMIT = (
    "INSERT INTO tieout.commit_log SELECT max(seq) + 1, max(recorded_at) + interval '1 s', 'x'"
    " FROM tieout.commit_log"
)
RUN = (
    "INSERT INTO tieout.control_run (verdict, complete, certificate, seq, control, as_of, as_known, started_at,"
    " finished_at, trigger, actor, definition, parameters, rule_hash, code_hash, query, gaps, population, notes)"
    " SELECT {}, seq + 1, control, as_of, as_known, started_at, finished_at, trigger, actor, definition,"
    " parameters, rule_hash, code_hash, query, gaps, population, notes FROM tieout.control_run"
)
ALTER = (
    "ALTER TABLE tieout.coverage_certificate DROP CONSTRAINT genuine;"
    "SET session_replication_role = replica;"
    """UPDATE tieout.coverage_certificate SET body = replace(body, '"complete":false', '"complete":true')"""
)


async def _as_owner(database: Database, sql: str) -> None:
    conn = await asyncpg.connect(database.dsn("postgres"))
    try:
        await conn.execute(sql)
    finally:
        await conn.close()


def test_one_that_a_superuser_altered_is_found_out(desk: Desk, database: Database) -> None:
    hashed = issued(desk, 4)["hash"]
    assert desk(f"coverage certificate show {hashed}").code == 0
    asyncio.run(_as_owner(database, ALTER))
    answer = desk(f"coverage certificate show {hashed} --json")
    assert (answer.code, answer.out) == (1, "")
    assert "was altered" in answer.err
