-- $1 T. Submitted, not taken back, and not approved by the close of the third business day after; or approved, and not sent
-- within two hours. Nothing later was done.
WITH claim AS (
    SELECT d.component, (array_agg(d.content_id))[1] AS content_id,
           max(e.occurred_at) FILTER (WHERE e.type IN ('expense_report.submitted', 'expense_report.resubmitted')) AS at,
           max(e.occurred_at) FILTER (WHERE e.type = 'expense_report.final_approved') AS approved_at,
           max(e.occurred_at) FILTER (WHERE e.type IN ('expense_report.sent_back', 'expense_report.withdrawn')) AS undone_at,
           bool_or(e.type = 'expense_report.rejected') AS rejected
    FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type IN ('expense_report.submitted', 'expense_report.resubmitted', 'expense_report.sent_back',
                     'expense_report.withdrawn', 'expense_report.rejected', 'expense_report.final_approved') AND e.occurred_at <= $1
    GROUP BY d.component),
later AS (
    SELECT d.component FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type IN ('journal.posted', 'payment.settled', 'expense_report.status_returned') AND e.occurred_at <= $1),
open AS MATERIALIZED (
    SELECT *, approved_at > greatest(undone_at, CASE WHEN approved_at < at THEN at END, '-infinity') AS approved FROM claim
    WHERE at > coalesce(undone_at, '-infinity') AND NOT rejected AND component NOT IN (SELECT component FROM later))
SELECT content_id AS subject FROM open
WHERE CASE WHEN approved THEN $1 > approved_at + interval '2 hours'
           ELSE $1 > (SELECT b.closes_at FROM tieout.business_day b WHERE b.day > (at AT TIME ZONE 'Europe/Berlin' + interval '6 hours')::date
                      AND b.day < (at AT TIME ZONE 'Europe/Berlin' + interval '30 days')::date ORDER BY b.day LIMIT 1 OFFSET 2) END
