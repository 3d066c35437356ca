-- $1 T. Posted, and no approval before it that still stood then.
WITH posted AS (
    SELECT d.component, min(x.at) AS at FROM (
        SELECT e.document, max(e.occurred_at) FILTER (WHERE e.type = 'journal.posted') AS at,
               max(e.occurred_at) FILTER (WHERE e.type = 'journal.reversed') AS undone_at
        FROM tieout.event e WHERE e.type IN ('journal.posted', 'journal.reversed') AND e.occurred_at <= $1 GROUP BY e.document) x
    JOIN tieout.document d ON d.id = x.document WHERE x.at > coalesce(x.undone_at, '-infinity') GROUP BY d.component)
SELECT (array_agg(d.content_id))[1] AS subject
FROM posted p JOIN tieout.document d ON d.component = p.component AND d.kind = 'expense_report'
LEFT JOIN tieout.event e ON e.document = d.id AND e.occurred_at <= p.at + interval '2 minutes'
    AND e.type IN ('expense_report.final_approved', 'expense_report.sent_back', 'expense_report.rejected',
                   'expense_report.withdrawn', 'expense_report.resubmitted')
GROUP BY d.id
HAVING coalesce(max(e.occurred_at) FILTER (WHERE e.type = 'expense_report.final_approved'), '-infinity')
    <= coalesce(max(e.occurred_at) FILTER (WHERE e.type <> 'expense_report.final_approved'), '-infinity')
