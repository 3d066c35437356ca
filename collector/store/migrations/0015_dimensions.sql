-- Master data: lists that were read whole, and which value of a code is valid when.

-- A part that is a whole list (a mapping's `snapshot`), read whole: it ended with this batch. `event_id` is one of its rows,
-- which tells the instant as of which it is; `refused` the content of rows that are in quarantine, all of which have to be
-- replayed. What such a list lacks is gone: that follows, and is stored nowhere.
CREATE TABLE tieout.snapshot (
    batch    bigint PRIMARY KEY REFERENCES tieout.batch DEFERRABLE INITIALLY DEFERRED,
    event_id uuid NOT NULL,
    month    date NOT NULL,
    rows     bigint NOT NULL,
    refused  uuid[] NOT NULL
);
SELECT tieout.make_append_only('tieout.snapshot');
GRANT SELECT, INSERT ON tieout.snapshot TO tieout_app;

-- The lists that were read whole, as known at commit `p_seq`. One with less than half the rows of the one before it is
-- not believed, as if it were cut off; the next one of that size is.
CREATE FUNCTION tieout.whole_lists(p_seq bigint)
RETURNS TABLE (list text, at timestamptz, rows bigint, part_name text, believed boolean)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT w.list, w.at, w.rows, w.part_name,
           2 * w.rows >= coalesce(lag(w.rows) OVER (PARTITION BY w.list ORDER BY w.at), 0)
    FROM (SELECT s.namespace AS list, e.occurred_at AS at, max(w.rows) AS rows, min(b.part_name) AS part_name
          FROM tieout.snapshot w
          JOIN tieout.batch b ON b.id = w.batch AND b.seq <= p_seq
          JOIN tieout.stream s ON s.id = b.stream
          JOIN tieout.event e ON e.event_id = w.event_id AND e.month = w.month
          JOIN tieout.batch o ON o.id = e.batch AND o.seq <= p_seq
          WHERE NOT EXISTS (SELECT FROM tieout.supersession x WHERE x.event_id = e.event_id
                            AND x.revision_no = e.revision_no AND x.month = e.month AND x.seq <= p_seq)
            AND NOT EXISTS (
                SELECT FROM unnest(w.refused) x(content) WHERE NOT EXISTS (
                    SELECT FROM tieout.quarantine q JOIN tieout.quarantine_resolution r ON r.quarantine = q.id
                    WHERE q.stream = b.stream AND q.content = x.content AND r.kind = 'replayed' AND r.seq <= p_seq))
          GROUP BY s.namespace, e.occurred_at) w;
END;

-- Rows of lists that are gone, by T: `last_at` is the last list that has one, `gone_at` the first whole one after it, which
-- lacks it, and `again_at` the one that has it again.
CREATE FUNCTION tieout.unlisted(p_seq bigint, p_as_of timestamptz)
RETURNS TABLE (document bigint, list text, line text, last_at timestamptz, gone_at timestamptz, again_at timestamptz)
LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH whole AS MATERIALIZED (SELECT w.list, w.at FROM tieout.whole_lists(p_seq) w WHERE w.believed AND w.at <= p_as_of),
    listing AS (
        SELECT DISTINCT e.document, e.body #>> '{listed,list}' AS list, e.body #>> '{listed,row}' AS line, e.occurred_at AS at
        FROM tieout.batch b JOIN tieout.event e ON e.batch = b.id
        WHERE b.seq <= p_seq AND e.body ? 'listed' AND e.occurred_at <= p_as_of
          AND b.stream IN (SELECT o.stream FROM tieout.snapshot w JOIN tieout.batch o ON o.id = w.batch)
          AND NOT EXISTS (SELECT FROM tieout.supersession x WHERE x.event_id = e.event_id
                          AND x.revision_no = e.revision_no AND x.month = e.month AND x.seq <= p_seq)),
    line AS (
        SELECT l.*, lead(l.at) OVER (PARTITION BY l.document, l.list, l.line ORDER BY l.at) AS again_at FROM listing l),
    next_list AS MATERIALIZED (
        SELECT i.list, i.at, (SELECT min(w.at) FROM whole w WHERE w.list = i.list AND w.at > i.at) AS next_at
        FROM (SELECT DISTINCT l.list, l.at FROM listing l) i)
    SELECT l.document, l.list, l.line, l.at, n.next_at, l.again_at
    FROM line l JOIN next_list n ON n.list = l.list AND n.at = l.at
    WHERE n.next_at < coalesce(l.again_at, 'infinity');
END;

-- What was told of the codes of a kind of master data by T, as known at K: a row for each value, with the time in which
-- it is valid, [valid_from, valid_to). `told_at` is when it was first told; `last_at`, of a row of lists, the last list that
-- has it, and `gone_at` the first one after that which lacks it.
--
-- A row of a list without a validity of its own is valid from the first list that tells it to the one that tells another
-- value or lacks it. Of rows with a validity those count that the last list has: one that it lacks was taken back, unless it
-- has none of the code, which then ended. What is told by an event counts from its `valid_from`, or else from when it
-- occurred; the same `valid_from` again replaces it. Where a row does not state its end (`stated`), the next one ends it.
CREATE FUNCTION read.dimension_values(p_flow text, p_as_of timestamptz, p_as_known timestamptz,
                                      p_documents bigint[] DEFAULT NULL)
RETURNS TABLE (step text, document bigint, kind text, entity text, value jsonb, list text, rank bigint, told_at timestamptz,
               valid_from timestamptz, valid_to timestamptz, stated boolean, last_at timestamptz, gone_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
ROWS 100000 SET enable_nestloop = off SET enable_mergejoin = off SET jit = off SET work_mem = '64MB'  -- whole tables, whatever statistics say
BEGIN ATOMIC
WITH told AS MATERIALIZED (
    SELECT e.step, e.document, e.kind, e.entity, e.rank, e.occurred_at,
           coalesce(e.body -> 'attributes', '{}') || jsonb_strip_nulls(jsonb_build_object('status', e.body -> 'status')) AS value,
           e.body #>> '{listed,list}' AS list, e.body #>> '{listed,row}' AS line,
           (e.body #>> '{valid,from}')::timestamptz AS valid_from, (e.body #>> '{valid,to}')::timestamptz AS valid_to
    FROM read.step_events(p_flow, p_as_of, p_as_known, p_documents => p_documents) e WHERE e.side = 'done_by'),
whole AS MATERIALIZED (
    SELECT w.list, w.at FROM tieout.whole_lists(read.seq_at(p_as_known)) w WHERE w.believed AND w.at <= p_as_of),
next_list AS MATERIALIZED (
    SELECT i.list, i.occurred_at, (SELECT min(w.at) FROM whole w WHERE w.list = i.list AND w.at > i.occurred_at) AS at
    FROM (SELECT DISTINCT t.list, t.occurred_at FROM told t WHERE t.list IS NOT NULL) i),
listed AS (
    SELECT t.*, CASE WHEN n.at < coalesce(lead(t.occurred_at) OVER line, 'infinity') THEN n.at END AS gone_at
    FROM told t JOIN next_list n ON n.list = t.list AND n.occurred_at = t.occurred_at
    WINDOW line AS (PARTITION BY t.step, t.document, t.list, t.line ORDER BY t.occurred_at, t.rank)),
begun AS (
    SELECT l.*, lag(l.gone_at) OVER line IS NOT NULL
                OR lag(jsonb_build_array(l.value, l.valid_from, l.valid_to)) OVER line
                   IS DISTINCT FROM jsonb_build_array(l.value, l.valid_from, l.valid_to) AS begins
    FROM listed l WINDOW line AS (PARTITION BY l.step, l.document, l.list, l.line ORDER BY l.occurred_at, l.rank)),
run AS (
    SELECT b.*, count(*) FILTER (WHERE b.begins) OVER (
               PARTITION BY b.step, b.document, b.list, b.line ORDER BY b.occurred_at, b.rank) AS run
    FROM begun b),
kept AS (  -- lists that tell the same of a row, one after the other
    SELECT r.step, r.document, r.list, r.line, r.value, r.valid_from, r.valid_to, min(r.kind) AS kind,
           max(r.entity) AS entity, max(r.rank) AS rank, min(r.occurred_at) AS told_at, max(r.occurred_at) AS last_at,
           max(r.gone_at) AS gone_at,
           lead(min(r.occurred_at)) OVER (PARTITION BY r.step, r.document, r.list, r.line ORDER BY r.run) AS next_at
    FROM run r GROUP BY r.step, r.document, r.list, r.line, r.run, r.value, r.valid_from, r.valid_to),
dated AS (
    SELECT k.*, bool_or(k.gone_at IS NULL) FILTER (WHERE k.next_at IS NULL)
                    OVER (PARTITION BY k.step, k.document, k.list) AS stands
    FROM kept k WHERE k.valid_from IS NOT NULL),
single AS (
    SELECT DISTINCT ON (t.step, t.document, coalesce(t.valid_from, t.occurred_at))
           t.step, t.document, t.kind, t.entity, t.value, t.rank, t.occurred_at,
           coalesce(t.valid_from, t.occurred_at) AS valid_from, t.valid_to
    FROM told t WHERE t.list IS NULL
    ORDER BY t.step, t.document, coalesce(t.valid_from, t.occurred_at), t.occurred_at DESC, t.rank DESC),
statement AS (
    SELECT k.step, k.document, k.kind, k.entity, k.value, k.list, k.rank, k.told_at, k.told_at AS valid_from,
           coalesce(least(k.gone_at, k.next_at, k.valid_to), 'infinity') AS valid_to, true AS stated, k.last_at, k.gone_at
    FROM kept k WHERE k.valid_from IS NULL
    UNION ALL
    SELECT d.step, d.document, d.kind, d.entity, d.value, d.list, d.rank, d.told_at, d.valid_from,
           least(d.valid_to, d.gone_at), least(d.valid_to, d.gone_at) IS NOT NULL, d.last_at, d.gone_at
    FROM dated d WHERE d.next_at IS NULL AND (d.gone_at IS NULL OR NOT d.stands AND d.valid_from < d.gone_at)
    UNION ALL
    SELECT s.step, s.document, s.kind, s.entity, s.value, NULL::text AS list, s.rank, s.occurred_at, s.valid_from, s.valid_to,
           s.valid_to IS NOT NULL, NULL::timestamptz AS last_at, NULL::timestamptz AS gone_at
    FROM single s)
SELECT s.step, s.document, s.kind, s.entity, s.value, s.list, s.rank, s.told_at, s.valid_from,
       CASE WHEN s.stated THEN s.valid_to ELSE coalesce(lead(s.valid_from) OVER (
           PARTITION BY s.step, s.document ORDER BY s.valid_from, s.told_at), 'infinity') END,
       s.stated, s.last_at, s.gone_at
FROM statement s;
END;

-- The value of each code at an instant. `state`: `value`, or why there is none: `future` (its first is valid only later),
-- `deleted` (the list lacks it), `ended`, or `gap` (between two). `since`: from when on that is so, and was told.
-- `rivals` are the values of several rows that state to be valid then; `first_at` is when the code was first told.
CREATE FUNCTION read.dimension_at(p_flow text, p_at timestamptz, p_as_of timestamptz, p_as_known timestamptz,
                                  p_documents bigint[] DEFAULT NULL)
RETURNS TABLE (step text, document bigint, kind text, entity text, value jsonb, state text, since timestamptz,
               told_at timestamptz, valid_from timestamptz, valid_to timestamptz, last_at timestamptz, gone_at timestamptz,
               rivals jsonb, first_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
ROWS 10000 SET jit = off
BEGIN ATOMIC
WITH placed AS MATERIALIZED (
    SELECT v.*, CASE WHEN v.valid_to <= p_at THEN 'past' WHEN v.valid_from <= p_at THEN 'now' ELSE 'to come' END AS place
    FROM read.dimension_values(p_flow, p_as_of, p_as_known, p_documents) v),
best AS (
    SELECT DISTINCT ON (p.step, p.document) p.* FROM placed p
    ORDER BY p.step, p.document, p.place,  -- now, past, to come
             CASE p.place WHEN 'now' THEN p.valid_from WHEN 'past' THEN p.valid_to END DESC,
             CASE WHEN p.place = 'to come' THEN p.valid_from END, p.told_at DESC, p.rank DESC),
every AS (
    SELECT p.step, p.document, min(p.told_at) AS first_at, bool_or(p.place = 'to come') AS follows,
           jsonb_agg(DISTINCT p.value) FILTER (WHERE p.place = 'now' AND p.stated) AS rivals
    FROM placed p GROUP BY p.step, p.document)
SELECT b.step, b.document, b.kind, b.entity, b.value,
       CASE b.place WHEN 'now' THEN 'value' WHEN 'to come' THEN 'future'
           ELSE CASE WHEN b.gone_at = b.valid_to THEN 'deleted' WHEN e.follows THEN 'gap' ELSE 'ended' END END,
       CASE b.place WHEN 'now' THEN greatest(b.told_at, b.valid_from) WHEN 'past' THEN greatest(b.told_at, b.valid_to)
           ELSE b.valid_from END,
       b.told_at, b.valid_from, b.valid_to, b.last_at, b.gone_at,
       CASE WHEN jsonb_array_length(e.rivals) > 1 THEN e.rivals END, e.first_at
FROM best b JOIN every e ON e.step = b.step AND e.document = b.document;
END;

-- Which attributes a holder has otherwise than the owner: `attributes` of the rules, less case and blanks; `values` are the
-- owner's words for the holder's, and `decimals` compare as the numbers that they are.
CREATE FUNCTION read.dimension_differs(p_rules jsonb, p_owned jsonb, p_held jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT coalesce(array_agg(x.name ORDER BY x.name), '{}')
    FROM jsonb_array_elements_text(p_rules -> 'attributes') x(name)
    CROSS JOIN LATERAL (
        SELECT lower(btrim(p_owned ->> x.name)) AS owned,
               lower(btrim(coalesce(p_rules -> 'values' ->> (p_held ->> x.name), p_held ->> x.name))) AS held) t
    WHERE CASE WHEN p_rules -> 'decimals' ? x.name AND t.owned ~ '^-?\d+(\.\d+)?$' AND t.held ~ '^-?\d+(\.\d+)?$'
               THEN t.owned::numeric <> t.held::numeric ELSE t.owned IS DISTINCT FROM t.held END);

-- Whether a value is one of the `closed` words of the rules.
CREATE FUNCTION read.dimension_closed(p_rules jsonb, p_value jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(p_rules -> 'closed'
    ? lower(coalesce(p_rules -> 'values' ->> (p_value ->> 'status'), p_value ->> 'status')), false);

REVOKE EXECUTE ON FUNCTION tieout.whole_lists(bigint), tieout.unlisted(bigint, timestamptz) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION read.dimension_values(text, timestamptz, timestamptz, bigint[]),
                           read.dimension_at(text, timestamptz, timestamptz, timestamptz, bigint[]),
                           read.dimension_differs(jsonb, jsonb, jsonb), read.dimension_closed(jsonb, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tieout.whole_lists(bigint), tieout.unlisted(bigint, timestamptz) TO tieout_app;
GRANT EXECUTE ON FUNCTION read.dimension_values(text, timestamptz, timestamptz, bigint[]),
                          read.dimension_at(text, timestamptz, timestamptz, timestamptz, bigint[]),
                          read.dimension_differs(jsonb, jsonb, jsonb), read.dimension_closed(jsonb, jsonb)
    TO tieout_reader, tieout_app;
