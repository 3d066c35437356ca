-- $1 T. Cost centres that the ledger closed more than an hour ago, or renamed more than a day ago, and the expense tool has
-- as they were; and how many claims, over how much, used one since.
WITH told AS (
    SELECT DISTINCT ON (e.document, e.type) e.document, e.type, e.occurred_at,
           e.body ->> 'status' AS status, e.body -> 'attributes' ->> 'name' AS name
    FROM tieout.event e WHERE e.type IN ('cost_center.changed', 'cost_center.replicated') AND e.occurred_at <= $1
    ORDER BY e.document, e.type, e.occurred_at DESC),
stale AS MATERIALIZED (
    SELECT d.content_id, n.value AS code, o.occurred_at AS since
    FROM told o JOIN told h ON h.document = o.document AND h.type = 'cost_center.replicated'
    JOIN tieout.document d ON d.id = o.document JOIN tieout.reference n ON n.document = d.id AND n.role = 0
    WHERE o.type = 'cost_center.changed' AND (o.status, o.name) <> (h.status, h.name)
      AND $1 > o.occurred_at + CASE o.status WHEN 'closed' THEN interval '1 hour' ELSE interval '24 hours' END),
used AS (
    SELECT s.code, count(*) AS n, sum(e.amount_minor)::bigint AS minor
    FROM tieout.event e JOIN stale s ON s.code = e.body -> 'dimensions' ->> 'cost_center'
    WHERE e.type = 'expense_report.submitted' AND e.occurred_at <= $1 AND e.occurred_at >= s.since GROUP BY s.code)
SELECT s.content_id AS subject, coalesce(u.n, 0) AS used, u.minor FROM stale s LEFT JOIN used u ON u.code = s.code
