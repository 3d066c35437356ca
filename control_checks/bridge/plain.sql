-- $1 flow, $2 T, $3 K, $4 parameters, as in bridge.sql, and `once`, the steps after the first. What needs no closer look, if no run
-- reports it: a transaction that did nothing in the period that a hop begins with; and one that is plain (see read.plain): it
-- passed every step once, with one amount throughout. Of this one `hops` are those that begin in the period; where items are
-- listed it is looked at closely.
WITH around AS MATERIALIZED (  -- two days more at either end: a month by the clock of the entity is another by UTC
    SELECT DISTINCT e.component FROM read.present_event e
    WHERE e.type = ANY (ARRAY(SELECT t.type FROM read.step_type($1, $3) t WHERE t.side = 'done_by' AND t.step IN (
              SELECT h ->> 'from_step' FROM jsonb_array_elements($4::jsonb -> 'hops') h)))
      AND e.occurred_at >= ($4::jsonb ->> 'period' || '-01')::date - interval '2 days'
      AND e.occurred_at < ($4::jsonb ->> 'period' || '-01')::date + interval '1 month 2 days'),
close AS MATERIALIZED (
    SELECT d.component FROM read.exception e JOIN read.present_document d ON d.document_id = e.subject
    WHERE e.run IN (SELECT (r ->> 'run')::bigint FROM jsonb_array_elements($4::jsonb -> 'runs') r)
    UNION
    SELECT component FROM read.entangled),
begun AS (
    SELECT e.component, min(e.amount_minor) FILTER (WHERE e.counts) AS amount_minor, min(e.currency) FILTER (WHERE e.counts) AS currency,
           min(e.entity) FILTER (WHERE e.on_anchor) AS entity,
           ARRAY[max(e.occurred_at) FILTER (WHERE e.is_done), max(e.occurred_at) FILTER (WHERE e.weight = 1),
                 max(e.occurred_at) FILTER (WHERE e.weight = 1000)] AS at,
           sum(e.weight) = CASE jsonb_array_length($4::jsonb -> 'hops') WHEN 1 THEN 1 WHEN 2 THEN 1001 WHEN 3 THEN 1001001 END
               AND count(*) < 1000
               AND min(e.document) FILTER (WHERE e.on_anchor) = max(e.document) FILTER (WHERE e.on_anchor)
               AND max(e.occurred_at) FILTER (WHERE e.is_done) > coalesce(max(e.occurred_at) FILTER (WHERE e.is_undone), '-infinity')
               AND min(e.amount_minor) FILTER (WHERE e.counts) = max(e.amount_minor) FILTER (WHERE e.counts)
               AND min(e.currency) FILTER (WHERE e.counts) = max(e.currency) FILTER (WHERE e.counts)
               AND count(e.amount_minor) FILTER (WHERE e.on_anchor) > 0  -- what states none has the one that is claimed
               AND min(e.entity) FILTER (WHERE e.on_anchor) = max(e.entity) FILTER (WHERE e.on_anchor)
               AND NOT $4::jsonb ? 'listed' AS plain
    FROM read.meant($1, $2, $3, $4::jsonb -> 'hops' -> 0 ->> 'from_step', ($4::jsonb ->> 'once')::text[]) e
    WHERE e.component IN (SELECT component FROM around) GROUP BY e.component)
SELECT b.component, b.plain AND c.component IS NULL AS settled, 1 AS items, b.amount_minor, b.currency, b.entity,
       ARRAY(SELECT n FROM unnest(b.at) WITH ORDINALITY AS t(at, n)
             WHERE n <= jsonb_array_length($4::jsonb -> 'hops')
               AND to_char(t.at AT TIME ZONE coalesce(k.calendar ->> 'timezone', 'UTC'), 'YYYY-MM') = $4::jsonb ->> 'period') AS hops
FROM begun b LEFT JOIN close c ON c.component = b.component LEFT JOIN read.calendars($3) k ON k.entity = b.entity
UNION ALL  -- nothing of the others, except of those that a run reports
SELECT d.component, c.component IS NULL, 0, NULL, NULL, NULL, NULL
FROM (SELECT DISTINCT component FROM read.present_document) d LEFT JOIN close c ON c.component = d.component
WHERE d.component NOT IN (SELECT component FROM begun)
