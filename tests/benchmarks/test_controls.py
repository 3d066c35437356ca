"""Controls over many transactions against a query by hand that answers the control's question and no other.

A control says of every item which class it is in, for any T and K, over whatever the flow says; the
query by hand (controls/<control>.sql) knows this flow and these facts, and finds the exceptions. Both
read the same tables, warm, over one connection each, interleaved; the sets of exceptions must be equal.
TRANSACTIONS of five or six events each; a few in a thousand have a defect.
"""

import statistics
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from collector.clock import now, stopwatch
from collector.pipeline.publish import publish
from collector.store import streams
from control_checks.cases import Case, configuration
from control_checks.registry import CHECKS
from tests.benchmarks.report import report
from tests.support.postgres import Database

pytestmark = pytest.mark.bench

TRANSACTIONS = 10_000
ROUNDS = 3
BAR = 2.0
T = datetime(2026, 7, 1, tzinfo=UTC)
BY_HAND = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parent / "controls").glob("*.sql"))
}

# Documents of transaction n are numbered 4n to 4n + 3: report, journal, payment, and a second journal of
# those that are posted twice. `defect` says what is wrong with it: 1 not posted, 2 not paid, 3 another
# amount, 4 posted twice, 5 not approved, 6 posted for no report.
WORLD = """
CREATE TEMP TABLE fact AS
SELECT 4 * n + d AS document, CASE WHEN d = 1 AND defect = 6 THEN 4 * n + 1 ELSE 4 * n END AS component,
       kind, type, timestamptz '2026-01-05 09:00+01' + (n % 90) * interval '1 day' + n % 499 * interval '1 minute' + after AS at,
       CASE WHEN d = 1 AND defect = 3 THEN 10 ELSE 1 END * (1000 + n % 5000) AS minor
FROM generate_series(1, $1::bigint) n CROSS JOIN LATERAL (SELECT n % 1000 AS defect) x
CROSS JOIN (VALUES
    (0, 'expense_report', 'expense_report.submitted', interval '0'),
    (0, 'expense_report', 'expense_report.final_approved', interval '2 hours'),
    (1, 'journal', 'journal.posted', interval '4 hours'),
    (3, 'journal', 'journal.posted', interval '5 hours'),
    (2, 'payment', 'payment.settled', interval '1 day'),
    (0, 'expense_report', 'expense_report.status_returned', interval '6 hours')) v(d, kind, type, after)
WHERE (d <> 3 OR defect = 4) AND NOT (defect = 1 AND d = 1) AND NOT (defect = 2 AND d = 2)
  AND NOT (defect = 5 AND type = 'expense_report.final_approved')
"""
FILL = """
INSERT INTO tieout.document SELECT document, min(component), 1, md5('d' || document)::uuid, 0
    , min(date_trunc('month', at))::date, max(date_trunc('month', at))::date, kind
FROM fact GROUP BY document, kind;
INSERT INTO tieout.reference SELECT document, 1, hashint8(document), hashint8(document), 0, kind, '', document::text
FROM fact GROUP BY document, kind;
INSERT INTO tieout.reference SELECT document, 1, hashint8(component), hashint8(component), 1, 'case', '', component::text
FROM fact GROUP BY document, component;
INSERT INTO tieout.event SELECT 1, document, at, md5(type || document)::uuid, md5(type || document)::uuid
    , date_trunc('month', at)::date, 1, 1, NULL
    , CASE WHEN type NOT LIKE '%returned' THEN minor END, type
    , CASE WHEN type NOT LIKE '%returned' THEN 'EUR' END, 'DE10'
    , jsonb_build_object('document'
    , jsonb_build_array(kind, '', document::text))
FROM fact ORDER BY at;
ANALYZE tieout.event, tieout.document, tieout.reference, tieout.batch, tieout.revised, tieout.suspended
"""


async def _fill(database: Database, transactions: int) -> None:
    admin = await asyncpg.connect(database.dsn("postgres"))
    try:
        settings = configuration(
            CHECKS["approved_not_paid"], Case("speed", "2026-07-01 00:00", "", {})
        )
        await publish(admin, settings, now)
        stream = await streams.register(admin, "expense", "all", "expense")
        await admin.execute(
            "INSERT INTO tieout.batch SELECT 1, max(seq), $1, NULL, '', '', NULL, NULL, 0, 0, 0, 0, 0, 0, '{}', 0"
            " FROM tieout.commit_log",
            stream,
        )
        for month in range(1, 6):
            await admin.execute("SELECT tieout.ensure_partition($1)", date(2026, month, 1))
        await admin.execute(WORLD.replace("$1", str(transactions)))
        await admin.execute(FILL)
        await admin.execute("VACUUM")
    finally:
        await admin.close()


async def test_a_control_takes_at_most_twice_as_long_as_a_query_by_hand(database: Database) -> None:
    await _fill(database, TRANSACTIONS)
    reader = await asyncpg.connect(database.dsn("tieout_reader"))
    owner = await asyncpg.connect(database.dsn("tieout_app"))
    try:
        ratios = {name: await _ratio(reader, owner, name) for name in BY_HAND}
    finally:
        await reader.close()
        await owner.close()
    for control, ratio in ratios.items():
        report(f"{control}, a control against a query by hand", ratio, "ratio", BAR, "lower")
    assert max(ratios.values()) <= BAR, ratios


async def _ratio(reader: Any, owner: Any, name: str) -> float:  # noqa: ANN401 -- connections
    check = CHECKS[name]
    parameters = check.parameters.model_validate({}).model_dump_json()
    ratios = []
    for _ in range(ROUNDS):
        elapsed_s = stopwatch()
        rows = await reader.fetch(check.query, "expense-to-reimbursement", T, now(), parameters)
        control_s = elapsed_s()
        elapsed_s = stopwatch()
        wanted = await owner.fetch(BY_HAND[name], T)
        ratios.append(control_s / elapsed_s())
        found = {row["subject"] for row in rows if row["finding"] == "breach"}
        assert found == {row["subject"] for row in wanted}
        assert found
        print(f"{name}: {control_s:.2f} s, by hand {control_s / ratios[-1]:.2f} s")
    return statistics.median(ratios)
