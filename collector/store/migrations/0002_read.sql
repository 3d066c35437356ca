-- Helpers in the schema tieout set no search_path, so that they are inlined; they are only ever called
-- by the functions of the schema read, which do.
--
-- What controls and boards may see: functions and views of the schema `read`, for the role
-- tieout_reader, which has no rights elsewhere.
--
-- T (p_as_of): an event counts if it occurred at or before T.
-- K (p_as_known): and was recorded at or before K.

-- The last commit known at K.
CREATE FUNCTION read.seq_at(p_as_known timestamptz) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (SELECT coalesce(max(seq), 0) FROM tieout.commit_log WHERE recorded_at <= p_as_known);

CREATE FUNCTION read.configuration(p_as_known timestamptz) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (SELECT body FROM tieout.config_version WHERE seq <= read.seq_at(p_as_known)
        ORDER BY seq DESC LIMIT 1);

-- When something is due that is due `p_rule` ("30 days", "1 business day", "4 business hours") after
-- `p_basis`. n business days: the close of business of the n-th business day after the basis day; what
-- comes after the cut-off counts for the next day. NULL where the calendar does not reach so far.
CREATE FUNCTION tieout.due_at(p_calendar jsonb, p_basis timestamptz, p_rule text) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$
DECLARE
    n integer := split_part(p_rule, ' ', 1)::integer;
    unit text := rtrim(substr(p_rule, strpos(p_rule, ' ') + 1), 's');
    local timestamp;
    basis_day date;
    elapsed interval;
    answer timestamptz;
BEGIN
    IF p_basis IS NULL OR p_rule IS NULL THEN
        RETURN NULL;
    END IF;
    CASE unit
        WHEN 'minute' THEN RETURN p_basis + make_interval(mins => n);
        WHEN 'hour' THEN RETURN p_basis + make_interval(hours => n);
        WHEN 'day' THEN RETURN p_basis + make_interval(hours => 24 * n);
        WHEN 'business day' THEN
            local := p_basis AT TIME ZONE (p_calendar ->> 'timezone');
            basis_day := local::date + (local::time > (p_calendar ->> 'closes')::time)::integer;
            IF n = 0 THEN
                SELECT closes_at INTO answer FROM tieout.business_day
                WHERE calendar = p_calendar ->> 'days' AND day >= basis_day ORDER BY day LIMIT 1;
            ELSE
                SELECT closes_at INTO answer FROM tieout.business_day
                WHERE calendar = p_calendar ->> 'days' AND day > basis_day
                ORDER BY day OFFSET n - 1 LIMIT 1;
            END IF;
        WHEN 'business hour' THEN
            SELECT open_before + least(p_basis - opens_at, closes_at - opens_at) INTO elapsed
            FROM tieout.business_day
            WHERE calendar = p_calendar ->> 'days' AND opens_at <= p_basis
            ORDER BY day DESC LIMIT 1;
            elapsed := elapsed + make_interval(hours => n);
            SELECT opens_at + (elapsed - open_before) INTO answer FROM tieout.business_day
            WHERE calendar = p_calendar ->> 'days' AND closes_at >= p_basis
              AND open_before + (closes_at - opens_at) >= elapsed
            ORDER BY day LIMIT 1;
    END CASE;
    RETURN answer;
END $$;

-- The calendar of an entity, as the configuration has it; NULL where none is configured.
CREATE FUNCTION tieout.calendar_of(p_configuration jsonb, p_entity text) RETURNS jsonb
LANGUAGE sql IMMUTABLE
RETURN p_configuration -> 'calendars' -> (p_configuration -> 'entities' -> p_entity ->> 'calendar');

CREATE FUNCTION read.due_at(p_entity text, p_basis timestamptz, p_rule text, p_as_known timestamptz)
RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN tieout.due_at(tieout.calendar_of(read.configuration(p_as_known), p_entity), p_basis, p_rule);

-- Most of what follows takes `p_documents`: the documents that are asked for, if not all (NULL). They are
-- looked up one by one, each in the months of its events, and have to be whole transactions.
CREATE FUNCTION tieout.events_of(p_documents bigint[]) RETURNS SETOF tieout.event
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT e.* FROM tieout.event e WHERE p_documents IS NULL
    UNION ALL
    SELECT e.* FROM unnest(p_documents) asked
    CROSS JOIN LATERAL (SELECT first_month, last_month FROM tieout.document d WHERE d.id = asked OFFSET 0) d
    CROSS JOIN LATERAL (SELECT * FROM tieout.event e WHERE e.document = asked
                        AND e.month BETWEEN d.first_month AND d.last_month OFFSET 0) e;
END;

CREATE FUNCTION tieout.documents_of(p_documents bigint[]) RETURNS SETOF tieout.document
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT d.* FROM tieout.document d WHERE p_documents IS NULL
    UNION ALL
    SELECT d.* FROM unnest(p_documents) asked
    CROSS JOIN LATERAL (SELECT * FROM tieout.document d WHERE d.id = asked OFFSET 0) d;
END;

