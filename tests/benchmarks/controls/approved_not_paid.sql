-- $1 T. Approved more than 30 days ago and not changed since, and paid less than what is payable: approved less the personal share.
WITH stated AS (
    SELECT e.document, max(e.occurred_at) FILTER (WHERE e.type = 'expense_report.final_approved') AS at,
           max(e.occurred_at) FILTER (WHERE e.type IN ('expense_report.sent_back', 'expense_report.rejected',
                                                       'expense_report.withdrawn', 'expense_report.resubmitted')) AS undone_at,
           (array_agg(e.amount_minor ORDER BY e.occurred_at DESC) FILTER (WHERE e.type = 'expense_report.final_approved'))[1] AS approved,
           (array_agg(e.amount_minor ORDER BY e.occurred_at DESC) FILTER (WHERE e.type NOT LIKE '%.reimbursable_reduced'
                                                                          AND e.amount_minor IS NOT NULL))[1] AS claimed,
           coalesce(sum(e.amount_minor) FILTER (WHERE e.type = 'expense_report.reimbursable_reduced'), 0) AS less
    FROM tieout.event e
    WHERE e.type IN ('expense_report.submitted', 'expense_report.changed', 'expense_report.final_approved', 'expense_report.sent_back',
                     'expense_report.rejected', 'expense_report.withdrawn', 'expense_report.resubmitted', 'expense_report.reimbursable_reduced') AND e.occurred_at <= $1
    GROUP BY e.document),
paid AS (
    SELECT d.component, sum(e.amount_minor) AS minor FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type = 'payment.settled' AND e.occurred_at <= $1 GROUP BY d.component)
SELECT d.content_id AS subject
FROM stated a JOIN tieout.document d ON d.id = a.document LEFT JOIN paid p ON p.component = d.component
WHERE a.at > coalesce(a.undone_at, '-infinity') AND a.approved = a.claimed AND $1 > a.at + interval '30 days'
  AND coalesce(p.minor, 0) < a.approved + a.less
