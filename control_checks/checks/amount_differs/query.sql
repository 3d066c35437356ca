-- $1 flow, $2 T, $3 K, $4 parameters, $5 documents (NULL: all)
WITH p AS MATERIALIZED (SELECT $4::jsonb AS p),
pair AS MATERIALIZED (SELECT * FROM read.comparisons($1, $3)),
s AS MATERIALIZED (
    SELECT * FROM read.steps($1, $2, $3, p_steps => ARRAY(SELECT right_step FROM pair), p_documents => $5)),
doc AS MATERIALIZED (  -- what stands done, document by document
    SELECT l.*, (l.body -> 'attributes' ->> 'lines')::int AS lines, d.document_id, d.number, d.scope,
           concat_ws('/', coalesce(l.via_number, d.number), l.body -> 'accounting' ->> 'fiscal_year') AS name
    FROM (SELECT DISTINCT ON (e.step, e.document) e.*
          FROM read.step_events($1, $2, $3, ARRAY(SELECT left_step FROM pair UNION SELECT right_step FROM pair), $5) e
          WHERE e.side IN ('done_by', 'undone_by')
          ORDER BY e.step, e.document, e.rank DESC) l
    JOIN read.documents($3, $5) d ON d.document = l.document WHERE l.side = 'done_by'),
member AS (  -- which documents a comparison holds against each other, and under which item
    SELECT c.ordinal, d.component AS item, d.step = c.right_step AS is_right, d.*
    FROM pair c JOIN doc d ON d.step IN (c.left_step, c.right_step) WHERE c.grain = 'case'
    UNION ALL
    SELECT c.ordinal, d.document, true, d.* FROM pair c JOIN doc d ON d.step = c.right_step AND d.via IS NULL WHERE c.grain = 'group'
    UNION ALL
    SELECT DISTINCT c.ordinal, r.document, false, l.*
    FROM pair c JOIN doc r ON r.step = c.right_step AND r.via IS NULL
    JOIN read.names($3, $5) n ON (n.kind, n.scope, n.value) = (r.kind, r.scope, r.number) AND n.role = 2
    JOIN doc l ON l.step = c.left_step AND l.document = n.document
    WHERE c.grain = 'group'),
total AS (
    SELECT ordinal, item, is_right, min(component) AS component,
           CASE WHEN count(DISTINCT currency) = 1 THEN sum(amount_minor)::bigint END AS minor,
           min(currency) AS currency, count(DISTINCT currency) AS currencies, count(amount_minor) = count(*) AS known,
           sum(lines)::int AS lines,
           sum(read.rounding(body, (p.p ->> 'rounding_minor')::int, (p.p ->> 'rounding_minor_max')::int))
               FILTER (WHERE lines IS NOT NULL)::int AS rounding,
           count(*) > count(DISTINCT (amount_minor, currency, body -> 'attributes' ->> 'account')) AS repeated,
           min(occurred_at) AS since_at, max(occurred_at) AS done_at, string_agg(name, ', ' ORDER BY name) AS names,
           min(entity) AS entity, min(kind) AS kind, min(number) AS number,
           (array_agg(document_id))[1] AS document_id
    FROM member, p GROUP BY ordinal, item, is_right),
documented AS (
    SELECT c.ordinal, e.component, e.currency,
           sum(e.amount_minor) FILTER (WHERE c.components ? e.type)::bigint AS minor,
           sum(e.amount_minor) FILTER (WHERE c.tax ? e.type)::bigint AS tax
    FROM pair c JOIN read.comparison_events($1, $2, $3, $5) e ON c.components ? e.type OR c.tax ? e.type
    GROUP BY c.ordinal, e.component, e.currency),
