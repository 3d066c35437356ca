-- $1 flow, $2 T, $3 K, $4 parameters
WITH p AS (SELECT $4::jsonb AS p),
s AS MATERIALIZED (SELECT * FROM read.steps($1, $2, $3)),
waiting AS (
    SELECT s.* FROM s, p
    WHERE s.status IN ('PENDING', 'MISSING', 'FAILED', 'UNEVALUABLE') AND s.basis_at IS NOT NULL
      AND s.done_at IS NULL AND NOT p.p -> 'owned' ? s.step
      AND NOT EXISTS (SELECT FROM s later WHERE later.anchor = s.anchor AND later.ordinal > s.ordinal
                      AND later.done_at IS NOT NULL)),
tries AS (
    SELECT w.anchor, w.ordinal,
           count(*) FILTER (WHERE d.side = 'undone_by') AS undone,
           max(f.burst) FILTER (WHERE d.side = 'failed_by') AS burst
    FROM waiting w
    JOIN read.step_type($1, $3) d ON d.ordinal = w.ordinal
    JOIN LATERAL (
        SELECT e.type, count(*) OVER (PARTITION BY e.type ORDER BY e.occurred_at
                   RANGE BETWEEN interval '24 hours' PRECEDING AND CURRENT ROW) AS burst
        FROM read.flow_events($1, $2, $3) e WHERE e.component = w.component) f ON f.type = d.type
    WHERE w.failed_at IS NOT NULL OR w.undone_at IS NOT NULL
    GROUP BY w.anchor, w.ordinal)
SELECT w.document_id AS subject, w.number, w.entity, w.claimed_minor AS amount_minor,
       w.claimed_currency AS currency,
       CASE WHEN w.status = 'UNEVALUABLE' THEN 'unevaluable'
            WHEN t.burst >= (p.p ->> 'attempts')::int THEN 'breach'
            WHEN t.undone >= (p.p ->> 'alternations')::int THEN 'breach'
            WHEN w.rule IS NULL THEN 'excluded'
            WHEN w.due_at IS NULL THEN 'unevaluable'
            WHEN $2 <= w.due_at THEN 'pending'
            ELSE 'breach' END AS finding,
       CASE WHEN w.status = 'UNEVALUABLE' THEN 'SEVERAL_ANCHORS'
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
ORDER BY w.number, w.document_id, w.ordinal
