-- What became of records under mappings that came after the one that read them.

-- A later mapping refused a quarantined record as well, for this reason: the last one that did is what mends it.
CREATE TABLE tieout.quarantine_refusal (
    quarantine bigint NOT NULL REFERENCES tieout.quarantine,
    seq        bigint NOT NULL REFERENCES tieout.commit_log,
    mapping    text NOT NULL,
    reason     text NOT NULL,
    sentence   text NOT NULL,
    field      text NOT NULL,
    shape      text NOT NULL,
    PRIMARY KEY (quarantine, seq)
);

-- Quarantined records as known at commit `p_seq`, each with what the last mapping that refused it said. `resolution` is
-- NULL while a record is open.
CREATE FUNCTION tieout.quarantined(p_seq bigint)
RETURNS TABLE (id bigint, stream smallint, part text, "position" bigint, seq bigint, mapping text, reason text, sentence text,
               field text, shape text, resolution text)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT q.id, q.stream, q.part_name, q.position, b.seq, coalesce(f.mapping, b.mapping), coalesce(f.reason, q.reason),
           coalesce(f.sentence, q.sentence), coalesce(f.field, q.field), coalesce(f.shape, q.shape), r.kind
    FROM tieout.quarantine q
    JOIN tieout.batch b ON b.id = q.batch AND b.seq <= p_seq
    LEFT JOIN tieout.quarantine_resolution r ON r.quarantine = q.id AND r.seq <= p_seq
    LEFT JOIN LATERAL (SELECT * FROM tieout.quarantine_refusal f WHERE f.quarantine = q.id AND f.seq <= p_seq
                       ORDER BY f.seq DESC LIMIT 1) f ON true;
END;

-- Each time that the records of a batch were mapped again, by a later mapping than the batch's own: `changed` of its
-- `records` came out otherwise.
CREATE TABLE tieout.remapping (
    seq     bigint PRIMARY KEY REFERENCES tieout.commit_log,
    batch   bigint NOT NULL REFERENCES tieout.batch,
    mapping text NOT NULL,
    records integer NOT NULL,
    changed integer NOT NULL,
    actor   text NOT NULL
);
CREATE INDEX remapping_batch ON tieout.remapping (batch, seq);

SELECT tieout.make_append_only(t::regclass) FROM unnest(ARRAY['tieout.quarantine_refusal', 'tieout.remapping']) t;

REVOKE EXECUTE ON FUNCTION tieout.quarantined(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tieout.quarantined(bigint) TO tieout_app;
GRANT SELECT, INSERT ON tieout.quarantine_refusal, tieout.remapping TO tieout_app;