-- With `p_seq` also the names that they had at that commit and have lost since.
CREATE FUNCTION tieout.names_of(p_documents bigint[], p_seq bigint DEFAULT NULL) RETURNS SETOF tieout.reference
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT r.* FROM tieout.reference r WHERE p_documents IS NULL
    UNION ALL
    SELECT h.document, h.batch, h.value_hash, h.name_hash, h.role, h.kind, h.scope, h.value
    FROM tieout.reference_history h
    WHERE h.known_to > p_seq AND (p_documents IS NULL OR h.document = ANY (p_documents))
    UNION ALL
    SELECT r.* FROM unnest(p_documents) asked
    CROSS JOIN LATERAL (SELECT * FROM tieout.reference r WHERE r.document = asked OFFSET 0) r;
END;

-- What is known of suspensions, to which component a document belonged, and its names (from their batch on): from commit
-- `known_from` up to, and not including, `known_to`.
CREATE VIEW tieout.suspension AS
SELECT component, known_from, 9223372036854775807 AS known_to FROM tieout.suspended
UNION ALL
SELECT component, known_from, known_to FROM tieout.suspended_history;

CREATE VIEW tieout.placement AS
SELECT id AS document, component, known_from, 9223372036854775807 AS known_to FROM tieout.document
UNION ALL
SELECT document, component, known_from, known_to FROM tieout.membership_history;
CREATE VIEW tieout.naming AS
SELECT *, 9223372036854775807 AS known_to FROM tieout.reference
UNION ALL
SELECT * FROM tieout.reference_history;
GRANT SELECT ON tieout.suspension, tieout.placement, tieout.naming TO tieout_app;

-- The events of the transactions in which a document has one of some roles under a name, of at most p_most
-- transactions: as known at commit p_seq, or now (NULL), which takes half as long, for there is nothing past to look for. In two
-- steps, so that the months of their documents are known before the partitions of events are opened: to open 84 took
-- longer than all the rest. To open a dozen takes as long as one more query.
CREATE TYPE tieout.found AS (value text, component bigint, id bigint, content_id uuid, kind text);
CREATE TYPE tieout.told AS (value text, component bigint, id bigint, content_id uuid, kind text, event_id uuid, type text,
                            occurred_at timestamptz, sequence bigint, amount_minor bigint, currency text, entity text,
                            source text, stream text, body jsonb);
CREATE FUNCTION tieout.story(p_value_hash bigint, p_roles int[], p_content_id uuid, p_most int, p_seq bigint)
RETURNS SETOF tieout.told
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    documents tieout.found[];
    first date;
    last date;
    months bigint;
    n int;
    until int;
    gap int;
    taken_back bool;  -- any event of the store
BEGIN
    IF p_seq IS NULL THEN
        SELECT array_agg(ROW(hit.value, d.component, d.id, d.content_id, d.kind)::tieout.found), bit_or(d.months),
               tieout.month_number(min(d.first_month)), tieout.month_number(max(d.last_month)),
               EXISTS (SELECT FROM tieout.supersession)
        INTO documents, months, n, until, taken_back
        FROM (SELECT DISTINCT ON (d.component, alone) r.value, d.component,
                     CASE WHEN x.component IS NOT NULL THEN d.id END AS alone
              FROM tieout.reference r JOIN tieout.document d ON d.id = r.document
              LEFT JOIN tieout.suspended x ON x.component = d.component
              WHERE r.value_hash = p_value_hash AND r.role = ANY (p_roles)
                AND (p_content_id IS NULL OR d.content_id = p_content_id)
              ORDER BY d.component, alone, r.value LIMIT p_most) hit
        JOIN tieout.document d ON d.component = hit.component AND (hit.alone IS NULL OR d.id = hit.alone);
    ELSE
        SELECT array_agg(ROW(hit.value, p.component, d.id, d.content_id, d.kind)::tieout.found), bit_or(d.months),
               tieout.month_number(min(d.first_month)), tieout.month_number(max(d.last_month)),
               EXISTS (SELECT FROM tieout.supersession)
        INTO documents, months, n, until, taken_back
        FROM (SELECT DISTINCT ON (p.component, alone) r.value, p.component,
                     CASE WHEN x.component IS NOT NULL THEN p.document END AS alone
              FROM tieout.naming r JOIN tieout.document d ON d.id = r.document
              JOIN tieout.batch b ON b.id = r.batch AND b.seq <= p_seq
              JOIN tieout.placement p ON p.document = r.document AND p.known_from <= p_seq AND p.known_to > p_seq
              LEFT JOIN tieout.suspension x ON x.component = p.component AND x.known_from <= p_seq AND x.known_to > p_seq
              WHERE r.value_hash = p_value_hash AND r.role = ANY (p_roles) AND r.known_to > p_seq
                AND (p_content_id IS NULL OR d.content_id = p_content_id)
              ORDER BY p.component, alone, r.value LIMIT p_most) hit
        JOIN tieout.placement p ON p.component = hit.component AND p.known_from <= p_seq AND p.known_to > p_seq
            AND (hit.alone IS NULL OR p.document = hit.alone)
        JOIN tieout.document d ON d.id = p.document;
    END IF;
    WHILE n <= until LOOP
        IF months >> (n % 60) & 1 = 0 THEN
            n := n + 1;
            CONTINUE;
        END IF;
        first := make_date(n / 12, n % 12 + 1, 1);
        gap := 0;  -- months without events up to and including n
        WHILE n < until AND gap < 12 LOOP
            n := n + 1;
            gap := CASE WHEN months >> (n % 60) & 1 = 1 THEN 0 ELSE gap + 1 END;
        END LOOP;
        last := make_date((n - gap) / 12, (n - gap) % 12 + 1, 1);
        n := n + 1;
        RETURN QUERY
        SELECT e.value, e.component, e.id, e.content_id, e.kind, e.event_id, e.type, e.occurred_at, e.sequence,
               e.amount_minor, e.currency, e.entity, s.source, s.stream, e.body
        FROM (SELECT d.*, e.event_id, e.type, e.occurred_at, e.sequence, e.amount_minor, e.currency, e.entity, e.body,
                     (SELECT b.stream FROM tieout.batch b
                      WHERE b.id = e.batch AND (p_seq IS NULL OR b.seq <= p_seq)) AS stream
              FROM unnest(documents) d JOIN tieout.event e ON e.document = d.id AND e.month >= first AND e.month <= last
              WHERE NOT taken_back OR NOT EXISTS (
                  SELECT FROM tieout.supersession z WHERE z.event_id = e.event_id AND z.revision_no = e.revision_no
                  AND z.month = e.month AND (p_seq IS NULL OR z.seq <= p_seq))
              OFFSET 0) e  -- what is joined costs more to begin with than to look up for a few events
        JOIN tieout.stream s ON s.id = e.stream;
    END LOOP;
