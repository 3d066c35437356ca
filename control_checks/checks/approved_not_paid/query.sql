-- $1 flow, $2 T, $3 K, $4 parameters
WITH p AS (SELECT $4::jsonb AS p),
s AS MATERIALIZED (
    SELECT s.* FROM p, read.steps($1, $2, $3, jsonb_build_object(p.p ->> 'paid',
        jsonb_build_object('after', p.p ->> 'approved', 'due', p.p ->> 'due'))) s),
item AS (
    SELECT a.document_id, a.number, a.entity, a.anchors, a.status AS approval_status,
           a.done_at AS approved_at, a.claimed_minor, a.claimed_currency,
           paid.status AS paid_status, paid.skipped, paid.done_at AS paid_at, paid.undone_at,
           paid.failed_at, paid.failed_type, paid.failed_message,
           CASE WHEN paid.done_at IS NOT NULL THEN paid.amount_minor END AS paid_minor, paid.currency,
           posted.status AS posted_status,
           paid.due_at
    FROM p CROSS JOIN s a
    JOIN s paid ON paid.anchor = a.anchor AND paid.step = p.p ->> 'paid'
    LEFT JOIN s posted ON posted.anchor = a.anchor AND posted.step = p.p ->> 'posted'
    WHERE a.step = p.p ->> 'approved' AND a.done_at IS NOT NULL),
judged AS (
    SELECT i.*,
           coalesce(posted_status NOT IN ('DONE', 'LATE', 'SKIPPED'), false) AS not_posted,
           paid_at IS NOT NULL AND claimed_currency IS NOT NULL  -- paid in several currencies it has none
               AND currency IS DISTINCT FROM claimed_currency AS foreign_paid,
           paid_at IS NOT NULL AND coalesce(paid_minor >= claimed_minor, true) AS settled
    FROM item i)
SELECT document_id AS subject, number, entity, claimed_minor AS amount_minor, claimed_currency AS currency,
       CASE WHEN approval_status = 'UNEVALUABLE' THEN 'unevaluable'
            WHEN claimed_minor = 0 OR skipped THEN 'excluded'
            WHEN foreign_paid THEN 'unevaluable'  -- amounts are never netted across currencies
            WHEN settled THEN 'ok'
            WHEN due_at IS NULL THEN 'unevaluable'
            WHEN $2 <= due_at THEN 'pending'
            ELSE 'breach' END AS finding,
       CASE WHEN approval_status = 'UNEVALUABLE' THEN 'SEVERAL_ANCHORS'
            WHEN claimed_minor = 0 THEN 'ZERO_PAYABLE'
            WHEN skipped THEN 'COMPANY_PAID'
            WHEN foreign_paid THEN 'OTHER_CURRENCY'
            WHEN settled THEN ''
            WHEN due_at IS NULL THEN 'NO_DUE_TIME'
            WHEN $2 <= due_at THEN ''
            WHEN paid_at IS NOT NULL THEN 'PARTLY_PAID'
            WHEN undone_at IS NOT NULL THEN 'RETURNED'
            WHEN failed_at IS NOT NULL THEN 'REJECTED_BY_BANK'
            WHEN not_posted THEN 'NOT_POSTED'
            ELSE 'NOT_IN_RUN' END AS reason,
       'absence' AS proof, ARRAY[p.p ->> 'paid'] AS missing, approved_at AS basis_at, approved_at AS since_at, due_at,
       concat('paid', ' by ' || to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"')) AS expected,
       CASE WHEN paid_at IS NOT NULL THEN 'paid in part' WHEN undone_at IS NOT NULL THEN 'returned'
            ELSE 'not paid' END AS actual,
       CASE WHEN foreign_paid THEN NULL WHEN settled THEN 0 ELSE coalesce(paid_minor, 0) - claimed_minor END AS difference_minor,
       jsonb_build_object('approved_at', approved_at, 'undone_at', undone_at, 'failed_at', failed_at,
                          'message', failed_message, 'paid_minor', paid_minor) AS details
FROM judged, p ORDER BY number, document_id
