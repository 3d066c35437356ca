-- $1 flow, $2 T, $3 K, $4 parameters. Nothing posted; or approved, and posted once by the interface in a leading ledger.
WITH other AS MATERIALIZED (  -- documents that are no one's business here, or excluded
    SELECT DISTINCT e.component
    FROM read.present_event e
    WHERE e.occurred_at <= $2
      AND e.type = ANY (ARRAY(SELECT t.type FROM read.step_type($1, $3) t WHERE t.step = $4::jsonb ->> 'posted' AND t.side = 'done_by'))
      AND (NOT (SELECT $4::jsonb -> 'ledgers') ? coalesce(e.body -> 'accounting' ->> 'ledger', (SELECT $4::jsonb -> 'ledgers' ->> 0))
           OR (SELECT ($4::jsonb -> 'migration') || ($4::jsonb -> 'manual')) ? coalesce(e.body -> 'attributes' ->> 'document_type', '')
           OR ((SELECT $4::jsonb -> 'interface' <> '{}') AND NOT EXISTS (
               SELECT FROM jsonb_each($4::jsonb -> 'interface') i
               WHERE i.value ? coalesce(e.body -> 'attributes' ->> i.key, e.body ->> i.key)))))
SELECT f.component, f.absent OR (f.plain AND o.component IS NULL) AS settled, CASE WHEN f.absent THEN 0 ELSE 1 END AS items,
       f.once_minor AS amount_minor, f.once_currency AS currency
FROM read.plain($1, $2, $3, $4::jsonb ->> 'approved', ARRAY[$4::jsonb ->> 'posted']) f
LEFT JOIN other o ON o.component = f.component
