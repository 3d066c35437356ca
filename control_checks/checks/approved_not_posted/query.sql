-- $1 flow, $2 T, $3 K, $4 parameters, $5 documents (NULL: all)
WITH p AS (SELECT $4::jsonb AS p),
s AS MATERIALIZED (
    SELECT s.* FROM p, read.steps($1, $2, $3, jsonb_build_object(p.p ->> 'posted',
        jsonb_build_object('after', p.p ->> 'approved', 'due', p.p ->> 'due')),
        ARRAY[p.p ->> 'approved', p.p ->> 'sent', p.p ->> 'posted'], $5) s),
item AS (
    SELECT a.document_id, a.number, a.entity, a.status AS approval_status, a.done_at AS approved_at,
           a.claimed_minor, a.claimed_currency, posted.skipped, posted.done_at AS posted_at,
           posted.undone_at, posted.failed_at, posted.failed_type, posted.failed_message,
           sent.done_at AS sent_at,
           CASE WHEN posted.done_at IS NULL AND p.p ->> 'due_at_period_end' IS NOT NULL
                     AND read.at_period_end(c.calendar, a.done_at)
                THEN read.due_in(c.calendar, a.done_at, p.p ->> 'due_at_period_end')
                ELSE posted.due_at END AS due_at, a.state
    FROM p CROSS JOIN s a
    JOIN s posted ON posted.anchor = a.anchor AND posted.step = p.p ->> 'posted'
    LEFT JOIN s sent ON sent.anchor = a.anchor AND sent.step = p.p ->> 'sent'
    LEFT JOIN read.calendars($3) c ON c.entity = a.entity
    WHERE a.step = p.p ->> 'approved' AND a.done_at IS NOT NULL
      -- an amount that changed since is not what was approved
      AND coalesce((a.amount_minor, a.currency) = (a.claimed_minor, a.claimed_currency), true))
SELECT document_id AS subject, number, entity, claimed_minor AS amount_minor, claimed_currency AS currency,
       CASE WHEN approval_status = 'UNEVALUABLE' THEN 'unevaluable'
            WHEN approved_at < (p.p ->> 'go_live')::timestamptz THEN 'excluded'
            WHEN state = p.p ->> 'test' THEN 'excluded'
            WHEN claimed_minor = 0 OR skipped THEN 'excluded'
            WHEN posted_at IS NOT NULL THEN 'ok'
            WHEN due_at IS NULL THEN 'unevaluable'
            WHEN $2 <= due_at THEN 'pending'
            ELSE 'breach' END AS finding,
       CASE WHEN approval_status = 'UNEVALUABLE' THEN 'SEVERAL_ANCHORS'
            WHEN approved_at < (p.p ->> 'go_live')::timestamptz THEN 'BEFORE_GO_LIVE'
            WHEN state = p.p ->> 'test' THEN 'TEST'
            WHEN claimed_minor = 0 OR skipped THEN 'ZERO_PAYABLE'
            WHEN posted_at IS NOT NULL THEN ''
            WHEN due_at IS NULL THEN 'NO_DUE_TIME'
            WHEN $2 <= due_at THEN ''
            WHEN failed_at IS NOT NULL AND failed_at > coalesce(undone_at, '-infinity')
                THEN coalesce(p.p -> 'reasons' ->> failed_type, 'REFUSED_BY_ERP')
            WHEN undone_at IS NOT NULL THEN 'REVERSED_NOT_REPOSTED'
            WHEN sent_at IS NOT NULL THEN 'NO_DOCUMENT'
            ELSE 'NEVER_SENT' END AS reason,
       'absence' AS proof, ARRAY[p.p ->> 'posted'] AS missing, approved_at AS basis_at, approved_at AS since_at, due_at,
       concat('posted', ' by ' || to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"')) AS expected,
       CASE WHEN undone_at IS NOT NULL THEN 'reversed' WHEN failed_at IS NOT NULL THEN 'refused'
            ELSE 'not posted' END AS actual,
       -claimed_minor AS difference_minor,
       jsonb_build_object('approved_at', approved_at, 'undone_at', undone_at, 'sent_at', sent_at,
                          'failed_at', failed_at, 'message', failed_message) AS details
FROM item, p ORDER BY number, document_id
