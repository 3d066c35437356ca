"""Operations: is everything read, is anything stuck, did the controls run? For IT operations."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import queries
from dashboards.house import (
    GREEN,
    RED,
    YELLOW,
    Row,
    Text,
    at_least,
    bars,
    board,
    figure,
    limits,
    lines,
    rows,
    selection,
    unlimited,
)

HOUR_S = 3_600
DAY_S = 24 * HOUR_S

VERDICTS = (
    ("PASS", GREEN),
    ("WARN", YELLOW),
    ("INCOMPLETE", YELLOW),
    ("SKIPPED", YELLOW),
    ("FAIL", RED),
    ("ERROR", RED),
)

INGEST = Row(
    "Ingest",
    [
        (
            8,
            lines(
                Text(
                    "Records taken in",
                    "short",
                    "Records by what became of them.",
                    "look at Quarantine below; unread records mean a damaged file: ask the source for it again.",
                ),
                queries.RECORDS,
                "{{outcome}}",
                unlimited(),
            ),
        ),
        (
            8,
            lines(
                Text(
                    "Time since a stream brought something new",
                    "s",
                    "Since the stream's last commit; a source that is silent at weekends is silent here too.",
                    "run `tieout sync` for the source by hand and read what it says; check the source's login and its files.",
                ),
                queries.LAG,
                "{{source}}/{{stream}}",
                limits(DAY_S, 3 * DAY_S),
            ),
        ),
        (
            8,
            lines(
                Text(
                    "Reading is behind",
                    "s",
                    "Since each stream was last read to its present end; 0 where nothing waits to be read.",
                    "if it keeps growing the source brings more than is read: see whether the database's disk keeps up.",
                ),
                queries.BEHIND,
                "{{source}}/{{stream}}",
                limits(60, 600),
            ),
        ),
        (
            8,
            bars(
                Text(
                    "Age of the watermark",
                    "s",
                    "Since the instant up to which each stream is known to be complete. Streams of which nobody says so are absent.",
                    "controls that rest on absence cannot conclude after this instant: get the statement, or have it declared.",
                ),
                queries.WATERMARK_AGE,
                "{{source}}/{{stream}}",
                limits(DAY_S, 7 * DAY_S),
            ),
        ),
        (
            8,
            bars(
                Text(
                    "Coverage gaps",
                    "short",
                    "Records known to be missing, unreadable or quarantined, per stream.",
                    "`tieout coverage` names each gap and its remedy.",
                ),
                queries.GAPS,
                "{{source}}/{{stream}}",
                limits(None, 1),
            ),
        ),
        (
            8,
            bars(
                Text(
                    "Coverage",
                    "percentunit",
                    "Records taken in per record that the control total states. Streams without a control total are absent.",
                    "compare the source's own count with the declaration; what is missing was never delivered, or is quarantined.",
                ),
                queries.COVERAGE,
                "{{source}}/{{stream}}",
                at_least(1),
            ),
        ),
        (
            24,
            rows(
                Text(
                    "Batches",
                    "short",
                    "What was read, and what became of it, in the time shown.",
                    "nothing here is coloured; an ending `broken` names a part that was not read whole.",
                ),
                queries.BATCHES,
            ),
        ),
    ],
)

FLOWS = Row(
    "Flows",
    [
        (
            12,
            lines(
                Text(
                    "Transactions in flight",
                    "short",
                    "Open transactions by the step that they wait at.",
                    "a step that only grows means that the system behind it does not work: see the oldest, then that system.",
                ),
                queries.IN_FLIGHT,
                "{{flow}}: {{step}}",
                unlimited(),
            ),
        ),
        (
            12,
            lines(
                Text(
                    "Oldest in flight",
                    "s",
                    "How long the oldest open transaction has waited at each step.",
                    "list them with `tieout transactions`; what is over its limit is an exception of the control on stuck transactions.",
                ),
                queries.OLDEST,
                "{{flow}}: {{step}}",
                limits(7 * DAY_S, 30 * DAY_S),
            ),
        ),
        (
            18,
            lines(
                Text(
                    "Transactions that are over",
                    "short",
                    "As known now, by outcome. It falls where one is reopened.",
                    "this is never red; a line that stays flat in business hours means that nothing ends.",
                ),
                queries.OVER,
                "{{flow}}: {{outcome}}",
                unlimited(),
            ),
        ),
        (
            6,
            figure(
                Text(
                    "Age of these figures",
                    "s",
                    "Transactions are counted in the background: once a minute, less often where that takes long.",
                    "the store is too slow or cannot be reached: see the log of `tieout run`.",
                ),
                queries.STATE_AGE,
                "age",
                limits(300, HOUR_S),
            ),
        ),
    ],
)

CONTROLS = Row(
    "Controls",
    [
        (
            24,
            rows(
                Text(
                    "Last verdicts",
                    "short",
                    "The last run of every control. INCOMPLETE: nothing wrong was found, but not everything could be seen.",
                    "FAIL: follow up the exceptions. ERROR: the run's own message says what broke; run it again.",
                ),
                queries.LAST_VERDICTS,
                VERDICTS,
            ),
        ),
        (
            8,
            lines(
                Text(
                    "Exceptions",
                    "short",
                    "Exceptions of the last run that evaluated its population.",
                    "`tieout exceptions` names each with its reason. A control that finds exceptions has worked.",
                ),
                queries.EXCEPTIONS,
                "{{control}} ({{severity}})",
                limits(None, 1),
            ),
        ),
        (
            8,
            bars(
                Text(
                    "Time since the last run",
                    "s",
                    "Since each control last ran, whatever its verdict. A control that never ran is absent.",
                    "the scheduler does not run, or the control has no schedule: run it with `tieout control run`.",
                ),
                queries.SINCE_RUN,
                "{{control}}",
                limits(DAY_S, 2 * DAY_S),
            ),
        ),
        (
            8,
            bars(
                Text(
                    "Time since the last pass",
                    "s",
                    "Since each control last passed. A control that never passed is absent.",
                    "look at its last verdict: open exceptions, or a stream that is not complete.",
                ),
                queries.SINCE_PASSED,
                "{{control}}",
                limits(7 * DAY_S, 30 * DAY_S),
            ),
        ),
        (
            12,
            bars(
                Text(
                    "Open exceptions by age",
                    "short",
                    "Days since a run first found them.",
                    "what is older than 30 days has no owner: give it one.",
                ),
                queries.OPEN_BY_AGE,
                "{{class}}, {{age_bucket}} days",
                limits(None, 1),
            ),
        ),
        (
            12,
            bars(
                Text(
                    "Average duration of a run",
                    "s",
                    "Over all runs.",
                    "a run that takes minutes holds up those after it: `ANALYZE` the store, then look at its size.",
                ),
                queries.RUN_DURATION,
                "{{control}}",
                limits(60, 300),
            ),
        ),
        (
            24,
            rows(
                Text(
                    "Runs",
                    "short",
                    "Every run in the time shown.",
                    "see Last verdicts.",
                ),
                queries.RUNS,
                VERDICTS,
            ),
        ),
    ],
)

BRIDGE = Row(
    "Bridge",
    [
        (
            18,
            lines(
                Text(
                    "Unexplained items",
                    "short",
                    "Items between two steps that no document and no control accounts for, by month.",
                    "list them: `tieout bridge --period MONTH --items STEP/unexplained`, or /v1/bridge/items. Of a bridge "
                    "that could not be computed there is no line.",
                ),
                queries.UNEXPLAINED,
                "{{flow}} {{period}}: {{from}} to {{to}}",
                limits(None, 1),
            ),
        ),
        (
            6,
            bars(
                Text(
                    "Age of the bridges",
                    "s",
                    "Since each flow's bridges were last computed. A flow without is absent.",
                    "the table below says why they could not be computed; or no `tieout run` leads, or the store is too slow.",
                ),
                queries.BRIDGES_AGE,
                "{{flow}}",
                limits(2 * HOUR_S, DAY_S),
            ),
        ),
        (
            24,
            rows(
                Text(
                    "Last bridges",
                    "short",
                    "What the last bridge of each month leaves unexplained, in items and in minor units of the currency.",
                    "`error` says which control did not run; run it with `tieout control run`.",
                ),
                queries.BRIDGES,
            ),
        ),
    ],
)

QUARANTINE = Row(
    "Quarantine",
    [
        (
            8,
            rows(
                Text(
                    "Quarantined records by reason",
                    "short",
                    "Records that could not be read or mapped, and lie open.",
                    "many of one reason: the source changed its format. Mend the mapping, then replay them.",
                ),
                queries.QUARANTINE_BY_REASON,
            ),
        ),
        (
            16,
            rows(
                Text(
                    "Quarantined records",
                    "short",
                    "The newest 200, with what is wrong in words.",
                    "`tieout quarantine list` shows them with their bytes; replay or accept each.",
                ),
                queries.QUARANTINE,
            ),
        ),
    ],
)

ALERTS = Row(
    "Alerts",
    [
        (
            12,
            bars(
                Text(
                    "Undelivered notices",
                    "short",
                    "Notices that are still to be told to each destination. Without destinations there is nothing.",
                    "`tieout alerts list --state pending` says why; `tieout alerts test` tries the destination.",
                ),
                queries.UNDELIVERED,
                "{{destination}}",
                limits(1, 10),
            ),
        ),
        (
            12,
            bars(
                Text(
                    "Age of the oldest undelivered notice",
                    "s",
                    "It is tried again at growing intervals, and given up after three days.",
                    "the destination does not answer: nobody is told what is wrong until it does.",
                ),
                queries.OLDEST_UNDELIVERED,
                "{{destination}}",
                limits(600, HOUR_S),
            ),
        ),
    ],
)


def build() -> Dashboard:
    """Build the board."""
    return board(
        "tieout-operations",
        "Tieout: Operations",
        "Is everything read, is anything stuck, did the controls run? For IT operations.",
        [
            selection("source", "Source", "tieout_ingest_events_total"),
            selection("flow", "Flow", "tieout_transactions_in_flight"),
            selection("control", "Control", "tieout_control_runs_total"),
        ],
        [INGEST, FLOWS, CONTROLS, BRIDGE, QUARANTINE, ALERTS],
    )
