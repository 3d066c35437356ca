-- A year of $1 expense claims in a store: more than five events each, as the collector would have written them.
-- Documents of claim n are numbered 8n to 8n + 3: report, journal, payment, and a second journal. `luck` says what
-- befell it: of a thousand, 84 were sent back first (4 of them changed their amount), 5 posted, reversed and posted
-- again, 5 approved less a personal share, 5 rejected or withdrawn, 2 changed after their approval and wait for
-- another, and one each has one of nine defects. The claims of the last days are on their way.
CREATE TEMP TABLE claim AS
SELECT n, 8 * n AS report, (n * 7919) % 1000 AS luck, 1000 + n * 37 % 90000 AS minor,
       timestamptz '2025-07-01 08:00+02' + (n * 104729) % 525000 * interval '1 minute' AS at
FROM generate_series(1, $1::bigint) n;

CREATE TEMP TABLE fact AS
SELECT report + d AS document, CASE WHEN d = 1 AND luck = 906 THEN report + 1 ELSE report END AS component,
       kind, type, luck, at + after AS at, minor * CASE
           WHEN d = 1 AND luck = 903 THEN 10 WHEN type LIKE '%.submitted' AND luck < 4 THEN 2
           WHEN type = 'expense_report.final_approved' AND luck < 4 AND again = 0 THEN 2
           WHEN type LIKE '%returned' THEN NULL WHEN type LIKE '%.sent_back' THEN NULL WHEN type LIKE 'message.%' THEN NULL
           WHEN type LIKE '%.reimbursable_reduced' THEN -0.1 WHEN luck BETWEEN 100 AND 104 AND d > 0 THEN 0.9 WHEN type LIKE '%.changed' THEN 3 ELSE 1 END AS minor
FROM claim CROSS JOIN (VALUES
    (0, 0, 'expense_report', 'expense_report.submitted', interval '0', 0, 999),
    (0, 0, 'expense_report', 'expense_report.final_approved', interval '2 hours', 0, 999),
    (0, 0, 'expense_report', 'expense_report.sent_back', interval '3 hours', 0, 83),
    (0, 1, 'expense_report', 'expense_report.resubmitted', interval '4 hours', 0, 83),
    (0, 1, 'expense_report', 'expense_report.final_approved', interval '6 hours', 0, 83),
    (0, 0, 'expense_report', 'expense_report.reimbursable_reduced', interval '2 hours', 100, 104),
    (0, 0, 'expense_report', 'expense_report.rejected', interval '5 hours', 110, 112),
    (0, 0, 'expense_report', 'expense_report.withdrawn', interval '1 hour', 113, 114),
    (0, 0, 'expense_report', 'expense_report.changed', interval '5 hours', 115, 116),
    (1, 0, 'journal', 'journal.posted', interval '1 day', 0, 999),
    (1, 0, 'journal', 'journal.reversed', interval '25 hours', 90, 94),
    (3, 1, 'journal', 'journal.posted', interval '26 hours', 90, 94),
    (3, 1, 'journal', 'journal.posted', interval '28 hours', 904, 904),
    (1, 0, 'journal', 'journal.refused', interval '23 hours', 901, 901),
    (2, 0, 'payment', 'payment.settled', interval '3 days', 0, 999),
    (0, 0, 'expense_report', 'expense_report.status_returned', interval '30 hours', 0, 999)
    ) v(d, again, kind, type, after, luck_from, luck_to)
WHERE luck BETWEEN luck_from AND luck_to
  AND NOT (luck BETWEEN 110 AND 116 AND (d > 0 OR type LIKE '%returned' OR (luck IN (113, 114) AND type LIKE '%approved')))
  AND NOT (luck = 901 AND (type LIKE '%returned' OR type LIKE '%posted' OR d = 2)) AND NOT (luck = 902 AND d = 2)
  AND NOT (luck = 905 AND type LIKE '%approved') AND NOT (luck = 907 AND type LIKE '%returned')
  AND NOT (luck = 908 AND type NOT LIKE '%submitted');

INSERT INTO tieout.document
SELECT document, min(component), 1, md5('d' || document)::uuid, 0,
       min(date_trunc('month', at))::date, max(date_trunc('month', at))::date,
       bit_or(1::bigint << tieout.month_number(at::date) % 60), kind
FROM fact GROUP BY document, kind ORDER BY document;
INSERT INTO tieout.reference
SELECT document, 1, hashint8(document), hashint8(document), 0, kind, CASE WHEN kind = 'journal' THEN 'DE10' ELSE '' END,
       (document + CASE WHEN kind = 'journal' THEN 5100000000 ELSE 0 END)::text AS number
