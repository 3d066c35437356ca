-- $1 flow, $2 T, $3 K, $4 parameters, $5 documents (NULL: all)
WITH p AS MATERIALIZED (SELECT $4::jsonb AS p),
own AS MATERIALIZED (  -- the documents of this kind of master data, among those of all that is bought and claimed
    SELECT coalesce(array_agg(d.document), '{}') AS documents FROM read.present_document d
    WHERE (cardinality($5::bigint[]) IS NULL OR d.document = ANY ($5)) AND d.component = ANY (ARRAY(
        SELECT DISTINCT t.component FROM read.present_document t WHERE t.document = ANY (ARRAY(
            SELECT DISTINCT e.document FROM read.present_event e
            WHERE e.type = ANY (ARRAY(SELECT y.type FROM read.step_type($1, $3) y))))))),
step AS MATERIALIZED (
    SELECT s.value ->> 'name' AS step, s.value ->> 'system' AS system
    FROM jsonb_array_elements(read.configuration($3) -> 'flows') f, jsonb_array_elements(f -> 'steps') s
    WHERE f ->> 'flow' = $1),
said AS MATERIALIZED (  -- what everybody has of each code at T: the value that is valid then, known at K and told by T
    SELECT v.*, ltrim(lower(d.number), '0') AS code, d.document_id, d.number
    FROM read.dimension_at($1, $2, $2, $3, (SELECT documents FROM own)) v
    JOIN read.documents($3, (SELECT documents FROM own)) d ON d.document = v.document),
owner AS (
    SELECT DISTINCT ON (s.code) s.*, s.value AS a, s.since AS from_at, s.state = 'future' AS future,
           s.state IN ('deleted', 'ended') OR read.dimension_closed(p.p - 'values', s.value) AS closed
    FROM p JOIN said s ON s.step = p.p ->> 'owner'
    ORDER BY s.code, s.state = 'future', s.state <> 'value', s.since DESC, s.document),
heard AS MATERIALIZED (  -- when each list was last synchronised
    SELECT DISTINCT ON (e.step) e.step, e.occurred_at AS last_at, d.document_id, d.number, e.kind, e.entity
    FROM p CROSS JOIN read.step_events($1, $2, $3, ARRAY(SELECT s.value FROM p, jsonb_each_text(p.p -> 'synchronised') s),
                                       (SELECT documents FROM own)) e
    JOIN read.documents($3, (SELECT documents FROM own)) d ON d.document = e.document
    WHERE e.side = 'done_by' ORDER BY e.step, e.occurred_at DESC, d.document),
consumer AS (
    SELECT c.step, s.system, h.last_at AS synchronised_at
    FROM p CROSS JOIN jsonb_array_elements_text(p.p -> 'consumers') c(step) JOIN step s ON s.step = c.step
    LEFT JOIN heard h ON h.step = p.p -> 'synchronised' ->> c.step),
held AS (
    SELECT DISTINCT ON (s.step, s.code) s.*, s.value AS a FROM said s JOIN consumer c ON c.step = s.step
    WHERE s.state NOT IN ('deleted', 'future')
    ORDER BY s.step, s.code, s.state <> 'value', s.since DESC, s.document),
compared AS MATERIALIZED (
    SELECT c.step, c.system, c.synchronised_at, o.code AS owned, o.future, o.closed, o.from_at, o.first_at, h.code AS has, h.a AS held,
           coalesce(o.number, h.number) AS number, coalesce(o.document_id, h.document_id) AS document_id,
           coalesce(o.kind, h.kind) AS kind, coalesce(o.entity, h.entity) AS entity, o.a, o.last_at,
           CASE WHEN o.state IN ('deleted', 'ended') THEN o.state ELSE o.a ->> 'status' END AS status,
           CASE WHEN o.state = 'gap' OR h.state = 'gap' THEN 'GAP'
                WHEN coalesce(o.rivals, h.rivals) IS NOT NULL AND EXISTS (SELECT FROM jsonb_array_elements_text(p.p -> 'attributes') x(name),
                                         unnest(ARRAY[o.rivals, h.rivals]) several
                             WHERE (SELECT count(DISTINCT coalesce(r.value ->> x.name, '')) > 1
                                    FROM jsonb_array_elements(several) r)) THEN 'OVERLAP' END AS unclear,
           h.state = 'ended' OR read.dimension_closed(p.p, h.a) AS held_closed,
           CASE WHEN o.a IS DISTINCT FROM h.a OR p.p -> 'values' <> '{}' THEN (read.dimension_differs(p.p, o.a, h.a))[1] END AS differing
    FROM p CROSS JOIN consumer c
    JOIN (SELECT code FROM owner UNION SELECT code FROM held) every ON true
    LEFT JOIN owner o ON o.code = every.code
    LEFT JOIN held h ON h.step = c.step AND h.code = every.code
    WHERE (o.code IS NOT NULL OR h.code IS NOT NULL)
      AND (o.code IS NULL OR NOT EXISTS (SELECT FROM jsonb_each(p.p -> 'subset') i WHERE NOT i.value ? coalesce(o.a ->> i.key, '')))
      AND (o.closed IS NOT TRUE OR o.from_at >= $2 - make_interval(days => (p.p ->> 'ended_days')::int))),