judged AS (
    SELECT c.*, l.minor AS left_minor, l.currency, l.minor + coalesce(k.minor, 0) AS expected_minor, k.minor AS components_minor,
           k.tax AS tax_minor, r.minor AS right_minor, r.currency AS right_currency, r.names, r.lines, r.since_at, r.done_at,
           l.since_at AS left_at, coalesce(a.document_id, r.document_id) AS document_id, coalesce(a.number, r.number) AS number,
           coalesce(a.entity, r.entity) AS entity, CASE WHEN a.anchor IS NULL THEN r.kind END AS kind, a.due_at,
           coalesce(a.anchors, 1) > 1 AS several, NOT (l.known AND r.known) OR l.currencies <> 1 AS unknown,
           l.currencies = 1 AND (r.currencies > 1 OR r.currency <> l.currency) AS foreign_currency,
           r.minor - l.minor - coalesce(k.minor, 0) AS difference, c.tolerance_minor + coalesce(r.rounding, 0) AS allowed,
           (c.right_step = p.p ->> 'posted' AND r.repeated AND r.minor > l.minor + coalesce(k.minor, 0))
               OR (c.left_step = p.p ->> 'posted' AND l.repeated AND r.minor < l.minor + coalesce(k.minor, 0)) AS duplicate
    FROM pair c CROSS JOIN p
    JOIN total l ON l.ordinal = c.ordinal AND NOT l.is_right
    JOIN total r ON r.ordinal = c.ordinal AND r.item = l.item AND r.is_right
    LEFT JOIN s a ON c.grain = 'case' AND a.component = l.component AND a.step = c.right_step
    LEFT JOIN documented k ON k.ordinal = c.ordinal AND k.component = l.component AND k.currency = l.currency),
item AS (
    SELECT *, abs(difference) <= allowed AS agrees,
           in_parts AND sign(right_minor) = sign(expected_minor) AND abs(right_minor) < abs(expected_minor) AS part
    FROM judged)
SELECT document_id AS subject, number, entity, left_minor AS amount_minor, currency,
       CASE WHEN several THEN 'unevaluable' WHEN foreign_currency THEN 'breach' WHEN unknown THEN 'unevaluable'
            WHEN duplicate THEN 'excluded' WHEN agrees THEN 'ok'
            WHEN part AND due_at IS NULL THEN 'unevaluable'
            WHEN part AND $2 <= due_at THEN 'pending' ELSE 'breach' END AS finding,
       CASE WHEN several THEN 'SEVERAL_ANCHORS' WHEN foreign_currency THEN 'CURRENCY' WHEN unknown THEN 'NO_AMOUNT'
            WHEN duplicate THEN 'DUPLICATE' WHEN agrees THEN ''
            WHEN part AND due_at IS NULL THEN 'NO_DUE_TIME'
            WHEN part THEN CASE WHEN $2 <= due_at THEN '' ELSE 'PARTLY_OVERDUE' END
            WHEN right_minor = -expected_minor THEN 'SIGN'
            WHEN 10 * right_minor = expected_minor OR right_minor = 10 * expected_minor THEN 'SCALE(10)'
            WHEN 100 * right_minor = expected_minor OR right_minor = 100 * expected_minor THEN 'SCALE(100)'
            WHEN 1000 * right_minor = expected_minor OR right_minor = 1000 * expected_minor THEN 'SCALE(1000)'
            WHEN abs(difference) = abs(tax_minor) THEN 'EQUALS_TAX'
            WHEN abs(difference) <= lines THEN 'OVER_ROUNDING'
            ELSE 'AMOUNT' END AS reason,
       CASE WHEN part AND NOT foreign_currency THEN 'absence' ELSE 'presence' END AS proof, ARRAY[right_step] AS missing,
       done_at AS basis_at, left_at AS since_at, due_at,
       concat(currency, ' ', expected_minor, ' minor units') AS expected,
       concat(right_currency, ' ', right_minor, ' minor units') AS actual,
       CASE WHEN NOT foreign_currency THEN difference END AS difference_minor,
       jsonb_strip_nulls(jsonb_build_object('kind', kind, 'left', left_step, 'right', right_step, 'left_minor', left_minor,
           'right_minor', right_minor, 'right_currency', right_currency, 'components_minor', components_minor,
           'names', names, 'grain', grain, 'lines', lines)) AS details
FROM item ORDER BY number, document_id, ordinal
