-- $1 flow, $2 T, $3 K, $5 documents (NULL: all), $4 parameters: {period, hops: [{hop, from_step, to_step, undone}], rules,
-- runs: [{run, owner, late, duplicates}], rounding: {line, max}}. One row of `part` is what one item adds to one cell.
WITH p AS MATERIALIZED (SELECT $4::jsonb AS p),
hop AS MATERIALIZED (
    SELECT h.*, c.in_parts, c.components, coalesce(c.tolerance_minor, 0) AS tolerance_minor
    FROM p CROSS JOIN jsonb_to_recordset(p.p -> 'hops') AS h(hop int, from_step text, to_step text, undone text)
    LEFT JOIN read.comparisons($1, $3) c ON (c.left_step, c.right_step, c.grain) = (h.from_step, h.to_step, 'case')),
run AS MATERIALIZED (
    SELECT r.* FROM p, jsonb_to_recordset(p.p -> 'runs') AS r(run bigint, owner int, late boolean, duplicates boolean)),
s AS MATERIALIZED (
    SELECT s.* FROM p, read.steps($1, $2, $3, p.p -> 'rules',
                                  ARRAY(SELECT from_step FROM hop UNION SELECT to_step FROM hop), $5) s),
item AS MATERIALIZED (  -- whatever was done within the period, by the clock of the entity
    SELECT h.*, f.component, f.anchor, f.document_id, f.number, f.entity, x.minor, x.currency, x.basis_at,
           f.done_at IS NULL AS is_undone, f.status = 'UNEVALUABLE' AS several, f.state, t.due_at, t.status,
           t.done_at AS to_done_at, t.amount_minor AS to_minor, t.skipped_by,
           t.done_at IS NOT NULL AND t.currency IS NOT DISTINCT FROM x.currency AS arrived,
           h.hop = 1 AND (f.claimed_minor, f.claimed_currency) <> (f.amount_minor, f.currency) AS changed
    FROM hop h CROSS JOIN p
    JOIN s f ON f.step = h.from_step AND coalesce(f.done_at, f.last_done_at) IS NOT NULL
    JOIN s t ON t.anchor = f.anchor AND t.step = h.to_step
    LEFT JOIN read.calendars($3) c ON c.entity = f.entity
    CROSS JOIN LATERAL (
        SELECT coalesce(f.done_at, f.last_done_at) AS basis_at,
               CASE WHEN f.done_at IS NULL THEN f.last_minor ELSE f.amount_minor END AS minor,
               CASE WHEN f.done_at IS NULL THEN f.last_currency ELSE f.currency END AS currency) x
    WHERE to_char(x.basis_at AT TIME ZONE coalesce(c.calendar ->> 'timezone', 'UTC'), 'YYYY-MM') = p.p ->> 'period'),
subject AS (  -- the case that an exception is about, by its anchor or another document of its transaction
    SELECT DISTINCT e.run, e.ordinal, e.step, e.control, r.owner, r.late, r.duplicates, e.reason, e.sentence,
           e.difference_minor, e.amount_minor, e.currency, e.subject, a.anchor
    FROM run r JOIN read.exception e ON e.run = r.run
    JOIN read.documents($3, $5) d ON d.document_id = e.subject
    JOIN s a ON a.component = d.component AND (a.anchors = 1 OR a.anchor = d.document)
    -- one of both is reversed by T: an earlier period was overstated, and nothing is now
    WHERE NOT (r.duplicates AND e.reason = 'REVERSED_IN_LATER_PERIOD')),
claim AS (  -- what each control reports of an item; `at_from`: of the money that the hop begins with
    SELECT i.hop, i.anchor, e.control, e.owner, e.late, e.step = i.from_step AS at_from,
           (CASE WHEN bool_or(e.duplicates) THEN sum(e.difference_minor) ELSE min(e.difference_minor) END)::bigint
               AS difference_minor, min(e.reason) AS reason, min(e.sentence) AS sentence
    FROM item i JOIN subject e ON e.anchor = i.anchor
    WHERE (e.step = i.to_step OR (e.duplicates AND e.step = i.from_step) OR (e.late AND i.hop > 1 AND NOT i.arrived))
      AND (e.duplicates OR NOT i.arrived OR (e.amount_minor, e.currency) = (i.minor, i.currency))
    GROUP BY i.hop, i.anchor, e.control, e.owner, e.late, e.step = i.from_step),
owned AS (  -- one item, one owner
    SELECT DISTINCT ON (hop, anchor, at_from) * FROM claim ORDER BY hop, anchor, at_from, owner, control),
