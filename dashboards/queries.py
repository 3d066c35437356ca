"""Every query of the boards, named. PromQL speaks the catalogue's names, SQL sees the schema `read` only.

Their counters are measured from the store: after a pause of the exporter an increase is caught up, never
lost. Of transactions that are over the value is shown and no rate, since a reopened one leaves the count.
"""

RECORDS = (
    "sum by (outcome) (increase(tieout_ingest_events_total{source=~'$source'}[$__rate_interval]))"
)
LAG = "max by (source, stream) (tieout_ingest_lag_seconds{source=~'$source'})"
BEHIND = "max by (source, stream) (tieout_ingest_behind_seconds{source=~'$source'})"
WATERMARK_AGE = "time() - min by (source, stream) (tieout_ingest_watermark_timestamp_seconds{source=~'$source'})"
COVERAGE = "min by (source, stream) (tieout_coverage_ratio{source=~'$source'})"
GAPS = "sum by (source, stream) (tieout_coverage_gap_records{source=~'$source'})"

IN_FLIGHT = "sum by (flow, step) (tieout_transactions_in_flight{flow=~'$flow'})"
OLDEST = "max by (flow, step) (tieout_oldest_in_flight_seconds{flow=~'$flow'})"
OVER = "sum by (flow, outcome) (tieout_transactions_completed_total{flow=~'$flow'})"
STATE_AGE = "max(tieout_flow_state_age_seconds)"

EXCEPTIONS = "sum by (control, severity) (tieout_control_exceptions{control=~'$control'})"
SINCE_RUN = (
    "time() - max by (control) (tieout_control_last_run_timestamp_seconds{control=~'$control'})"
)
SINCE_PASSED = (
    "time() - max by (control) (tieout_control_last_pass_timestamp_seconds{control=~'$control'})"
)
OPEN_BY_AGE = "sum by (class, age_bucket) (tieout_exceptions_open{class=~'$control'})"
RUN_DURATION = (
    "sum by (control) (tieout_control_run_duration_seconds_sum{control=~'$control'})"
    " / (sum by (control) (tieout_control_run_duration_seconds_count{control=~'$control'}) > 0)"
)

UNEXPLAINED = "sum by (flow, period, from, to) (tieout_conservation_residual_count{flow=~'$flow'})"
BRIDGES_AGE = "max by (flow) (tieout_conservation_age_seconds{flow=~'$flow'})"

UNDELIVERED = "sum by (destination) (tieout_alerts_pending)"
OLDEST_UNDELIVERED = "max by (destination) (tieout_alerts_oldest_pending_seconds)"

BATCHES = """
SELECT recorded_at, source, stream, read, accepted, duplicate, quarantined, ignored, ending, unread
FROM read.batch
WHERE $__timeFilter(recorded_at)
ORDER BY recorded_at DESC
LIMIT 200
""".strip()

LAST_VERDICTS = """
SELECT control, verdict, CASE WHEN complete THEN 'yes' ELSE 'no' END AS complete, finished_at,
       as_of, in_scope, exceptions, pending, gaps, trigger
FROM read.last_run
ORDER BY CASE verdict WHEN 'FAIL' THEN 1 WHEN 'ERROR' THEN 2 WHEN 'INCOMPLETE' THEN 3
                      WHEN 'WARN' THEN 4 ELSE 5 END, control
""".strip()

BRIDGES = """
SELECT flow, period, from_step AS "from", to_step AS "to", from_system, to_system, entity, currency,
       unexplained_items AS items, unexplained_minor AS minor_units,
       CASE WHEN NOT computed THEN 'FAILED' WHEN complete THEN 'yes' ELSE 'no' END AS complete, as_of, error
FROM read.bridge
ORDER BY computed, unexplained_items = 0, period DESC, flow, entity, currency, bridge
LIMIT 200
""".strip()

RUNS = """
SELECT finished_at, control, verdict, CASE WHEN complete THEN 'yes' ELSE 'no' END AS complete,
       exceptions, trigger
FROM read.run
WHERE $__timeFilter(finished_at)
ORDER BY finished_at DESC
LIMIT 200
""".strip()

QUARANTINE_BY_REASON = """
SELECT source, stream, reason, count(*) AS records, min(recorded_at) AS since
FROM read.quarantined
GROUP BY source, stream, reason
ORDER BY records DESC, source, stream, reason
""".strip()

QUARANTINE = """
SELECT recorded_at, source, stream, reason, sentence
FROM read.quarantined
ORDER BY recorded_at DESC, source, stream
LIMIT 200
""".strip()
