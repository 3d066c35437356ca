-- $1 flow, $2 T, $3 K, $4 parameters, $5 documents (NULL: all)
WITH p AS MATERIALIZED (
    SELECT $4::jsonb AS p, (SELECT s -> 'via' FROM jsonb_array_elements(read.configuration($3) -> 'flows') f,
                                   jsonb_array_elements(f -> 'steps') s
                            WHERE f ->> 'flow' = $1 AND s ->> 'name' = $4::jsonb ->> 'of') AS via),
ev AS MATERIALIZED (
    SELECT e.* FROM p CROSS JOIN LATERAL read.step_events($1, $2, $3, ARRAY[p.p ->> 'of', p.p ->> 'returned'], $5) e
    WHERE e.side IN ('done_by', 'undone_by')),
executed AS (
    SELECT l.*, d.document_id, d.number, coalesce(l.via_number, d.number) AS own,
           coalesce(l.via IS NULL AND d.alone AND l.via_kinds ? l.kind, false) AS unnamed,
           ARRAY[ltrim(lower(d.number), '0'), ltrim(lower(l.via_number), '0')] AS folded,
           coalesce(l.body -> 'accounting' ->> 'fiscal_year', l.body -> 'attributes' ->> 'fiscal_year') AS year
    FROM (SELECT DISTINCT ON (e.document) e.*, p.via AS via_kinds FROM ev e, p WHERE e.step = p.p ->> 'of'
          ORDER BY e.document, e.rank DESC) l
    JOIN (SELECT d.*, count(*) OVER (PARTITION BY d.component) = 1 AS alone FROM read.documents($3, $5) d) d
      ON d.document = l.document
    WHERE l.side = 'done_by'  -- what a group document did is reported back by each that names it
      AND NOT EXISTS (SELECT FROM ev e, p WHERE e.via = l.document AND e.step = p.p ->> 'of')),
shown AS (
    SELECT e.component, e.occurred_at, e.event_id, e.body ->> 'status' AS status,
           e.body -> 'attributes' ->> (p.p ->> 'number') AS number,
           coalesce(e.body -> 'attributes' ->> (p.p ->> 'year'), e.body -> 'accounting' ->> (p.p ->> 'year')) AS year
    FROM ev e, p WHERE e.step = p.p ->> 'returned' AND e.side = 'done_by'),
seen AS (  -- what the source shows of a document: what names it, else the last that names none of these
    SELECT DISTINCT ON (x.document) x.document, h.number, h.year, h.status, h.occurred_at,
           coalesce(ltrim(lower(h.number), '0') = ANY (x.folded)
                    AND coalesce(h.year = x.year, x.year IS NULL), false) AS same
    FROM executed x JOIN shown h ON h.component = x.component
    LEFT JOIN executed other ON other.component = x.component AND other.document <> x.document
                            AND ltrim(lower(h.number), '0') = ANY (other.folded)
                            AND NOT ltrim(lower(h.number), '0') = ANY (x.folded)
    WHERE other.document IS NULL AND (h.occurred_at >= x.occurred_at OR ltrim(lower(h.number), '0') = ANY (x.folded))
    ORDER BY x.document, ltrim(lower(h.number), '0') = ANY (x.folded) DESC NULLS LAST, h.occurred_at DESC, h.event_id),
item AS (
    SELECT x.*, s.number AS shown_number, s.year AS shown_year, s.status AS shown_status, s.same,
           coalesce(s.same AND j.accepted ? s.status, false) AS returned, j.accepted ->> 0 AS status,
           CASE WHEN NOT coalesce(s.same AND j.accepted ? s.status, false)
                THEN read.due_in(c.calendar, x.occurred_at, p.p ->> 'due') END AS due_at
    FROM executed x CROSS JOIN p LEFT JOIN seen s ON s.document = x.document
    LEFT JOIN read.calendars($3) c ON c.entity = x.entity
    CROSS JOIN LATERAL (SELECT p.p -> 'statuses' AS accepted) j)
SELECT document_id AS subject, number, entity, amount_minor, currency,
       CASE WHEN returned THEN 'ok'
            WHEN due_at IS NULL THEN 'unevaluable'
            WHEN $2 <= due_at THEN 'pending'
            WHEN unnamed THEN 'unevaluable'
            ELSE 'breach' END AS finding,
       CASE WHEN returned THEN ''
            WHEN due_at IS NULL THEN 'NO_DUE_TIME'
            WHEN $2 <= due_at THEN ''
            WHEN unnamed THEN 'NOT_NAMED'
            WHEN same IS NULL THEN 'NOT_RETURNED'
            WHEN NOT same THEN 'NUMBER_DIFFERS'
            ELSE 'STATUS_DIFFERS' END AS reason,
       'absence' AS proof, ARRAY[p.p ->> 'returned'] AS missing, occurred_at AS basis_at,
       occurred_at AS since_at, due_at,
       concat_ws('/', own, year) || ', ' || status AS expected,
       coalesce(concat_ws('/', shown_number, shown_year) || ', ' || shown_status, 'nothing') AS actual,
       NULL::bigint AS difference_minor,
       jsonb_build_object('kind', kind, 'shown', concat_ws('/', shown_number, shown_year), 'own', concat_ws('/', own, year),
                          'shown_status', shown_status, 'status', status, 'step', p.p ->> 'of') AS details
FROM item, p ORDER BY number, document_id
