-- Parts of names: what a person types who has no whole key. Every name once, found by its trigrams. It is kept up
-- behind the facts, where no batch waits for it: names told after commit `upto` are not in it yet, and are looked
-- through one by one.
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA tieout;

CREATE TABLE tieout.searchable_name (
    value_hash bigint NOT NULL,
    folded     text NOT NULL
);
CREATE INDEX searchable_name_hash ON tieout.searchable_name (value_hash);
DO $$ BEGIN  -- where somebody else has the extension already, it is in a schema of theirs
    EXECUTE format('CREATE INDEX searchable_name_trigrams ON tieout.searchable_name USING gin (folded %s.gin_trgm_ops)',
                   (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_trgm'));
END $$;

CREATE TABLE tieout.searchable (upto bigint NOT NULL);
INSERT INTO tieout.searchable VALUES (0);

-- Batches are numbered as they are written, so blocks hold few of them each: the youngest names are found at next to no cost.
CREATE INDEX reference_batch ON tieout.reference USING brin (batch) WITH (autosummarize = on);

-- Names that contain a fragment, at most p_most of those that are searchable and as many of the younger ones. Planned for
-- each fragment anew: many names contain '000', and are soon found by looking; few contain '48213', and are found by
-- their trigrams.
CREATE FUNCTION tieout.names_with(p_fragment text, p_most int) RETURNS TABLE (value_hash bigint, folded text)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    pattern text := '%' || replace(replace(replace(lower(p_fragment), '\', '\\'), '%', '\%'), '_', '\_') || '%';
    young bigint := (SELECT min(b.id) FROM tieout.batch b WHERE b.seq > (SELECT upto FROM tieout.searchable));
BEGIN
    RETURN QUERY SELECT n.value_hash, n.folded FROM tieout.searchable_name n WHERE n.folded LIKE pattern LIMIT p_most;
    IF young IS NOT NULL THEN
        RETURN QUERY SELECT DISTINCT r.value_hash, lower(r.value) FROM tieout.naming r
                     WHERE r.batch >= young AND lower(r.value) LIKE pattern LIMIT p_most;
    END IF;
END $$;

GRANT SELECT, INSERT ON tieout.searchable_name TO tieout_app;
GRANT SELECT, UPDATE ON tieout.searchable TO tieout_app;
REVOKE EXECUTE ON FUNCTION tieout.names_with(text, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tieout.names_with(text, int) TO tieout_app;
