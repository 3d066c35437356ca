-- First sight: most transactions are plain, and what is plain needs no state of steps. A control looks at all
-- that is present in one pass, says which transactions it can settle, and asks for the steps of the rest only.

-- The events that are known now, as they are: of each revision, also where it stands no more, and whatever became of
-- their document. Every event has one; an outer join is left out where nothing is asked of it.
CREATE VIEW read.present_event AS
SELECT d.component, e.document, d.kind, d.content_id AS document_id, e.type, e.occurred_at, e.amount_minor, e.currency, e.entity,
       e.body
FROM tieout.event e LEFT JOIN tieout.document d ON d.id = e.document;

CREATE VIEW read.present_document AS
SELECT d.component, d.id AS document, d.content_id AS document_id, d.kind FROM tieout.document d;

-- The numbers of the documents that are known now; `folded` is the same for all that fold to the same.
CREATE VIEW read.present_number AS
SELECT document, kind, value AS number, value_hash AS folded FROM tieout.reference WHERE role = 0;

CREATE INDEX reference_group ON tieout.reference (document) WHERE role = 2;

-- The documents that name a document as their group.
CREATE VIEW read.present_group AS
SELECT n.document AS member, o.document
FROM tieout.reference n
CROSS JOIN LATERAL (SELECT document FROM tieout.reference o WHERE o.value_hash = n.value_hash AND o.role = 0
                    AND (o.kind, o.scope, o.value) = (n.kind, n.scope, n.value) OFFSET 0) o
WHERE n.role = 2;

-- Transactions that are never plain: with an event of which several revisions are known or one stands no more,
-- suspended, or linked with others by a group document.
CREATE VIEW read.entangled AS
SELECT d.component FROM tieout.revised r
CROSS JOIN LATERAL (SELECT document FROM tieout.event e WHERE e.event_id = r.event_id OFFSET 0) e
JOIN tieout.document d ON d.id = e.document
UNION ALL
SELECT d.component FROM tieout.supersession x
CROSS JOIN LATERAL (SELECT document FROM tieout.event e WHERE e.event_id = x.event_id AND e.month = x.month OFFSET 0) e
JOIN tieout.document d ON d.id = e.document
UNION ALL
SELECT component FROM tieout.suspended
UNION ALL
SELECT unnest(ARRAY[namer.component, named.component])
FROM read.present_group g
JOIN tieout.document namer ON namer.id = g.member
JOIN tieout.document named ON named.id = g.document;

