-- $1 flow, $2 T, $3 K, $4 parameters, $5 documents (NULL: all)
WITH p AS MATERIALIZED (SELECT $4::jsonb AS p),
source AS MATERIALIZED (  -- what was approved, and what is paid
    SELECT s.component, min(s.number) FILTER (WHERE s.step = p.p ->> 'approved') AS number,
           CASE WHEN count(DISTINCT s.anchor) = 1 THEN min(s.amount_minor) FILTER (WHERE s.step = p.p ->> 'approved') END AS approved_minor,
           coalesce(max(s.amount_minor) FILTER (WHERE s.step = p.p ->> 'paid' AND s.done_at IS NOT NULL), 0) AS paid_minor
    FROM p, read.steps($1, $2, $3, p_steps => ARRAY[p.p ->> 'approved', p.p ->> 'paid'], p_documents => $5) s GROUP BY s.component),
ev AS (
    SELECT e.*, e.body -> 'attributes' AS a,
           coalesce((e.body -> 'accounting' ->> 'fiscal_year') || '/' || lpad(e.body -> 'accounting' ->> 'period', 3, '0'),
                    to_char((e.body -> 'accounting' ->> 'posting_date')::date, 'YYYY/0MM'),
                    to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY/0MM')) AS period
    FROM p CROSS JOIN LATERAL read.step_events($1, $2, $3, ARRAY[p.p ->> 'posted'], $5) e
    WHERE e.via IS NULL AND e.side IN ('done_by', 'undone_by')
      AND (e.side = 'undone_by'
           OR p.p -> 'ledgers' ? coalesce(e.body -> 'accounting' ->> 'ledger', p.p -> 'ledgers' ->> 0))),
reversal AS (
    SELECT DISTINCT ON (document) document, rank, period, occurred_at FROM ev
    WHERE side = 'undone_by' ORDER BY document, rank DESC),
doc AS (  -- each document with the periods at whose ends it stood: reversed within its period, at none
    SELECT e.*, r.occurred_at AS reversed_at, coalesce(r.period, '9999/999') AS until, s.approved_minor, s.paid_minor,
           d.document_id, d.number, coalesce(e.a ->> 'source_document', s.number) AS source_document,
           coalesce(e.a ->> 'line', e.a ->> 'allocation') AS line,
           EXISTS (SELECT FROM jsonb_each(p.p -> 'interface') i
                   WHERE i.value ? coalesce(e.a ->> i.key, e.body ->> i.key)) AS by_interface
    FROM (SELECT DISTINCT ON (document) * FROM ev WHERE side = 'done_by' ORDER BY document, rank DESC) e
    CROSS JOIN p JOIN read.documents($3, $5) d ON d.document = e.document
    LEFT JOIN reversal r ON r.document = e.document AND r.rank > e.rank
    LEFT JOIN source s ON s.component = e.component),
keyed AS (
    SELECT *, md5(concat_ws('|', a ->> 'source_system', source_document, currency)) AS claim,
           md5(jsonb_build_array(a ->> 'source_system', source_document, a ->> 'revision', entity, line,
                   CASE WHEN line IS NULL THEN jsonb_build_array(a ->> 'account', amount_minor, currency) END)::text) AS key
    FROM doc WHERE until > period),
ordered AS (
    SELECT *, row_number() OVER (PARTITION BY key ORDER BY occurred_at, number, document) AS nth,
           max(until) OVER (PARTITION BY key ORDER BY occurred_at, number, document
                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until_before,
           sum(amount_minor) OVER (PARTITION BY claim ORDER BY occurred_at, number, document) AS running,
           first_value(number) OVER w AS original, first_value(occurred_at) OVER w AS original_at,
           first_value(reversed_at) OVER w AS original_reversed_at,
           first_value(a ->> 'message_id') OVER w AS original_message, first_value(by_interface) OVER w AS original_by_interface
    FROM keyed WINDOW w AS (PARTITION BY key ORDER BY occurred_at, number, document)),
item AS (
    SELECT o.*, source_document IS NULL AS keyless,
           coalesce(until_before > period, false) AS again,  -- an earlier one still stood
           coalesce(until_before > period, false) AND line IS NULL AND approved_minor IS NULL AS unknown,
           line IS NOT NULL OR running > approved_minor AS above
    FROM ordered o)
SELECT document_id AS subject, number, entity, amount_minor, currency,
       CASE WHEN keyless THEN 'unevaluable' WHEN NOT again THEN 'ok' WHEN unknown THEN 'unevaluable'
            WHEN NOT above THEN 'ok' ELSE 'breach' END AS finding,
       CASE WHEN keyless THEN 'NO_SOURCE_DOCUMENT' WHEN NOT again THEN '' WHEN unknown THEN 'APPROVED_UNKNOWN'
            WHEN NOT above THEN ''
            WHEN reversed_at IS NOT NULL OR until_before <> '9999/999' THEN 'REVERSED_IN_LATER_PERIOD'
            WHEN by_interface <> original_by_interface THEN 'INTERFACE_AND_MANUAL'
            WHEN a ->> 'message_id' = original_message THEN 'REPLAYED'
            ELSE 'RESENT' END AS reason,
       'presence' AS proof, ARRAY[p.p ->> 'posted'] AS missing, occurred_at AS basis_at,
       NULL::timestamptz AS since_at, NULL::timestamptz AS due_at,
       'one posting' AS expected, nth || ' postings' AS actual, amount_minor AS difference_minor,
       jsonb_build_object('source', source_document, 'nth', nth, 'original', original, 'original_at', original_at,
           'reversed_at', coalesce(reversed_at, original_reversed_at), 'paid_minor', coalesce(paid_minor, 0),
           'approved_minor', approved_minor) AS details
FROM item, p ORDER BY number, document_id