FROM fact GROUP BY document, kind ORDER BY document;
INSERT INTO tieout.reference
SELECT document, 1, hashint8(component), hashint8(component), 1, 'case', '', component::text
FROM fact GROUP BY document, component ORDER BY document;
INSERT INTO tieout.event
SELECT 1, document, at, id, id, date_trunc('month', at AT TIME ZONE 'UTC')::date, 1, row_number() OVER (ORDER BY at), NULL,
       minor, type, CASE WHEN minor IS NOT NULL THEN 'EUR' END, 'DE10',
       jsonb_build_object(
           'document', jsonb_build_array(kind, '', document::text),
           'references', jsonb_build_array(jsonb_build_array(1, jsonb_build_array('case', '', component::text))))
       || CASE WHEN kind = 'journal' THEN jsonb_build_object(
           'actor', 'IF_EXPENSE', 'accounting', jsonb_build_object('ledger', '0L', 'company_code', 'DE10', 'fiscal_year',
           to_char(at, 'YYYY'), 'period', to_char(at, 'FMMM'), 'posting_date', to_char(at, 'YYYY-MM-DD')),
           'attributes', jsonb_build_object('source_system', 'EXP', 'message_id', document::text, 'document_type', 'KR'))
       WHEN type LIKE '%returned' THEN jsonb_build_object(
           'status', 'posted', 'attributes', jsonb_build_object('fiscal_year', to_char(at - interval '6 hours', 'YYYY'), 'document_number',
           (5100000000 + component + CASE WHEN luck BETWEEN 90 AND 94 THEN 3 WHEN luck = 909 THEN 5 ELSE 1 END)::text))
       ELSE jsonb_build_object('actor', 'E' || component % 5000, 'dimensions', jsonb_build_object('cost_center', component / 8 % 5000 + 10000)) END
FROM (SELECT *, md5(type || document || at)::uuid AS id FROM fact) f ORDER BY at;
INSERT INTO tieout.step
SELECT document, min(at), max(at), sum(minor), bit_or(tieout.event_bit(md5(type || document || at)::uuid)), count(*), type, max(CASE WHEN minor IS NOT NULL THEN 'EUR' END)
FROM fact GROUP BY document, type ORDER BY document;
DROP TABLE fact, claim;

-- 5,000 cost centres in the ledger, and in the expense tool a minute later: 100 were closed since and 25 renamed, of which
-- the expense tool did not hear of 25 each.
CREATE TEMP TABLE centre AS
SELECT 8 * ($1 + 1) + c AS document, (c + 10000)::text AS number, type, at + lag AS at, status, name
FROM generate_series(0, 4999) c CROSS JOIN LATERAL (VALUES
    (timestamptz '2025-06-01 08:00+02', 'open', 'Team ' || c, true, true),
    ('2026-03-02 08:00+01', 'closed', 'Team ' || c, c % 50 = 0, c % 200 <> 0),
    ('2026-03-02 08:00+01', 'open', 'Group ' || c, c % 200 = 1, false)) v(at, status, name, happened, heard)
CROSS JOIN LATERAL (VALUES ('cost_center.changed', interval '0', true), ('cost_center.replicated', interval '1 minute', heard)) e(type, lag, told)
WHERE happened AND told;
INSERT INTO tieout.document
SELECT document, document, 1, md5('d' || document)::uuid, 0, min(date_trunc('month', at))::date, max(date_trunc('month', at))::date,
       bit_or(1::bigint << tieout.month_number(at::date) % 60), 'cost_center'
FROM centre GROUP BY document;
INSERT INTO tieout.reference
SELECT DISTINCT document, 1, hashint8(document), hashint8(document), 0, 'cost_center', '', number FROM centre;
INSERT INTO tieout.event
SELECT 1, document, at, id, id, date_trunc('month', at AT TIME ZONE 'UTC')::date, 1, row_number() OVER (ORDER BY at), NULL, NULL, type, NULL, 'DE10',
       jsonb_build_object('document', jsonb_build_array('cost_center', '', number), 'status', status, 'attributes', jsonb_build_object('name', name))
FROM (SELECT *, md5(type || document || at)::uuid AS id FROM centre) f;
INSERT INTO tieout.step SELECT document, min(at), max(at), NULL, bit_or(tieout.event_bit(md5(type || document || at)::uuid)), count(*), type, NULL FROM centre GROUP BY document, type;
DROP TABLE centre