-- Whether what was known at K is what is known now.
CREATE FUNCTION read.is_present(p_as_known timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN NOT EXISTS (SELECT FROM tieout.commit_log WHERE seq > read.seq_at(p_as_known) AND what <> 'control run');

-- What an event of each type of a flow means, on the anchor and on other documents, to one who expects a step (or
-- NULL) to stand on the anchor, done however often (`is_done`, `is_undone`), and others to be done once: the first of
-- these weighs 1, the second 1,000, the third 1,000,000. What is odd weighs 10 ^ 9: a fourth, failures, skips, ends, facts that explain a difference, a second
-- meaning, and the types in `p_odd`. All else weighs nothing. `counts`: its amount has to be the one that all state.
-- `touches`: it does one of `p_once`, whatever else it means.
CREATE FUNCTION read.meaning(p_flow text, p_as_known timestamptz, p_stands text, p_once text[], p_odd text[])
RETURNS TABLE (type text, on_anchor boolean, weight integer, is_done boolean, is_undone boolean, is_once boolean, counts boolean,
               touches boolean)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 60
BEGIN ATOMIC
    WITH flow AS MATERIALIZED (SELECT tieout.flow_definition(p_flow, p_as_known) AS flow),
    said AS (
        SELECT DISTINCT t.type, CASE WHEN t.step = p_stands AND t.side IN ('done_by', 'undone_by') THEN t.side
                                     WHEN t.step = p_stands OR (t.step = ANY (p_once) AND t.side <> 'done_by') THEN 'odd'
                                     WHEN t.step = ANY (p_once) THEN array_position(p_once, t.step)::text END AS meaning
        FROM read.step_type(p_flow, p_as_known) t
        UNION
        SELECT jsonb_array_elements_text(e.value -> 'by') AS type, 'odd'::text AS meaning FROM flow, jsonb_each(flow -> 'ends') e
        UNION
        SELECT jsonb_array_elements_text(e.value -> 'until') AS type, NULL::text AS meaning FROM flow, jsonb_each(flow -> 'ends') e
        UNION
        SELECT jsonb_array_elements_text(c.components || c.tax) AS type, 'odd'::text AS meaning FROM read.comparisons(p_flow, p_as_known) c
        UNION
        SELECT unnest(p_odd) AS type, 'odd'::text AS meaning),
    single AS (
        SELECT s.type, CASE WHEN count(s.meaning) > 1 THEN 'odd' ELSE min(s.meaning) END AS meaning,
               bool_or(coalesce(s.meaning ~ '^\d', false)) AS touches
        FROM said s GROUP BY s.type)
    SELECT s.type, on_anchor,
           CASE WHEN s.meaning = 'odd' OR (s.meaning = 'done_by' AND NOT on_anchor) THEN 1000000000
                WHEN s.meaning ~ '^\d' THEN 1000 ^ least(s.meaning::integer - 1, 3) ELSE 0 END::integer,
           coalesce(s.meaning = 'done_by', false), coalesce(s.meaning = 'undone_by', false), coalesce(s.meaning ~ '^\d', false),
           on_anchor OR coalesce(s.meaning ~ '^\d', false), s.touches
    FROM single s, unnest(ARRAY[true, false]) on_anchor WHERE on_anchor OR s.meaning IS NOT NULL;
END;

CREATE FUNCTION read.anchor_kind(p_flow text, p_as_known timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN tieout.flow_definition(p_flow, p_as_known) ->> 'anchor';

-- The events of a flow at T, with what they mean. Without a setting of its own, so that it becomes part of the query.
CREATE FUNCTION read.meant(p_flow text, p_as_of timestamptz, p_as_known timestamptz, p_stands text, p_once text[], p_odd text[] DEFAULT '{}')
RETURNS TABLE (component bigint, document bigint, occurred_at timestamptz, amount_minor bigint, currency text, entity text,
               on_anchor boolean, weight integer, is_done boolean, is_undone boolean, is_once boolean, counts boolean, touches boolean)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT e.component, e.document, e.occurred_at, e.amount_minor, e.currency, e.entity,
           m.on_anchor, m.weight, m.is_done, m.is_undone, m.is_once, m.counts, m.touches
    FROM read.present_event e
    JOIN read.meaning(p_flow, p_as_known, p_stands, p_once, p_odd) m
      ON m.type = e.type AND m.on_anchor = (e.kind = (SELECT read.anchor_kind(p_flow, p_as_known)))
    WHERE e.occurred_at <= p_as_of;
END;

-- Every transaction with an event of a flow at T, and whether it is plain: one document of the anchor's kind, on
-- which `p_stands` (a step, or NULL) was last done and not undone later; each of `p_once`, at most three, done once;
-- and nothing odd. `even`: whatever states an amount on the anchor or does one of the steps states this one.
-- `absent`: nothing ever did one of `p_once`, whatever else happened.
-- `stands_at`, `last_at`: when `p_stands` was last done, and when the last of the others was; `once_minor` and
-- `once_currency`: what it stated, if it is the only one of these.
-- Of the present alone (`read.is_present`). Without a setting of its own, so that it becomes part of the query.
CREATE FUNCTION read.plain(p_flow text, p_as_of timestamptz, p_as_known timestamptz, p_stands text, p_once text[],
                           p_odd text[] DEFAULT '{}')
RETURNS TABLE (component bigint, plain boolean, absent boolean, even boolean, amount_minor bigint, currency text, once_minor bigint,
               once_currency text, stands_at timestamptz, last_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT x.component,
           x.weight = CASE cardinality(p_once) WHEN 0 THEN 0 WHEN 1 THEN 1 WHEN 2 THEN 1001 WHEN 3 THEN 1001001 END
               AND x.events < 1000 AND x.first_anchor = x.last_anchor AND t.component IS NULL
               AND (p_stands IS NULL OR x.done_at > coalesce(x.undone_at, '-infinity')),
           NOT x.touched AND t.component IS NULL,
           x.least = x.most AND x.first_currency = x.last_currency AND x.untold = 0,
           x.least, x.first_currency, x.once_minor, x.once_currency, x.done_at, x.last_at
    FROM (SELECT e.component, sum(e.weight) AS weight, count(*) AS events, bool_or(e.touches) AS touched,
                 min(e.document) FILTER (WHERE e.on_anchor) AS first_anchor, max(e.document) FILTER (WHERE e.on_anchor) AS last_anchor,
                 max(e.occurred_at) FILTER (WHERE e.is_done) AS done_at, max(e.occurred_at) FILTER (WHERE e.is_undone) AS undone_at,
                 max(e.occurred_at) FILTER (WHERE e.is_once) AS last_at,
                 min(e.amount_minor) FILTER (WHERE e.counts) AS least, max(e.amount_minor) FILTER (WHERE e.counts) AS most,
                 min(e.currency) FILTER (WHERE e.counts) AS first_currency, max(e.currency) FILTER (WHERE e.counts) AS last_currency,
                 min(e.amount_minor) FILTER (WHERE e.is_once) AS once_minor, min(e.currency) FILTER (WHERE e.is_once) AS once_currency,
                 count(*) FILTER (WHERE e.amount_minor IS NULL AND (e.is_once OR e.is_done)) AS untold
          FROM read.meant(p_flow, p_as_of, p_as_known, p_stands, p_once, p_odd) e GROUP BY e.component) x
    LEFT JOIN (SELECT DISTINCT component FROM read.entangled) t ON t.component = x.component;
END;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA read FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA read TO tieout_reader, tieout_app;
GRANT SELECT ON ALL TABLES IN SCHEMA read TO tieout_reader, tieout_app;
