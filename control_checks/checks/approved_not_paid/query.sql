-- $1 flow, $2 T, $3 K, $4 parameters, $5 documents (NULL: all)
WITH p AS (SELECT $4::jsonb AS p),
s AS MATERIALIZED (
    SELECT s.* FROM p, read.steps($1, $2, $3, jsonb_build_object(p.p ->> 'paid',
        jsonb_build_object('after', p.p ->> 'approved', 'due', p.p ->> 'due')),
        ARRAY[p.p ->> 'approved', p.p ->> 'posted', p.p ->> 'paid'], $5) s),
ev AS MATERIALIZED (  -- what undid payments or made them needless, and what it undid
    SELECT e.component, e.document, e.rank, e.type, abs(e.amount_minor) AS amount_minor, e.currency, e.side,
           e.document IN (SELECT anchor FROM s) AS is_anchor,
           max(e.rank) FILTER (WHERE e.side = 'done_by') OVER (PARTITION BY e.document) AS done_rank
    FROM p CROSS JOIN LATERAL read.step_events($1, $2, $3, ARRAY[p.p ->> 'paid'], $5) e WHERE e.side <> 'failed_by'),
kept AS (  -- what remains of a payment that came back in part
    SELECT component, currency, sum(minor)::bigint AS minor FROM (
        SELECT component, currency, max(amount_minor) FILTER (WHERE rank = done_rank)
                   - sum(coalesce(amount_minor, 0)) FILTER (WHERE side = 'undone_by' AND rank > done_rank) AS minor
        FROM ev WHERE side <> 'skip_when' GROUP BY component, currency, document
        HAVING bool_and(amount_minor IS NOT NULL) FILTER (WHERE side = 'undone_by' AND rank > done_rank)) x
    WHERE minor > 0 GROUP BY component, currency),
needless AS (
    SELECT a.anchor, (array_agg(e.type ORDER BY e.rank DESC))[1] AS type
    FROM s a JOIN p ON a.step = p.p ->> 'paid' AND a.skipped
    JOIN ev e ON e.component = a.component AND e.side = 'skip_when' AND (e.document = a.anchor OR NOT e.is_anchor)
    GROUP BY a.anchor),
documented AS (  -- what of the approved amount is not payable: an advance, a personal share, withholding
    SELECT e.component, e.currency, sum(e.amount_minor)::bigint AS minor
    FROM p CROSS JOIN read.comparison_events($1, $2, $3, $5) e
    WHERE EXISTS (SELECT FROM read.comparisons($1, $3) c
                  WHERE c.left_step = p.p ->> 'approved' AND c.components ? e.type)
    GROUP BY e.component, e.currency),
item AS (
    SELECT a.document_id, a.number, a.entity, a.anchors, a.status AS approval_status,
           a.done_at AS approved_at, a.claimed_minor + coalesce(d.minor, 0) AS payable_minor, a.claimed_currency,
           paid.status AS paid_status, paid.skipped, paid.done_at AS paid_at, paid.undone_at,
           paid.failed_at, paid.failed_type, paid.failed_message,
           CASE WHEN paid.done_at IS NOT NULL THEN paid.amount_minor + coalesce(kept.minor, 0)
                ELSE kept.minor END AS paid_minor,
           CASE WHEN paid.done_at IS NOT NULL THEN paid.currency ELSE kept.currency END AS currency,
           paid.done_at IS NOT NULL OR kept.minor IS NOT NULL AS some_paid, needless.type AS needless,
           posted.status AS posted_status,
           paid.due_at
    FROM p CROSS JOIN s a
    JOIN s paid ON paid.anchor = a.anchor AND paid.step = p.p ->> 'paid'
    LEFT JOIN s posted ON posted.anchor = a.anchor AND posted.step = p.p ->> 'posted'
    LEFT JOIN kept ON kept.component = a.component AND kept.currency = a.claimed_currency
    LEFT JOIN needless ON needless.anchor = a.anchor
    LEFT JOIN documented d ON d.component = a.component AND d.currency = a.claimed_currency
    WHERE a.step = p.p ->> 'approved' AND a.done_at IS NOT NULL
      -- an amount that changed since is not what was approved
      AND coalesce((a.amount_minor, a.currency) = (a.claimed_minor, a.claimed_currency), true)),
judged AS (
    SELECT i.*,
           coalesce(posted_status NOT IN ('DONE', 'LATE', 'SKIPPED'), false) AS not_posted,
           some_paid AND claimed_currency IS NOT NULL  -- paid in several currencies it has none
               AND currency IS DISTINCT FROM claimed_currency AS foreign_paid,
           some_paid AND coalesce(paid_minor >= payable_minor, true) AS settled
    FROM item i)
SELECT document_id AS subject, number, entity, payable_minor AS amount_minor, claimed_currency AS currency,
       CASE WHEN approval_status = 'UNEVALUABLE' THEN 'unevaluable'
            WHEN payable_minor = 0 OR skipped THEN 'excluded'
            WHEN foreign_paid THEN 'unevaluable'  -- amounts are never netted across currencies
            WHEN settled THEN 'ok'
            WHEN due_at IS NULL THEN 'unevaluable'
            WHEN $2 <= due_at THEN 'pending'
            ELSE 'breach' END AS finding,
       CASE WHEN approval_status = 'UNEVALUABLE' THEN 'SEVERAL_ANCHORS'
            WHEN payable_minor = 0 THEN 'ZERO_PAYABLE'
            WHEN skipped THEN coalesce(p.p -> 'exclusions' ->> needless, 'COMPANY_PAID')
            WHEN foreign_paid THEN 'OTHER_CURRENCY'
            WHEN settled THEN ''
            WHEN due_at IS NULL THEN 'NO_DUE_TIME'
            WHEN $2 <= due_at THEN ''
            WHEN some_paid THEN 'PARTLY_PAID'
            WHEN undone_at IS NOT NULL THEN 'RETURNED'
            WHEN failed_at IS NOT NULL THEN coalesce(p.p -> 'reasons' ->> failed_type, 'REJECTED_BY_BANK')
            WHEN not_posted THEN 'NOT_POSTED'
            ELSE 'NOT_IN_RUN' END AS reason,
       'absence' AS proof, ARRAY[p.p ->> 'paid'] AS missing, approved_at AS basis_at, approved_at AS since_at, due_at,
       concat('paid', ' by ' || to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"')) AS expected,
       CASE WHEN some_paid THEN 'paid in part' WHEN undone_at IS NOT NULL THEN 'returned'
            ELSE 'not paid' END AS actual,
       CASE WHEN foreign_paid THEN NULL WHEN settled THEN 0 ELSE coalesce(paid_minor, 0) - payable_minor END AS difference_minor,
       jsonb_build_object('approved_at', approved_at, 'undone_at', undone_at, 'failed_at', failed_at,
                          'message', failed_message, 'paid_minor', paid_minor) AS details
FROM judged, p ORDER BY number, document_id
