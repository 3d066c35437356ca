-- $1 T. Of one claim, account, amount and currency: postings in a leading ledger after the first that stands, above what
-- was approved.
WITH approved AS (
    SELECT DISTINCT ON (e.document) e.document, e.amount_minor FROM tieout.event e
    WHERE e.type = 'expense_report.final_approved' AND e.occurred_at <= $1 ORDER BY e.document, e.occurred_at DESC),
posted AS (
    SELECT e.document, min(e.occurred_at) AS at, min(e.amount_minor) FILTER (WHERE e.type = 'journal.posted') AS minor,
           min(e.currency) AS currency, min(e.body -> 'attributes' ->> 'account') AS account
    FROM tieout.event e WHERE e.type IN ('journal.posted', 'journal.reversed') AND e.occurred_at <= $1
      AND (e.type = 'journal.reversed' OR e.body -> 'accounting' ->> 'ledger' = '0L')
    GROUP BY e.document
    HAVING max(e.occurred_at) FILTER (WHERE e.type = 'journal.posted')
         > coalesce(max(e.occurred_at) FILTER (WHERE e.type = 'journal.reversed'), '-infinity')),
ordered AS (
    SELECT d.component, d.content_id, row_number() OVER w AS nth, sum(p.minor) OVER w AS running
    FROM posted p JOIN tieout.document d ON d.id = p.document
    WINDOW w AS (PARTITION BY d.component, p.account, p.minor, p.currency ORDER BY p.at, d.id)),
again AS MATERIALIZED (SELECT * FROM ordered WHERE nth > 1)
SELECT g.content_id AS subject FROM again g JOIN tieout.document d ON d.component = g.component
JOIN approved a ON a.document = d.id WHERE g.running > a.amount_minor
