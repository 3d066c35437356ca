-- $1 T. Approved less the personal share, against the postings that stand; what is posted twice is another's.
WITH approved AS (
    SELECT e.document, max(e.occurred_at) FILTER (WHERE e.type = 'expense_report.final_approved') AS at,
           max(e.occurred_at) FILTER (WHERE e.type NOT IN ('expense_report.final_approved', 'expense_report.reimbursable_reduced')) AS undone_at,
           (array_agg(e.amount_minor ORDER BY e.occurred_at DESC) FILTER (WHERE e.type = 'expense_report.final_approved'))[1] AS minor,
           coalesce(sum(e.amount_minor) FILTER (WHERE e.type = 'expense_report.reimbursable_reduced'), 0) AS less
    FROM tieout.event e
    WHERE e.type IN ('expense_report.final_approved', 'expense_report.sent_back', 'expense_report.rejected', 'expense_report.withdrawn',
                     'expense_report.resubmitted', 'expense_report.reimbursable_reduced') AND e.occurred_at <= $1
    GROUP BY e.document),
posted AS (
    SELECT d.component, sum(x.minor) AS minor, count(*) > count(DISTINCT x.minor) AS twice FROM (
        SELECT e.document, min(e.amount_minor) FILTER (WHERE e.type = 'journal.posted') AS minor FROM tieout.event e
        WHERE e.type IN ('journal.posted', 'journal.reversed') AND e.occurred_at <= $1 GROUP BY e.document
        HAVING max(e.occurred_at) FILTER (WHERE e.type = 'journal.posted')
             > coalesce(max(e.occurred_at) FILTER (WHERE e.type = 'journal.reversed'), '-infinity')) x
    JOIN tieout.document d ON d.id = x.document GROUP BY d.component)
SELECT d.content_id AS subject FROM approved a JOIN tieout.document d ON d.id = a.document
JOIN posted p ON p.component = d.component
WHERE a.at > coalesce(a.undone_at, '-infinity') AND p.minor <> a.minor + a.less AND NOT (p.twice AND p.minor > a.minor + a.less)
