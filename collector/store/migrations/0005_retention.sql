-- Retention: raw bodies and personal fields lie apart from the facts, and are erased once they were
-- recorded longer ago than the configuration in force allows. Facts and their hashes always stay.

-- What was erased: up to which recording time, and how many rows of which table. One row a call.
CREATE TABLE tieout.erasure (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    what           text NOT NULL CHECK (what IN ('raw', 'personal')),
    recorded_until timestamptz NOT NULL,
    erased_at      timestamptz NOT NULL,
    erased         bigint NOT NULL
);

SELECT tieout.make_append_only('tieout.erasure');

-- Erase at most `p_rows_max` rows of one kind, and say how many. The application may call this and may
-- delete nothing itself. How old they must be is not its word but the published configuration's, and a
-- clock that runs ahead makes nothing older. Nothing configured: nothing erased, no trace.
CREATE FUNCTION tieout.erase(p_what text, p_now timestamptz, p_rows_max integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now_at timestamptz := least(p_now, clock_timestamp());
    days integer := read.configuration('infinity') -> 'retention' ->> (p_what || '_days');
    until timestamptz := now_at - make_interval(hours => 24 * days);
    last_seq bigint := read.seq_at(until);
    found bigint;
BEGIN
    IF days IS NULL THEN
        RETURN 0;
    END IF;
    CASE p_what
        WHEN 'raw' THEN
            DELETE FROM tieout.raw_record WHERE ctid = ANY (ARRAY(
                SELECT r.ctid FROM tieout.raw_record r JOIN tieout.batch b ON b.id = r.batch
                WHERE b.seq <= last_seq LIMIT p_rows_max));
        WHEN 'personal' THEN
            DELETE FROM tieout.personal WHERE ctid = ANY (ARRAY(
                SELECT p.ctid FROM tieout.personal p
                JOIN tieout.event e USING (event_id, revision_no, month)
                JOIN tieout.batch b ON b.id = e.batch
                WHERE b.seq <= last_seq LIMIT p_rows_max));
    END CASE;
    GET DIAGNOSTICS found = ROW_COUNT;
    INSERT INTO tieout.erasure (what, recorded_until, erased_at, erased)
    VALUES (p_what, until, now_at, found);
    RETURN found;
END $$;

REVOKE EXECUTE ON FUNCTION tieout.erase(text, timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tieout.erase(text, timestamptz, integer) TO tieout_app;
GRANT SELECT ON tieout.erasure TO tieout_app;
