-- $1 T. Approved and not changed since, past the close of the next business day, and no posting that stands.
WITH stated AS (
    SELECT e.document, max(e.occurred_at) FILTER (WHERE e.type = 'expense_report.final_approved') AS at,
           max(e.occurred_at) FILTER (WHERE e.type IN ('expense_report.sent_back', 'expense_report.rejected',
                                                       'expense_report.withdrawn', 'expense_report.resubmitted')) AS undone_at,
           (array_agg(e.amount_minor ORDER BY e.occurred_at DESC) FILTER (WHERE e.type = 'expense_report.final_approved'))[1] AS approved,
           (array_agg(e.amount_minor ORDER BY e.occurred_at DESC) FILTER (WHERE e.amount_minor IS NOT NULL))[1] AS claimed
    FROM tieout.event e
    WHERE e.type IN ('expense_report.submitted', 'expense_report.changed', 'expense_report.final_approved', 'expense_report.sent_back',
                     'expense_report.rejected', 'expense_report.withdrawn', 'expense_report.resubmitted') AND e.occurred_at <= $1
    GROUP BY e.document),
posted AS (
    SELECT d.component FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type IN ('journal.posted', 'journal.reversed') AND e.occurred_at <= $1 GROUP BY d.component, e.document
    HAVING max(e.occurred_at) FILTER (WHERE e.type = 'journal.posted')
         > coalesce(max(e.occurred_at) FILTER (WHERE e.type = 'journal.reversed'), '-infinity')),
open AS MATERIALIZED (
    SELECT d.content_id, a.at FROM stated a JOIN tieout.document d ON d.id = a.document
    WHERE a.at > coalesce(a.undone_at, '-infinity') AND a.approved = a.claimed AND d.component NOT IN (SELECT component FROM posted))
SELECT content_id AS subject FROM open
WHERE $1 > (SELECT b.closes_at FROM tieout.business_day b WHERE b.day > (at AT TIME ZONE 'Europe/Berlin' + interval '6 hours')::date AND b.day < (at AT TIME ZONE 'Europe/Berlin' + interval '20 days')::date ORDER BY b.day LIMIT 1)