END $$;

-- Which transaction a document belonged to, as known at commit `p_seq`. Documents of a suspended
-- component stand alone (a negative label no component has); those that were not known yet are not there.
CREATE FUNCTION tieout.membership(p_seq bigint, p_documents bigint[] DEFAULT NULL)
RETURNS TABLE (document bigint, component bigint, kind text, content_id uuid)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT m.document, CASE WHEN s.component IS NULL THEN m.component ELSE -m.document END, m.kind, m.content_id
    FROM (SELECT d.id AS document, d.kind, d.content_id,
                 CASE WHEN d.known_from <= p_seq THEN d.component
                      ELSE (SELECT h.component FROM tieout.membership_history h
                            WHERE h.document = d.id AND h.known_from <= p_seq AND h.known_to > p_seq) END AS component
          FROM tieout.documents_of(p_documents) d) m
    LEFT JOIN tieout.suspension s ON s.component = m.component AND s.known_from <= p_seq AND s.known_to > p_seq
    WHERE m.component IS NOT NULL;
END;

-- The events of some types: known at K, occurred at T, of each event the revision that counts of those that stood at K;
-- with the transaction.
CREATE FUNCTION tieout.known_events(p_types text[], p_as_of timestamptz, p_seq bigint, p_documents bigint[] DEFAULT NULL)
RETURNS TABLE (component bigint, document bigint, kind text, type text, occurred_at timestamptz, sequence bigint,
               amount_minor bigint, currency text, entity text, event_id uuid, body jsonb)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT m.component, e.document, m.kind, e.type, e.occurred_at, e.sequence,
           e.amount_minor, e.currency, e.entity, e.event_id, e.body
    FROM tieout.events_of(p_documents) e
    JOIN tieout.batch b ON b.id = e.batch AND b.seq <= p_seq
    JOIN tieout.membership(p_seq, p_documents) m ON m.document = e.document
    LEFT JOIN tieout.revised r ON r.event_id = e.event_id
    WHERE e.type = ANY (p_types)
      AND e.occurred_at <= p_as_of
      AND NOT EXISTS (SELECT FROM tieout.supersession x WHERE x.event_id = e.event_id AND x.revision_no = e.revision_no
                      AND x.month = e.month AND x.seq <= p_seq)
      AND (r.event_id IS NULL OR NOT EXISTS (
            SELECT FROM tieout.event o JOIN tieout.batch ob ON ob.id = o.batch AND ob.seq <= p_seq
            LEFT JOIN tieout.supersession ox ON ox.event_id = o.event_id AND ox.revision_no = o.revision_no
                AND ox.month = o.month AND ox.seq <= p_seq
            WHERE o.event_id = e.event_id AND ox.seq IS NULL
              AND (o.occurred_at, coalesce(o.sequence, -9223372036854775808), o.revision)
                > (e.occurred_at, coalesce(e.sequence, -9223372036854775808), e.revision)));
END;

-- What happened to a group document happened to each document that names it, where a step says so
-- (`via`): one payment settles several claims. Such an event is lent to the documents, with their own
-- share as its amount: what they last stated before it by an event that does a step, never the whole sum.
-- Not to those that are joined with the group document, which have its own events; and to an anchor only
-- where no other document of its transaction names the group document: it would count twice.
CREATE FUNCTION tieout.lent_events(p_flow jsonb, p_types text[], p_as_of timestamptz, p_seq bigint, p_documents bigint[])
RETURNS TABLE (component bigint, document bigint, kind text, type text, occurred_at timestamptz, sequence bigint,
               amount_minor bigint, currency text, entity text, event_id uuid, body jsonb,
               via bigint, via_kind text, via_number text)
LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH taken AS MATERIALIZED (
        SELECT DISTINCT kind, type
        FROM jsonb_array_elements(p_flow -> 'steps') s, jsonb_array_elements_text(s -> 'via') kind,
             unnest(ARRAY['done_by', 'undone_by', 'failed_by', 'skip_when']) side,
             jsonb_array_elements_text(s -> side) type
        WHERE type = ANY (p_types)),
    named AS MATERIALIZED (
        SELECT m.component, m.document, m.kind, e.type, e.occurred_at, e.sequence, e.entity, e.event_id, e.body,
               e.document AS via, e.kind AS via_kind, o.value AS via_number,
               m.kind = p_flow ->> 'anchor' AND bool_or(m.kind <> p_flow ->> 'anchor')
                   OVER (PARTITION BY m.component, e.document) AS again
        FROM taken t
        JOIN tieout.known_events(ARRAY(SELECT type FROM taken), p_as_of, p_seq, p_documents) e
            ON (e.kind, e.type) = (t.kind, t.type)
        JOIN tieout.names_of(p_documents, p_seq) o ON o.document = e.document AND o.role = 0
        JOIN tieout.names_of(p_documents, p_seq) n ON n.name_hash = o.name_hash AND n.role = 2
                               AND (n.kind, n.scope, n.value) = (o.kind, o.scope, o.value)
        JOIN tieout.batch b ON b.id = n.batch AND b.seq <= p_seq
        JOIN tieout.membership(p_seq, p_documents) m ON m.document = n.document AND m.component <> e.component
        WHERE EXISTS (SELECT FROM taken))
    SELECT DISTINCT ON (n.document, n.event_id)
           n.component, n.document, n.kind, n.type, n.occurred_at, n.sequence, s.amount_minor, s.currency,
           n.entity, n.event_id, n.body, n.via, n.via_kind, n.via_number
    FROM named n LEFT JOIN tieout.known_events(
            ARRAY(SELECT DISTINCT jsonb_array_elements_text(s -> 'done_by')
                  FROM jsonb_array_elements(p_flow -> 'steps') s), p_as_of, p_seq, p_documents) s
        ON s.document = n.document AND s.amount_minor IS NOT NULL
       AND (s.occurred_at, coalesce(s.sequence, -9223372036854775808), s.event_id)
         < (n.occurred_at, coalesce(n.sequence, -9223372036854775808), n.event_id)
    WHERE NOT n.again AND EXISTS (SELECT FROM taken)
    ORDER BY n.document, n.event_id, s.occurred_at DESC, s.sequence DESC NULLS LAST, s.event_id DESC;
END;

