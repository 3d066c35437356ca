-- $1 T. What is posted twice is left out: another control owns it.
WITH approved AS (
    SELECT DISTINCT ON (d.component) d.component, d.content_id, e.amount_minor, e.currency
    FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type = 'expense_report.final_approved' AND e.occurred_at <= $1
    ORDER BY d.component, e.occurred_at DESC),
posted AS (
    SELECT d.component, sum(e.amount_minor) AS minor, min(e.currency) AS currency, count(DISTINCT e.currency) AS currencies,
           count(*) > count(DISTINCT (e.amount_minor, e.currency)) AS twice
    FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type = 'journal.posted' AND e.occurred_at <= $1 GROUP BY d.component)
SELECT a.content_id AS subject FROM approved a JOIN posted p ON p.component = a.component
WHERE (p.currencies > 1 OR p.currency <> a.currency OR p.minor <> a.amount_minor)
  AND NOT (p.twice AND p.minor > a.amount_minor)
