-- $1 T
WITH approved AS (
    SELECT DISTINCT ON (d.component) d.component, d.content_id, e.occurred_at AS at, e.amount_minor, e.currency
    FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type = 'expense_report.final_approved' AND e.occurred_at <= $1
    ORDER BY d.component, e.occurred_at DESC),
paid AS (
    SELECT d.component, e.currency, sum(e.amount_minor) AS minor
    FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type = 'payment.settled' AND e.occurred_at <= $1 GROUP BY d.component, e.currency)
SELECT a.content_id AS subject
FROM approved a LEFT JOIN paid p ON p.component = a.component AND p.currency = a.currency
WHERE coalesce(p.minor, 0) < a.amount_minor AND $1 > a.at + interval '30 days'