found AS (
    SELECT m.*, CASE WHEN has IS NULL THEN CASE WHEN closed THEN NULL ELSE 'MISSING' END
                     WHEN closed AND NOT held_closed THEN 'STILL_ACTIVE'
                     WHEN differing IS NOT NULL AND NOT (closed AND held_closed) THEN 'DIFFERENT(' || differing || ')' END AS wrong,
           CASE WHEN closed THEN p.p ->> 'due_closed' ELSE p.p ->> 'due' END AS rule, k.calendar
    FROM compared m CROSS JOIN p LEFT JOIN read.calendars($3) k ON k.entity = m.entity),
item AS (
    SELECT f.*, CASE WHEN wrong IS NOT NULL THEN read.due_in(calendar, from_at, rule) END AS due_at,
           coalesce(synchronised_at < $2 - make_interval(hours => (p.p ->> 'stopped_hours')::int), false) AS stopped
    FROM found f, p),
wrong AS MATERIALIZED (SELECT DISTINCT owned AS code FROM item WHERE item.wrong IS NOT NULL),
asked AS MATERIALIZED (  -- documents that may have used one
    SELECT e.document FROM read.present_event e
    WHERE EXISTS (SELECT FROM wrong) AND e.type = ANY (ARRAY(SELECT jsonb_array_elements_text(p.p -> 'used_by') FROM p))
      AND ltrim(lower(e.body -> 'dimensions' ->> (SELECT p.p ->> 'dimension' FROM p)), '0') = ANY (ARRAY(SELECT code FROM wrong))),
usage AS (
    SELECT u.code, u.currency, u.occurred_at, u.amount_minor FROM (
        SELECT DISTINCT ON (e.document) e.document, e.currency, e.occurred_at, e.amount_minor,
               ltrim(lower(e.body -> 'dimensions' ->> (p.p ->> 'dimension')), '0') AS code
        FROM p CROSS JOIN read.flow_events(p.p ->> 'used_in', $2, $3, ARRAY(
            SELECT document FROM asked
            UNION  -- and those to which a group document lends that
            SELECT g.member FROM asked a JOIN read.present_group g ON g.document = a.document)) e
        WHERE p.p -> 'used_by' ? e.type AND e.body -> 'dimensions' ? (p.p ->> 'dimension')
        ORDER BY e.document, e.rank) u),
used AS (
    SELECT i.step, i.owned, sum(n) AS n, jsonb_object_agg(currency, minor) FILTER (WHERE currency IS NOT NULL) AS amounts
    FROM (SELECT i.step, i.owned, u.currency, count(*) AS n, sum(u.amount_minor) AS minor
          FROM item i JOIN usage u ON u.code = i.owned AND u.occurred_at >= i.from_at
          WHERE i.wrong IS NOT NULL GROUP BY i.step, i.owned, u.currency) i GROUP BY i.step, i.owned),
list AS (  -- one for each list that is no longer synchronised, instead of one for each code
    SELECT c.step, c.system, c.synchronised_at, h.document_id, h.number, h.kind, h.entity
    FROM p CROSS JOIN consumer c JOIN heard h ON h.step = p.p -> 'synchronised' ->> c.step
    WHERE c.synchronised_at < $2 - make_interval(hours => (p.p ->> 'stopped_hours')::int))
SELECT document_id AS subject, number, entity, NULL::bigint AS amount_minor, NULL::text AS currency,
       CASE WHEN item.owned IS NULL OR future THEN 'excluded' WHEN unclear IS NOT NULL THEN 'unevaluable' WHEN wrong IS NULL THEN 'ok' WHEN stopped THEN 'excluded'
            WHEN due_at IS NULL THEN 'unevaluable' WHEN $2 <= due_at THEN 'pending' ELSE 'breach' END AS finding,
       CASE WHEN item.owned IS NULL THEN 'CONSUMER_ONLY' WHEN future THEN 'FUTURE_DATED' WHEN unclear IS NOT NULL THEN unclear WHEN wrong IS NULL THEN ''
            WHEN stopped THEN 'LIST_NOT_SYNCHRONISED' WHEN due_at IS NULL THEN 'NO_DUE_TIME'
            WHEN $2 <= due_at THEN '' ELSE wrong END AS reason,
       'absence' AS proof, ARRAY[p.p ->> 'owner', item.step] AS missing, from_at AS basis_at,
       CASE WHEN has IS NULL THEN first_at ELSE from_at END AS since_at, due_at,
       'as ' || (SELECT system FROM step s WHERE s.step = p.p ->> 'owner') AS expected, coalesce(wrong, '') AS actual,
       NULL::bigint AS difference_minor,
       jsonb_build_object('kind', kind, 'owner', (SELECT system FROM step s WHERE s.step = p.p ->> 'owner'), 'consumer', system,
           'rule', rule, 'closed', closed, 'status', status, 'held_status', held ->> 'status', 'last_listed_at', last_at, 'attribute', differing,
           'value', a ->> differing, 'held', held ->> differing, 'used', coalesce(used.n, 0), 'amounts', used.amounts) AS details
FROM p, item LEFT JOIN used ON used.step = item.step AND used.owned = item.owned
UNION ALL
SELECT document_id, number, entity, NULL, NULL, 'breach', 'SYNC_STOPPED', 'absence', ARRAY[p.p -> 'synchronised' ->> list.step],
       synchronised_at, synchronised_at, synchronised_at + make_interval(hours => (p.p ->> 'stopped_hours')::int), 'synchronised', 'stopped', NULL,
       jsonb_build_object('kind', kind, 'consumer', system, 'hours', p.p ->> 'stopped_hours', 'codes',
           (SELECT count(*) FROM item WHERE item.step = list.step AND wrong IS NOT NULL AND owned IS NOT NULL AND NOT future))
FROM p, list
ORDER BY number, subject
