-- $1 flow, $2 T, $3 K, $4 parameters, $5 documents (NULL: all)
WITH p AS MATERIALIZED (
    SELECT $4::jsonb AS p, (SELECT f ->> 'anchor' FROM jsonb_array_elements(read.configuration($3) -> 'flows') f
                            WHERE f ->> 'flow' = $1) AS anchor_kind),
source AS MATERIALIZED (
    SELECT s.component, bool_or(s.done_at IS NOT NULL) AS approved,
           bool_or(s.state = p.p ->> 'rejected') AS rejected, min(s.number) AS number
    FROM p, read.steps($1, $2, $3, p_steps => ARRAY[p.p ->> 'approved'], p_documents => $5) s GROUP BY s.component),
ev AS MATERIALIZED (
    SELECT e.* FROM p CROSS JOIN LATERAL read.step_events($1, $2, $3, ARRAY[p.p ->> 'posted'], $5) e
    WHERE e.side IN ('done_by', 'undone_by')),
sourced AS (  -- a document that several transactions share needs every one of them approved
    SELECT e.document, bool_and(coalesce(s.approved, false)) AS approved, bool_or(s.rejected) AS rejected, min(s.number) AS number
    FROM (SELECT DISTINCT coalesce(via, document) AS document, component FROM ev e
          WHERE via IS NOT NULL OR NOT EXISTS (SELECT FROM ev l WHERE l.via = e.document)) e
    LEFT JOIN source s ON s.component = e.component GROUP BY e.document),
last AS (  -- a reversal is about the document that it reverses
    SELECT DISTINCT ON (e.document) e.* FROM ev e WHERE e.via IS NULL ORDER BY e.document, e.rank DESC),
posted AS (
    SELECT l.*, l.body -> 'attributes' AS attributes,
           EXISTS (SELECT FROM jsonb_array_elements(l.body -> 'references') r
                   WHERE r ->> 0 = '1' AND r -> 1 ->> 0 = p.anchor_kind) AS named
    FROM last l, p
    WHERE l.side = 'done_by'
      AND p.p -> 'ledgers' ? coalesce(l.body -> 'accounting' ->> 'ledger', p.p -> 'ledgers' ->> 0)
      AND (p.p -> 'interface' = '{}' OR EXISTS (
           SELECT FROM jsonb_each(p.p -> 'interface') i
           WHERE i.value ? coalesce(l.body -> 'attributes' ->> i.key, l.body ->> i.key)))),
item AS (
    SELECT d.document_id, d.number, o.*, s.approved, s.rejected, s.number AS source_number,
           CASE WHEN o.attributes ->> 'document_type' = ANY (ARRAY(SELECT jsonb_array_elements_text(p.p -> 'migration'))) THEN 'MIGRATION'
                WHEN o.attributes ->> 'document_type' = ANY (ARRAY(SELECT jsonb_array_elements_text(p.p -> 'manual'))) THEN 'DECLARED_MANUAL_TYPE'
                END AS exclusion,
           CASE WHEN s.approved IS NOT TRUE THEN read.due_in(c.calendar, o.occurred_at, p.p ->> 'grace') END AS due_at
    FROM posted o CROSS JOIN p JOIN read.documents($3, $5) d ON d.document = o.document
    LEFT JOIN sourced s ON s.document = o.document
    LEFT JOIN read.calendars($3) c ON c.entity = o.entity)
SELECT document_id AS subject, number, entity, amount_minor, currency,
       CASE WHEN exclusion IS NOT NULL THEN 'excluded'
            WHEN approved THEN 'ok'
            WHEN due_at IS NULL THEN 'unevaluable'
            WHEN $2 <= due_at THEN 'pending'
            ELSE 'breach' END AS finding,
       CASE WHEN exclusion IS NOT NULL THEN exclusion
            WHEN approved THEN ''
            WHEN due_at IS NULL THEN 'NO_DUE_TIME'
            WHEN $2 <= due_at THEN ''
            WHEN rejected THEN 'SOURCE_REJECTED'
            WHEN source_number IS NOT NULL THEN 'SOURCE_NOT_APPROVED'
            WHEN named THEN 'LINK_BROKEN'
            ELSE 'NO_SOURCE' END AS reason,
       'absence' AS proof, ARRAY[p.p ->> 'approved'] AS missing, occurred_at AS basis_at,
       occurred_at - make_interval(days => (p.p ->> 'look_back_days')::int) AS since_at, due_at,
       'an approved source transaction' AS expected,
       CASE WHEN source_number IS NULL THEN 'none' ELSE 'not approved' END AS actual,
       amount_minor AS difference_minor,
       jsonb_build_object('kind', kind, 'posted_at', occurred_at, 'source', source_number,
                          'named', (SELECT r -> 1 ->> 2 FROM jsonb_array_elements(body -> 'references') r
                                    WHERE r ->> 0 = '1' AND r -> 1 ->> 0 = p.anchor_kind LIMIT 1),
                          'user', body ->> 'actor') AS details
FROM item, p ORDER BY number, document_id