-- The events that a flow looks at: those of its types, and what group documents lend (`via`: which;
-- NULL for a document's own). `rank` is the order within the document.
CREATE FUNCTION tieout.flow_events(p_flow jsonb, p_types text[], p_as_of timestamptz, p_seq bigint,
                                   p_documents bigint[] DEFAULT NULL)
RETURNS TABLE (component bigint, document bigint, kind text, type text, occurred_at timestamptz,
               rank bigint, amount_minor bigint, currency text, entity text, event_id uuid, body jsonb,
               via bigint, via_kind text, via_number text)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT e.component, e.document, e.kind, e.type, e.occurred_at,
           row_number() OVER (PARTITION BY e.document
                              ORDER BY e.occurred_at, e.sequence NULLS FIRST, e.event_id),
           e.amount_minor, e.currency, e.entity, e.event_id, e.body, e.via, e.via_kind, e.via_number
    FROM (SELECT o.*, NULL::bigint AS via, NULL::text AS via_kind, NULL::text AS via_number
          FROM tieout.known_events(p_types, p_as_of, p_seq, p_documents) o
          UNION ALL
          SELECT * FROM tieout.lent_events(p_flow, p_types, p_as_of, p_seq, p_documents)) e;
END;

CREATE FUNCTION tieout.flow_definition(p_flow text, p_as_known timestamptz) RETURNS jsonb
LANGUAGE sql STABLE
RETURN (SELECT f FROM jsonb_array_elements(read.configuration(p_as_known) -> 'flows') f
        WHERE f ->> 'flow' = p_flow);

-- Every event type that a flow mentions.
CREATE FUNCTION tieout.flow_types(p_flow jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE
RETURN (SELECT array_agg(DISTINCT t) FROM (
    SELECT jsonb_array_elements_text(s -> side) AS t
    FROM jsonb_array_elements(p_flow -> 'steps') s,
         unnest(ARRAY['done_by', 'undone_by', 'failed_by', 'skip_when']) side
    UNION
    SELECT jsonb_array_elements_text(e.value -> side)
    FROM jsonb_each(p_flow -> 'ends') e, unnest(ARRAY['by', 'until']) side) u);

CREATE FUNCTION read.flow_events(p_flow text, p_as_of timestamptz, p_as_known timestamptz,
                                 p_documents bigint[] DEFAULT NULL)
RETURNS TABLE (component bigint, document bigint, kind text, type text, occurred_at timestamptz,
               rank bigint, amount_minor bigint, currency text, entity text, event_id uuid, body jsonb,
               via bigint, via_kind text, via_number text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
ROWS 100000 SET enable_nestloop = off SET enable_mergejoin = off SET jit = off SET work_mem = '64MB'  -- whole tables, whatever statistics say
BEGIN ATOMIC
    WITH once AS MATERIALIZED (  -- as an argument it would be computed for every event
        SELECT f.flow, tieout.flow_types(f.flow) AS types, read.seq_at(p_as_known) AS seq
        FROM (SELECT tieout.flow_definition(p_flow, p_as_known) AS flow OFFSET 0) f)
    SELECT e.* FROM once, tieout.flow_events(once.flow, once.types, p_as_of, once.seq, p_documents) e;
END;

-- The state of every step of every case of a flow at T, as known at K: computed, never stored.
-- `p_rules` lets a control lay its own due times over the flow's: {step: {"after": ..., "due": ...}}.
-- `p_steps` are the steps that are asked for, if not all: what nobody asks for is not computed.
-- A step's amount is the sum of what did it; the claimed amount where it is not done or carries none;
-- and unknown (NULL, with currency NULL) where it was done in several currencies.
-- `last_done_at`, `last_minor`, `last_currency`: when and with what a step that is undone was last done;
-- `skipped_by`: the type of event that made it needless.
-- One row per anchor document and step. `anchors` > 1: the transaction holds several anchor documents,
-- and unless the flow declares that, nothing can be said of it (status UNEVALUABLE).
CREATE FUNCTION read.steps(p_flow text, p_as_of timestamptz, p_as_known timestamptz,
                           p_rules jsonb DEFAULT '{}', p_steps text[] DEFAULT NULL,
                           p_documents bigint[] DEFAULT NULL)
RETURNS TABLE (component bigint, transaction_id uuid, anchor bigint, document_id uuid, number text,
               entity text, anchors bigint, state text, ended_at timestamptz, ordinal bigint,
               step text, title text, system text, waits_for text, after_step text, rule text,
               status text, basis_at timestamptz, due_at timestamptz, done_at timestamptz,
               undone_at timestamptz, failed_at timestamptz, failed_type text, failed_message text,
               amount_minor bigint, currency text, claimed_minor bigint, claimed_currency text,
               skipped boolean, last_done_at timestamptz, last_minor bigint, last_currency text,
               skipped_by text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
ROWS 100000 SET enable_nestloop = off SET enable_mergejoin = off SET jit = off SET work_mem = '64MB'  -- whole tables, whatever statistics say
BEGIN ATOMIC
WITH configuration AS MATERIALIZED (
    SELECT c.body, c.flow, c.seq, tieout.flow_types(c.flow) AS types
    FROM (SELECT read.configuration(p_as_known) AS body,
                 tieout.flow_definition(p_flow, p_as_known) AS flow,
                 read.seq_at(p_as_known) AS seq OFFSET 0) c),
listed AS MATERIALIZED (
    SELECT s.ordinality AS ordinal, s.value ->> 'name' AS step,
           coalesce(nullif(s.value ->> 'title', ''), s.value ->> 'name') AS title,
           s.value ->> 'system' AS system, s.value ->> 'waits_for' AS waits_for,
           coalesce(p_rules -> (s.value ->> 'name') ->> 'after', s.value ->> 'after') AS after_step,
           coalesce(p_rules -> (s.value ->> 'name') ->> 'due', s.value ->> 'due') AS rule,
           s.value AS body
    FROM configuration, jsonb_array_elements(flow -> 'steps') WITH ORDINALITY s),
definition AS MATERIALIZED (
    SELECT l.*, p_steps IS NULL OR l.step = ANY (p_steps) AS wanted, b.ordinal AS after_ordinal, l.rule LIKE '% business day%' AS by_day,
           l.rule LIKE '% business hour%' AS by_hour,
           CASE WHEN l.rule NOT LIKE '%business%' THEN make_interval(secs => extract(epoch FROM
               tieout.due_at(NULL, timestamptz 'epoch', l.rule) - timestamptz 'epoch')::float8) END AS elapses
    FROM listed l LEFT JOIN listed b ON b.step = l.after_step),
mark_type AS MATERIALIZED (  -- of the steps asked for, of those that they come after, and of the last
    SELECT d.ordinal, side, jsonb_array_elements_text(d.body -> side) AS type, d.body -> 'via' AS via
    FROM definition d, unnest(ARRAY['done_by', 'undone_by', 'failed_by', 'skip_when']) side
    WHERE d.wanted OR d.ordinal IN (SELECT after_ordinal FROM definition WHERE wanted)
          OR d.ordinal = (SELECT max(ordinal) FROM definition)),
end_type AS MATERIALIZED (
    SELECT e.key AS state, side, jsonb_array_elements_text(e.value -> side) AS type
    FROM configuration, jsonb_each(flow -> 'ends') e, unnest(ARRAY['by', 'until']) side),
ev AS MATERIALIZED (  -- narrow, for it is read again and again
    SELECT e.component, e.document, e.kind, e.type, e.occurred_at, e.rank, e.amount_minor, e.currency, e.entity, e.via_kind,
           CASE WHEN e.type IN (SELECT type FROM mark_type WHERE side = 'failed_by') THEN e.body ->> 'message' END AS message
    FROM configuration,
         tieout.flow_events(configuration.flow, configuration.types, p_as_of, configuration.seq, p_documents) e),
anchor AS MATERIALIZED (
    SELECT e.component, e.document,
           (array_agg(e.entity ORDER BY e.rank DESC) FILTER (WHERE e.entity IS NOT NULL))[1] AS entity,
           (array_agg(e.amount_minor ORDER BY e.rank DESC)
                FILTER (WHERE e.amount_minor IS NOT NULL))[1] AS amount_minor,
           (array_agg(e.currency ORDER BY e.rank DESC)
                FILTER (WHERE e.amount_minor IS NOT NULL))[1] AS currency,
           count(*) OVER (PARTITION BY e.component) AS anchors
    FROM ev e, configuration WHERE e.kind = flow ->> 'anchor' AND e.via_kind IS NULL GROUP BY e.component, e.document),
ended AS MATERIALIZED (
    SELECT DISTINCT ON (document) document, state, ended_at FROM (
        SELECT e.document, t.state,
               max(e.rank) FILTER (WHERE t.side = 'by') AS by_rank,
               coalesce(max(e.rank) FILTER (WHERE t.side = 'until'), 0) AS until_rank,
               max(e.occurred_at) FILTER (WHERE t.side = 'by') AS ended_at
        FROM ev e JOIN end_type t ON t.type = e.type AND e.via_kind IS NULL GROUP BY e.document, t.state) x
    WHERE by_rank > until_rank ORDER BY document, by_rank DESC),
ranked AS MATERIALIZED (  -- the last event of each side, on each document
    SELECT e.document, t.ordinal, min(e.component) AS component, min(e.kind) AS kind,
           max(e.rank) FILTER (WHERE t.side = 'done_by') AS done_rank,
           max(e.rank) FILTER (WHERE t.side = 'undone_by') AS undone_rank,
           max(e.rank) FILTER (WHERE t.side = 'failed_by') AS failed_rank,
           max(e.type) FILTER (WHERE t.side = 'skip_when') AS skipped_by
    FROM ev e JOIN mark_type t ON t.type = e.type AND (e.via_kind IS NULL OR t.via ? e.via_kind)
    GROUP BY e.document, t.ordinal),
mark AS MATERIALIZED (  -- of the anchor, by what happened to it and to the other kinds of its transaction
    SELECT a.document AS anchor, r.document, r.ordinal, e.occurred_at AS done_at, e.amount_minor, e.currency, r.skipped_by,
           coalesce(r.done_rank > coalesce(r.undone_rank, 0), false) AS done,
           CASE WHEN r.undone_rank > r.done_rank THEN r.undone_rank END AS undone_rank,
           CASE WHEN r.failed_rank > coalesce(r.done_rank, 0) THEN r.failed_rank END AS failed_rank
    FROM anchor a CROSS JOIN configuration
    JOIN ranked r ON r.component = a.component AND (r.document = a.document OR r.kind <> flow ->> 'anchor')
    LEFT JOIN ev e ON e.document = r.document AND e.rank = r.done_rank),
case_step AS MATERIALIZED (
    SELECT anchor, ordinal, bool_or(done) AS done, min(done_at) FILTER (WHERE done) AS done_at,
           max(done_at) AS tried_at,
           max(skipped_by) AS skipped_by, CASE WHEN NOT bool_or(done) THEN max(done_at) END AS last_done_at,
           CASE WHEN min(currency) FILTER (WHERE done) = max(currency) FILTER (WHERE done)
                THEN sum(amount_minor) FILTER (WHERE done) END::bigint AS amount_minor,
           min(currency) FILTER (WHERE done) AS currency,
           coalesce(min(currency) FILTER (WHERE done) <> max(currency) FILTER (WHERE done), false) AS several_currencies
    FROM mark GROUP BY anchor, ordinal),
failed AS MATERIALIZED (
    SELECT DISTINCT ON (m.anchor, m.ordinal) m.anchor, m.ordinal, e.occurred_at AS at, e.type, e.message
    FROM mark m JOIN ev e ON e.document = m.document AND e.rank = m.failed_rank
    ORDER BY m.anchor, m.ordinal, e.occurred_at DESC, e.type, e.message),
undone AS MATERIALIZED (  -- when and with what a step that was taken back was done, and when that was
    SELECT DISTINCT ON (m.anchor, m.ordinal) m.anchor, m.ordinal, m.amount_minor, m.currency,
           max(e.occurred_at) OVER (PARTITION BY m.anchor, m.ordinal) AS at
    FROM mark m JOIN ev e ON e.document = m.document AND e.rank = m.undone_rank
    ORDER BY m.anchor, m.ordinal, m.done_at DESC, m.amount_minor DESC NULLS LAST, m.currency),
calendar AS MATERIALIZED (
    SELECT entity, calendar, calendar ->> 'timezone' AS timezone,
           (calendar ->> 'closes')::interval + interval '1 microsecond' AS closes
    FROM (SELECT a.entity, tieout.calendar_of(c.body, a.entity) AS calendar
          FROM (SELECT DISTINCT entity FROM anchor) a CROSS JOIN configuration c) k),
based AS MATERIALIZED (
    SELECT a.document AS anchor, a.entity, d.ordinal, b.done_at AS basis_at,
           CASE WHEN d.by_day THEN  -- what comes after the cut-off counts for the next day
               (b.done_at AT TIME ZONE k.timezone - k.closes)::date + 1 END AS basis_day
    FROM anchor a JOIN definition d ON d.wanted LEFT JOIN calendar k ON k.entity = a.entity
    LEFT JOIN case_step b ON b.anchor = a.document AND b.ordinal = d.after_ordinal AND b.done),
due_day AS MATERIALIZED (  -- in business days all bases of a day have one due time: it is asked for once
    SELECT g.entity, g.ordinal, g.basis_day, tieout.due_at(k.calendar, g.basis_at, d.rule) AS due_at
    FROM (SELECT entity, ordinal, basis_day, min(basis_at) AS basis_at
          FROM based WHERE basis_day IS NOT NULL GROUP BY entity, ordinal, basis_day) g
    JOIN definition d ON d.ordinal = g.ordinal LEFT JOIN calendar k ON k.entity = g.entity),
head AS MATERIALIZED (  -- what is said of the case, once
    SELECT a.*, h.transaction_id, d.content_id, n.value AS number, x.state AS ended, x.ended_at,
           coalesce(x.state, CASE WHEN f.done THEN 'completed' ELSE 'open' END) AS state,
           a.anchors > 1 AND NOT (flow ->> 'anchors_many')::boolean AS unevaluable
    FROM anchor a CROSS JOIN configuration
    JOIN (SELECT m.component, min(m.content_id::text)::uuid AS transaction_id
          FROM configuration, tieout.membership(configuration.seq, p_documents) m
          WHERE m.component IN (SELECT component FROM anchor) GROUP BY m.component) h ON h.component = a.component
    JOIN tieout.documents_of(p_documents) d ON d.id = a.document
    LEFT JOIN tieout.names_of(p_documents, configuration.seq) n ON n.document = a.document AND n.role = 0
    LEFT JOIN ended x ON x.document = a.document
    LEFT JOIN case_step f ON f.anchor = a.document AND f.ordinal = (SELECT max(ordinal) FROM definition) AND f.done)
SELECT t.component, t.transaction_id, t.document, t.content_id, t.number, t.entity, t.anchors, t.state, t.ended_at,
       t.ordinal, t.step, t.title, t.system, t.waits_for, t.after_step, t.rule,
       CASE
           WHEN t.unevaluable THEN 'UNEVALUABLE'
           WHEN t.done AND (t.due_at IS NULL OR t.done_at <= t.due_at) THEN 'DONE'
           WHEN t.done THEN 'LATE'
           WHEN t.skipped_by IS NOT NULL OR t.ended IS NOT NULL THEN 'SKIPPED'
           WHEN t.failed_at IS NOT NULL THEN 'FAILED'
           WHEN (t.after_step IS NULL OR t.basis_at IS NOT NULL) AND t.due_at < p_as_of THEN 'MISSING'
           ELSE 'PENDING'
       END,
       t.basis_at, t.due_at, t.done_at, t.undone_at, t.failed_at, t.failed_type, t.failed_message,
       CASE WHEN NOT t.several_currencies THEN coalesce(t.amount_minor, t.claimed_minor) END,
       CASE WHEN NOT t.several_currencies THEN coalesce(t.currency, t.claimed_currency) END,
       t.claimed_minor, t.claimed_currency, t.skipped_by IS NOT NULL, t.last_done_at,
       CASE WHEN t.last_done_at IS NOT NULL THEN coalesce(t.last_minor, t.claimed_minor) END,
       CASE WHEN t.last_done_at IS NOT NULL THEN coalesce(t.last_currency, t.claimed_currency) END,
       t.skipped_by
FROM (
    SELECT h.component, h.transaction_id, h.document, h.content_id, h.number, h.entity, h.anchors, h.state, h.ended_at, h.ended,
           h.unevaluable, h.amount_minor AS claimed_minor, h.currency AS claimed_currency,
           d.ordinal, d.step, d.title, d.system, d.waits_for, d.after_step, d.rule, b.basis_at,
           CASE WHEN d.elapses IS NOT NULL THEN b.basis_at + d.elapses
                WHEN d.by_day THEN y.due_at
                WHEN d.by_hour THEN tieout.due_at(k.calendar, b.basis_at, d.rule) END AS due_at,
           coalesce(s.done, false) AS done, s.done_at, CASE WHEN NOT s.done THEN u.at END AS undone_at,
           CASE WHEN f.is_last THEN f.at END AS failed_at, CASE WHEN f.is_last THEN f.type END AS failed_type,
           CASE WHEN f.is_last THEN f.message END AS failed_message,
           s.amount_minor, s.currency, coalesce(s.several_currencies, false) AS several_currencies,
           s.last_done_at, u.amount_minor AS last_minor, u.currency AS last_currency, s.skipped_by
    FROM based b JOIN head h ON h.document = b.anchor JOIN definition d ON d.ordinal = b.ordinal
    LEFT JOIN case_step s ON s.anchor = b.anchor AND s.ordinal = b.ordinal
    LEFT JOIN due_day y ON (y.entity, y.ordinal, y.basis_day) = (b.entity, b.ordinal, b.basis_day)
    LEFT JOIN calendar k ON k.entity = b.entity
    LEFT JOIN (SELECT f.*, NOT s.done AND f.at > coalesce(s.tried_at, '-infinity') AS is_last
               FROM failed f JOIN case_step s USING (anchor, ordinal)) f ON f.anchor = b.anchor AND f.ordinal = b.ordinal
    LEFT JOIN undone u ON u.anchor = b.anchor AND u.ordinal = b.ordinal) t;
END;

-- Which event types do what to which step of a flow.
CREATE FUNCTION read.step_type(p_flow text, p_as_known timestamptz)
RETURNS TABLE (ordinal bigint, step text, side text, type text)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.ordinality, s.value ->> 'name', side, jsonb_array_elements_text(s.value -> side)
    FROM jsonb_array_elements(tieout.flow_definition(p_flow, p_as_known) -> 'steps') WITH ORDINALITY s,
         unnest(ARRAY['done_by', 'undone_by', 'failed_by', 'skip_when']) side;
END;

-- The events that do something to steps of a flow: `side` says what (done_by, undone_by, failed_by,
-- skip_when). One that does several things is there as often.
CREATE FUNCTION read.step_events(p_flow text, p_as_of timestamptz, p_as_known timestamptz,
                                 p_steps text[] DEFAULT NULL, p_documents bigint[] DEFAULT NULL)
RETURNS TABLE (step text, side text, component bigint, document bigint, kind text, type text,
               occurred_at timestamptz, rank bigint, amount_minor bigint, currency text, entity text,
               event_id uuid, body jsonb, via bigint, via_number text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
ROWS 100000 SET enable_nestloop = off SET enable_mergejoin = off SET jit = off SET work_mem = '64MB'  -- whole tables, whatever statistics say
BEGIN ATOMIC
    WITH once AS MATERIALIZED (
        SELECT tieout.flow_definition(p_flow, p_as_known) AS flow, read.seq_at(p_as_known) AS seq),
    step_type AS MATERIALIZED (
        SELECT s ->> 'name' AS step, s -> 'via' AS via, side,
               jsonb_array_elements_text(s -> side) AS type
        FROM once, jsonb_array_elements(once.flow -> 'steps') s,
             unnest(ARRAY['done_by', 'undone_by', 'failed_by', 'skip_when']) side
        WHERE p_steps IS NULL OR s ->> 'name' = ANY (p_steps)),
    types AS MATERIALIZED (SELECT array_agg(DISTINCT type) AS types FROM step_type)
    SELECT t.step, t.side, e.component, e.document, e.kind, e.type, e.occurred_at, e.rank,
           e.amount_minor, e.currency, e.entity, e.event_id, e.body, e.via, e.via_number
    FROM once CROSS JOIN types
    CROSS JOIN LATERAL tieout.flow_events(once.flow, types.types, p_as_of, once.seq, p_documents) e
    JOIN step_type t ON t.type = e.type AND (e.via IS NULL OR t.via ? e.via_kind);
END;

-- After a large read the planner should not have to wait for the autovacuum: where the store holds twice
-- what the planner believes, its statistics are taken anew. So are those of calendars, where there are none:
-- without, the days of twenty years are sorted to find the next one.
CREATE FUNCTION tieout.refresh_statistics() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT sum(events) FROM tieout.batch) > 2 * (
        SELECT coalesce(sum(greatest(c.reltuples, 0)), 0) FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'tieout.event'::regclass) THEN
        ANALYZE tieout.batch; ANALYZE tieout.event; ANALYZE tieout.document;
        ANALYZE tieout.reference; ANALYZE tieout.step;
    END IF;
    IF (SELECT reltuples <= 0 FROM pg_class WHERE oid = 'tieout.business_day'::regclass) THEN
        ANALYZE tieout.business_day;
    END IF;
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA read FROM PUBLIC;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA tieout FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tieout.ensure_partition(date) TO tieout_app;
GRANT EXECUTE ON FUNCTION tieout.membership(bigint, bigint[]), tieout.documents_of(bigint[]), tieout.refresh_statistics(),
    tieout.story(bigint, int[], uuid, int, bigint) TO tieout_app;
GRANT USAGE ON SCHEMA read TO tieout_reader, tieout_app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA read TO tieout_reader, tieout_app;
