-- The bridges that are kept current: one row each time that a flow's bridge of a month was computed for a status time T
-- and what was known at K. `document` is it, as `tieout bridge --json` shows it; where a control did not run there is
-- none, and `error` says why. `begun_at` and `ended_at` are those of all that were computed together.
CREATE TABLE tieout.bridge (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    flow     text NOT NULL,
    period   text NOT NULL CHECK (period ~ '^\d{4}-(0[1-9]|1[0-2])$'),
    as_of    timestamptz NOT NULL,
    as_known timestamptz NOT NULL,
    begun_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    document json,
    error    text,
    CONSTRAINT computed_or_said_why_not CHECK ((document IS NULL) = (error IS NOT NULL))
);
CREATE INDEX bridge_flow ON tieout.bridge (flow, period, id);

SELECT tieout.make_append_only('tieout.bridge');

GRANT SELECT, INSERT ON tieout.bridge TO tieout_app;

-- A control may be run because a bridge needs its exceptions, beside its own schedule.
ALTER TABLE tieout.control_run DROP CONSTRAINT control_run_trigger_check;
ALTER TABLE tieout.control_run
    ADD CONSTRAINT control_run_trigger_check CHECK (trigger IN ('command', 'schedule', 'bridge'));

-- What is unexplained by the last bridge of each flow and month: a row for each entity, currency and hop, and one
-- without them where nothing was done or the bridge could not be computed.
CREATE VIEW read.bridge AS
SELECT b.id AS bridge, b.flow, b.period, r.entity, r.currency, r."from" AS from_step, r."to" AS to_step, r.from_system, r.to_system,
       r.unexplained_items, r.unexplained_minor, b.error IS NULL AS computed,
       coalesce((b.document ->> 'complete')::boolean, false) AS complete, b.as_of, b.as_known, b.ended_at, b.error
FROM (SELECT DISTINCT ON (flow, period) * FROM tieout.bridge ORDER BY flow, period, id DESC) b
LEFT JOIN LATERAL json_to_recordset(b.document -> 'rows') r(
    entity text, currency text, "from" text, "to" text, from_system text, to_system text,
    unexplained_items bigint, unexplained_minor bigint) ON true;
GRANT SELECT ON read.bridge TO tieout_reader, tieout_app;

-- First sight of what was known at K, while more is told: what has only grown since is the same where nothing was added.
-- The share of all events that was told since K; NULL where something was taken back or decided otherwise since.
CREATE FUNCTION read.grown_share(p_as_known timestamptz) RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (
    WITH k AS MATERIALIZED (SELECT read.seq_at(p_as_known) AS seq)
    SELECT CASE WHEN EXISTS (SELECT FROM tieout.commit_log c WHERE c.seq > k.seq
                             AND c.what NOT IN ('batch', 'control run', 'configuration', 'sweep'))
                  OR EXISTS (SELECT FROM tieout.supersession x WHERE x.seq > k.seq)
                  OR EXISTS (SELECT FROM tieout.deletion x WHERE x.seq > k.seq)
                  OR EXISTS (SELECT FROM tieout.reference_history h WHERE h.known_to > k.seq)
                THEN NULL
                ELSE coalesce((SELECT sum(events) FILTER (WHERE b.seq > k.seq) / nullif(sum(events), 0)::float8
                               FROM tieout.batch b), 0) END
    FROM k);

-- The transactions of which something was told since K, or that were others then.
CREATE FUNCTION read.grown(p_as_known timestamptz) RETURNS SETOF bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 1000
BEGIN ATOMIC
    SELECT d.component FROM tieout.batch b JOIN tieout.event e ON e.batch = b.id JOIN tieout.document d ON d.id = e.document
    WHERE b.seq > read.seq_at(p_as_known)
    UNION
    SELECT component FROM tieout.document WHERE known_from > read.seq_at(p_as_known)
    UNION
    SELECT component FROM tieout.membership_history WHERE known_to > read.seq_at(p_as_known)
    UNION
    SELECT component FROM tieout.suspended_history WHERE known_to > read.seq_at(p_as_known);
END;

REVOKE EXECUTE ON FUNCTION read.grown_share(timestamptz), read.grown(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION read.grown_share(timestamptz), read.grown(timestamptz) TO tieout_reader, tieout_app;
