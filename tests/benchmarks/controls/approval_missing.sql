-- $1 T
WITH posted AS (
    SELECT d.component, min(e.occurred_at) AS at FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type = 'journal.posted' AND e.occurred_at <= $1 GROUP BY d.component),
approved AS (
    SELECT d.component, min(e.occurred_at) AS at FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type = 'expense_report.final_approved' AND e.occurred_at <= $1 GROUP BY d.component)
SELECT d.content_id AS subject
FROM posted p JOIN tieout.document d ON d.component = p.component AND d.kind = 'expense_report'
LEFT JOIN approved a ON a.component = p.component
WHERE a.at IS NULL OR a.at > p.at + interval '2 minutes'
