-- $1 flow, $2 T, $3 K, $4 parameters. The last step is done, or there is no claim: nothing is open,
-- and nothing is an item.
WITH step AS MATERIALIZED (SELECT * FROM read.step_type($1, $3)),
last AS MATERIALIZED (
    SELECT type, count(*) = 1 AND min(side) = 'done_by' AS is_done FROM step
    WHERE ordinal = (SELECT max(ordinal) FROM step) AND side IN ('done_by', 'undone_by') GROUP BY type),
done AS (
    SELECT e.component FROM read.present_event e JOIN last l ON l.type = e.type
    WHERE e.occurred_at <= $2 GROUP BY e.component HAVING count(*) = 1 AND bool_and(l.is_done)),
whole AS (
    SELECT d.component, count(*) FILTER (WHERE d.kind = (SELECT read.anchor_kind($1, $3))) AS anchors
    FROM read.present_document d GROUP BY d.component)
SELECT w.component, (w.anchors = 0 OR (w.anchors = 1 AND d.component IS NOT NULL)) AND t.component IS NULL AS settled,
       0 AS items, NULL::bigint AS amount_minor, NULL::text AS currency
FROM whole w LEFT JOIN done d ON d.component = w.component
LEFT JOIN (SELECT DISTINCT component FROM read.entangled) t ON t.component = w.component
