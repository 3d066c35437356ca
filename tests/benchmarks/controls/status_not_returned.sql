-- $1 T. A posting that stands, past the close of the next business day, that the source does not show by its number and
-- year as posted.
WITH posted AS (
    SELECT e.document, max(e.occurred_at) FILTER (WHERE e.type = 'journal.posted') AS at,
           min(e.body -> 'accounting' ->> 'fiscal_year') FILTER (WHERE e.type = 'journal.posted') AS year
    FROM tieout.event e WHERE e.type IN ('journal.posted', 'journal.reversed') AND e.occurred_at <= $1 GROUP BY e.document
    HAVING max(e.occurred_at) FILTER (WHERE e.type = 'journal.posted')
         > coalesce(max(e.occurred_at) FILTER (WHERE e.type = 'journal.reversed'), '-infinity')),
shown AS (
    SELECT d.component, e.body -> 'attributes' ->> 'document_number' AS number, e.body -> 'attributes' ->> 'fiscal_year' AS year
    FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type = 'expense_report.status_returned' AND e.occurred_at <= $1 AND e.body ->> 'status' = 'posted'),
open AS MATERIALIZED (
    SELECT d.content_id, p.at FROM posted p JOIN tieout.document d ON d.id = p.document
    JOIN tieout.reference n ON n.document = d.id AND n.role = 0
    LEFT JOIN shown s ON (s.component, s.number, s.year) = (d.component, n.value, p.year) WHERE s.component IS NULL)
SELECT content_id AS subject FROM open
WHERE $1 > (SELECT b.closes_at FROM tieout.business_day b WHERE b.day > (at AT TIME ZONE 'Europe/Berlin' + interval '6 hours')::date AND b.day < (at AT TIME ZONE 'Europe/Berlin' + interval '20 days')::date ORDER BY b.day LIMIT 1)
