-- What controls need besides steps: documents with their numbers, and the pairs that a flow compares.

-- The pairs of steps whose amounts a flow compares.
CREATE FUNCTION read.comparisons(p_flow text, p_as_known timestamptz)
RETURNS TABLE (ordinal bigint, left_step text, right_step text, tolerance_minor bigint, grain text,
               in_parts boolean, components jsonb, tax jsonb)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT c.ordinality, c.value ->> 'left', c.value ->> 'right', (c.value ->> 'tolerance_minor')::bigint,
           coalesce(c.value ->> 'grain', 'case'), coalesce((c.value ->> 'in_parts')::boolean, false),
           coalesce(c.value -> 'components', '[]'), coalesce(c.value -> 'tax', '[]')
    FROM jsonb_array_elements(tieout.flow_definition(p_flow, p_as_known) -> 'compare') WITH ORDINALITY c;
END;

-- The facts that explain a difference, or that state the tax: they make no step, and no claim either.
CREATE FUNCTION read.comparison_events(p_flow text, p_as_of timestamptz, p_as_known timestamptz,
                                       p_documents bigint[] DEFAULT NULL)
RETURNS TABLE (component bigint, document bigint, type text, amount_minor bigint, currency text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
ROWS 100000 SET enable_nestloop = off SET jit = off SET work_mem = '64MB'  -- whole tables, whatever statistics say
BEGIN ATOMIC
    WITH once AS MATERIALIZED (
        SELECT (SELECT array_agg(DISTINCT t) FROM read.comparisons(p_flow, p_as_known) c,
                       jsonb_array_elements_text(c.components || c.tax) t) AS types,
               read.seq_at(p_as_known) AS seq)
    SELECT e.component, e.document, e.type, e.amount_minor, e.currency
    FROM once, tieout.known_events(once.types, p_as_of, once.seq, p_documents) e;
END;

-- The documents known at K, each with its own number and the transaction that it belongs to.
CREATE FUNCTION read.documents(p_as_known timestamptz, p_documents bigint[] DEFAULT NULL)
RETURNS TABLE (document bigint, document_id uuid, component bigint, kind text, scope text, number text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
ROWS 100000 SET enable_nestloop = off SET jit = off SET work_mem = '64MB'  -- whole tables, whatever statistics say
BEGIN ATOMIC
    WITH once AS MATERIALIZED (SELECT read.seq_at(p_as_known) AS seq)
    SELECT m.document, m.content_id, m.component, m.kind, r.scope, r.value
    FROM once CROSS JOIN tieout.membership(once.seq, p_documents) m
    JOIN tieout.names_of(p_documents, once.seq) r ON r.document = m.document AND r.role = 0
    JOIN tieout.batch b ON b.id = r.batch AND b.seq <= once.seq;
END;

-- Documents that stand alone, known at K, because more would be joined than one transaction can hold; `component`
-- says which of them would be.
CREATE FUNCTION read.suspended(p_as_known timestamptz) RETURNS TABLE (document bigint, component bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH once AS MATERIALIZED (SELECT read.seq_at(p_as_known) AS seq)
    SELECT p.document, p.component
    FROM once JOIN tieout.suspension s ON s.known_from <= once.seq AND s.known_to > once.seq
    JOIN tieout.placement p ON p.component = s.component AND p.known_from <= once.seq AND p.known_to > once.seq;
END;

-- The calendar of every entity that has one, as configured at K.
CREATE FUNCTION read.calendars(p_as_known timestamptz) RETURNS TABLE (entity text, calendar jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH configuration AS MATERIALIZED (SELECT read.configuration(p_as_known) AS body)
    SELECT e.key, tieout.calendar_of(body, e.key)
    FROM configuration, jsonb_each(body -> 'entities') e;
END;

-- As `read.due_at`, for one of those calendars: where many due times are asked for, the configuration is
-- looked up once.
CREATE FUNCTION read.due_in(p_calendar jsonb, p_basis timestamptz, p_rule text) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN tieout.due_at(p_calendar, p_basis, p_rule);

-- Whether the business day that an instant counts for (after the cut-off, the next one) is one of the last
-- three of its month; NULL without a calendar.
CREATE FUNCTION read.at_period_end(p_calendar jsonb, p_instant timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT count(later.day) < 3
    FROM (SELECT day FROM tieout.business_day
          WHERE calendar = p_calendar ->> 'days' AND closes_at >= p_instant ORDER BY day LIMIT 1) counts
    LEFT JOIN tieout.business_day later
        ON later.calendar = p_calendar ->> 'days' AND later.day > counts.day
       AND date_trunc('month', later.day::timestamp) = date_trunc('month', counts.day::timestamp)
    GROUP BY counts.day;
END;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA read FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA read TO tieout_reader, tieout_app;