documented AS (
    SELECT h.hop, e.component, e.currency, sum(e.amount_minor)::bigint AS minor
    FROM hop h JOIN read.comparison_events($1, $2, $3, $5) e ON h.components ? e.type
    GROUP BY h.hop, e.component, e.currency),
rounding AS (  -- what amount_differs allows the documents that did the later step of a compared pair
    SELECT h.hop, e.component, sum(read.rounding(e.body, p.line, p.max)) AS minor
    FROM (SELECT r.* FROM p, jsonb_to_record(p.p -> 'rounding') AS r(line int, max int)) p
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (e.step, e.document) e.*
        FROM read.step_events($1, $2, $3, ARRAY(SELECT to_step FROM hop WHERE in_parts IS NOT NULL), $5) e
        WHERE e.side IN ('done_by', 'undone_by') ORDER BY e.step, e.document, e.rank DESC) e
    JOIN hop h ON h.to_step = e.step
    WHERE e.side = 'done_by' AND e.body -> 'attributes' ? 'lines' GROUP BY h.hop, e.component),
weighed AS MATERIALIZED (  -- each of these is long, and asked for several times
    SELECT i.*, r.minor AS rounding_minor, o.control, o.reason, o.sentence, twice.control AS twice,
           CASE WHEN NOT i.is_undone AND abs(i.minor - CASE WHEN i.arrived THEN i.to_minor ELSE 0 END)
                     >= abs(twice.difference_minor) THEN twice.difference_minor ELSE 0 END AS twice_minor,
           CASE WHEN i.arrived THEN -k.minor END AS components_minor,
           CASE WHEN i.arrived THEN -o.difference_minor END AS difference_minor,
           CASE WHEN i.several THEN NULL
                WHEN i.is_undone THEN i.undone
                WHEN i.arrived THEN 'to'
                WHEN NOT o.late THEN 'exceptions:' || o.control
                WHEN i.to_done_at IS NOT NULL THEN NULL
                WHEN i.minor = 0 THEN 'excluded:ZERO_PAYABLE'
                WHEN i.skipped_by IS NOT NULL THEN 'excluded:' || upper(split_part(i.skipped_by, '.', 2))
                WHEN i.status = 'SKIPPED' THEN 'excluded:' || upper(i.state)
                WHEN i.changed THEN i.undone
                WHEN $2 <= i.due_at THEN 'in_transit'
                WHEN o.late THEN 'exceptions:' || o.control END AS class
    FROM item i
    LEFT JOIN owned o ON o.hop = i.hop AND o.anchor = i.anchor AND NOT o.at_from
    LEFT JOIN owned twice ON twice.hop = i.hop AND twice.anchor = i.anchor AND twice.at_from
    LEFT JOIN rounding r ON r.hop = i.hop AND r.component = i.component
    LEFT JOIN documented k ON k.hop = i.hop AND k.component = i.component AND k.currency = i.currency),
placed AS MATERIALIZED (
    SELECT w.*, CASE WHEN class = 'to' THEN to_minor ELSE minor - coalesce(twice_minor, 0) END AS class_minor,
           CASE WHEN class = 'to' THEN minor - to_minor - coalesce(components_minor, 0)
                - coalesce(difference_minor, 0) - coalesce(twice_minor, 0)
                WHEN class IS NULL THEN minor - coalesce(twice_minor, 0) ELSE 0 END AS rest
    FROM weighed w),
part AS (
    SELECT w.*, x.cell, x.count, x.amount_minor
    FROM placed w CROSS JOIN LATERAL (
        SELECT CASE WHEN w.rest = 0 OR w.class IS DISTINCT FROM 'to' OR w.control IS NOT NULL THEN 'unexplained'
                    WHEN w.in_parts AND sign(w.rest) = sign(w.minor) AND $2 <= w.due_at THEN 'in_transit'
                    WHEN abs(w.rest) <= w.tolerance_minor THEN 'tolerance'
                    WHEN abs(w.rest) <= w.tolerance_minor + w.rounding_minor THEN 'rounding' ELSE 'unexplained' END AS remainder) y
    CROSS JOIN LATERAL (VALUES
        ('from', 1, w.minor),
        (w.class, 1, w.class_minor),
        (CASE WHEN w.components_minor <> 0 THEN 'components' END, 0, w.components_minor),
        (CASE WHEN w.difference_minor <> 0 THEN 'exceptions:' || w.control END, 0, w.difference_minor),
        (CASE WHEN w.twice_minor <> 0 THEN 'exceptions:' || w.twice END, 0, w.twice_minor),
        (CASE WHEN w.class IS NULL OR w.rest <> 0 THEN y.remainder END, (w.class IS NULL)::int, w.rest)
    ) x(cell, count, amount_minor) WHERE x.cell IS NOT NULL)
