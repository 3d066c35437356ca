-- $1 flow, $2 T, $3 K, $4 parameters. Nothing posted; or once, in a leading ledger; and no other posting can have its key.
WITH own AS NOT MATERIALIZED (
    SELECT n.document, n.number, n.folded FROM read.present_number n WHERE n.kind = (SELECT read.anchor_kind($1, $3))),
marked AS MATERIALIZED (  -- those that name the document that they are of, or are in another ledger
    SELECT d.component, m.source_document, m.is_leading
    FROM (SELECT e.document, e.body -> 'attributes' ->> 'source_document' AS source_document,
                 (SELECT $4::jsonb -> 'ledgers') ? coalesce(e.body -> 'accounting' ->> 'ledger', (SELECT $4::jsonb -> 'ledgers' ->> 0)) AS is_leading
          FROM read.present_event e
          WHERE e.occurred_at <= $2
            AND e.type = ANY (ARRAY(SELECT t.type FROM read.step_type($1, $3) t WHERE t.step = $4::jsonb ->> 'posted' AND t.side = 'done_by'))) m
    CROSS JOIN LATERAL (SELECT component FROM read.present_document d WHERE d.document = m.document OFFSET 0) d
    WHERE m.source_document IS NOT NULL OR NOT m.is_leading),
other AS MATERIALIZED (  -- several documents may go by one number
    SELECT component FROM marked WHERE NOT is_leading
    UNION
    SELECT unnest(array_agg(component)) FROM marked WHERE source_document IS NOT NULL GROUP BY source_document HAVING count(*) > 1
    UNION
    SELECT unnest(ARRAY[m.component, d.component])
    FROM marked m JOIN own o ON o.number = m.source_document JOIN read.present_document d ON d.document = o.document
    WHERE d.component <> m.component
    UNION
    SELECT d.component
    FROM (SELECT folded FROM own GROUP BY folded HAVING count(*) > 1) o
    CROSS JOIN LATERAL (SELECT n.document FROM own n WHERE n.folded = o.folded OFFSET 0) n
    CROSS JOIN LATERAL (SELECT component FROM read.present_document d WHERE d.document = n.document OFFSET 0) d)
SELECT f.component, (f.plain OR f.absent) AND o.component IS NULL AS settled, CASE WHEN f.absent THEN 0 ELSE 1 END AS items,
       f.once_minor AS amount_minor, f.once_currency AS currency
FROM read.plain($1, $2, $3, NULL, ARRAY[$4::jsonb ->> 'posted']) f LEFT JOIN other o ON o.component = f.component
