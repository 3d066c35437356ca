-- $1 flow, $2 T, $3 K, $4 parameters, $5 documents (NULL: all)
WITH p AS (SELECT $4::jsonb AS p),
s AS MATERIALIZED (SELECT * FROM read.steps($1, $2, $3, p_documents => $5)),
ev AS MATERIALIZED (SELECT * FROM read.flow_events($1, $2, $3, $5)),
hold AS (  -- a hold counts with a reason and an expiry only
    SELECT DISTINCT ON (e.document) e.document AS anchor, e.body ->> 'reason_code' AS why,
           (e.body -> 'attributes' ->> 'hold_until')::timestamptz AS until
    FROM ev e JOIN p ON p.p -> 'held_by' ? e.type ORDER BY e.document, e.rank DESC),
waiting AS (
    SELECT s.*, coalesce(p.p -> 'cancelled' ? s.state, false) AS cancelled,
           CASE WHEN s.state = p.p ->> 'on_hold' AND h.until >= $2 THEN
               'ON_HOLD(' || h.why || ' until ' || to_char(h.until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') || ')' END AS hold,
           CASE WHEN s.state = p.p ->> 'on_hold' OR p.p -> 'cancelled' ? s.state THEN NOT s.skipped
                ELSE s.status IN ('PENDING', 'MISSING', 'FAILED', 'UNEVALUABLE') END AS open
    FROM (SELECT s.*, max(ordinal) FILTER (WHERE done_at IS NOT NULL) OVER (PARTITION BY anchor) AS last_done FROM s) s
    CROSS JOIN p LEFT JOIN hold h ON h.anchor = s.anchor
    WHERE s.basis_at IS NOT NULL
      AND s.done_at IS NULL AND NOT p.p -> 'owned' ? s.step
      AND s.ordinal > coalesce(s.last_done, 0)),
tries AS (
    SELECT anchor, ordinal, count(*) FILTER (WHERE side = 'undone_by') AS undone,
           max(burst) FILTER (WHERE side = 'failed_by') AS burst
    FROM (SELECT e.anchor, e.ordinal, e.side,
                 count(*) OVER (PARTITION BY e.anchor, e.ordinal, e.side ORDER BY e.occurred_at
                     RANGE BETWEEN interval '24 hours' PRECEDING AND CURRENT ROW) AS burst
          FROM (SELECT DISTINCT w.anchor, w.ordinal, e.side, e.event_id, e.occurred_at
                FROM waiting w JOIN read.step_events($1, $2, $3, p_documents => $5) e
                  ON e.component = w.component AND e.step = w.step AND e.side IN ('failed_by', 'undone_by')
                WHERE w.open) e) x
    GROUP BY anchor, ordinal)
SELECT w.document_id AS subject, w.number, w.entity, w.claimed_minor AS amount_minor,
       w.claimed_currency AS currency,
       CASE WHEN w.status = 'UNEVALUABLE' THEN 'unevaluable'
            WHEN w.cancelled OR w.hold IS NOT NULL THEN 'excluded'
            WHEN t.burst >= (p.p ->> 'attempts')::int THEN 'breach'
            WHEN t.undone >= (p.p ->> 'alternations')::int THEN 'breach'
            WHEN w.rule IS NULL THEN 'excluded'
            WHEN w.due_at IS NULL THEN 'unevaluable'
            WHEN $2 <= w.due_at THEN 'pending'
            ELSE 'breach' END AS finding,
       CASE WHEN w.status = 'UNEVALUABLE' THEN 'SEVERAL_ANCHORS'
            WHEN w.cancelled THEN 'CANCELLED'
            WHEN w.hold IS NOT NULL THEN w.hold
            WHEN t.burst >= (p.p ->> 'attempts')::int THEN 'RETRY_LOOP'
            WHEN t.undone >= (p.p ->> 'alternations')::int THEN 'PING_PONG'
            WHEN w.rule IS NULL THEN 'NO_LIMIT'
            WHEN w.due_at IS NULL THEN 'NO_DUE_TIME'
            WHEN $2 <= w.due_at THEN ''
            WHEN w.failed_at IS NOT NULL THEN 'FAILED_NOT_REPROCESSED'
            WHEN w.waits_for IS NOT NULL THEN 'WAITING_FOR_PERSON(' || w.waits_for || ')'
            ELSE 'WAITING_FOR_SYSTEM(' || w.system || ')' END AS reason,
       CASE WHEN t.burst >= (p.p ->> 'attempts')::int OR t.undone >= (p.p ->> 'alternations')::int
            THEN 'presence' ELSE 'absence' END AS proof,
       ARRAY[w.step] AS missing, w.basis_at, w.basis_at AS since_at, w.due_at,
       concat(w.title, ' by ' || to_char(w.due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"')) AS expected,
       CASE WHEN w.failed_at IS NOT NULL THEN 'failed' ELSE 'waiting' END AS actual,
       NULL::bigint AS difference_minor,
       jsonb_build_object('title', w.title, 'rule', w.rule, 'waits_for', w.waits_for, 'system', w.system,
                          'message', w.failed_message, 'burst', t.burst, 'undone', t.undone) AS details
FROM waiting w CROSS JOIN p LEFT JOIN tries t ON t.anchor = w.anchor AND t.ordinal = w.ordinal
WHERE w.open ORDER BY w.number, w.document_id, w.ordinal
