-- $1 flow, $2 T, $3 K, $4 parameters, as in bridge.sql. A transaction adds nothing to a period in which none of the steps
-- that a hop begins with was done, if no run reports it: the others need not be looked at.
WITH around AS (  -- two days more at either end: a month by the clock of the entity is another by UTC
    SELECT DISTINCT e.component FROM read.present_event e
    WHERE e.type = ANY (ARRAY(SELECT t.type FROM read.step_type($1, $3) t WHERE t.side = 'done_by' AND t.step IN (
              SELECT h ->> 'from_step' FROM jsonb_array_elements($4::jsonb -> 'hops') h)))
      AND e.occurred_at >= ($4::jsonb ->> 'period' || '-01')::date - interval '2 days'
      AND e.occurred_at < ($4::jsonb ->> 'period' || '-01')::date + interval '1 month 2 days'
    UNION
    SELECT d.component FROM read.exception e JOIN read.present_document d ON d.document_id = e.subject
    WHERE e.run IN (SELECT (r ->> 'run')::bigint FROM jsonb_array_elements($4::jsonb -> 'runs') r)
    UNION
    SELECT component FROM read.entangled)
SELECT d.component, a.component IS NULL AS settled, 0 AS items, NULL::bigint AS amount_minor, NULL::text AS currency
FROM (SELECT DISTINCT component FROM read.present_document) d LEFT JOIN around a ON a.component = d.component
