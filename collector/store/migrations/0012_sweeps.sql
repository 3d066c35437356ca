-- What a source has today held against what is stored: one row a sweep of a stream. `whole`: all that the source
-- has in [since, until) was listed, so that what it did not list is not there any more.
CREATE TABLE tieout.sweep (
    seq      bigint PRIMARY KEY REFERENCES tieout.commit_log,
    stream   smallint NOT NULL REFERENCES tieout.stream,
    since    timestamptz,
    until    timestamptz NOT NULL,
    whole    boolean NOT NULL,
    listed   bigint NOT NULL,
    found    bigint NOT NULL,
    changed  bigint NOT NULL,
    deleted  bigint NOT NULL,
    returned bigint NOT NULL,
    remark   text NOT NULL
);
CREATE INDEX sweep_stream ON tieout.sweep (stream, seq);

-- The source no longer has the record of an event, or has it again. The event stays as it was: that it is gone
-- is a fact of its own, with the time at which it was seen.
CREATE TABLE tieout.deletion (
    event_id uuid NOT NULL,
    seq      bigint NOT NULL REFERENCES tieout.sweep DEFERRABLE INITIALLY DEFERRED,
    month    date NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('deleted', 'returned')),
    PRIMARY KEY (event_id, seq)
);

SELECT tieout.make_append_only(t::regclass) FROM unnest(ARRAY['tieout.sweep', 'tieout.deletion']) t;

GRANT SELECT, INSERT ON tieout.sweep, tieout.deletion TO tieout_app;
