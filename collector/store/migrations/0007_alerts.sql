-- Alerts: what each run of the present left open, and what is still to be told to whom. A run's row, the
-- notice of what it changed and the deliveries are written in the transaction that keeps the run.

-- A run of the present. `evaluated` is the last run that evaluated its population: this one, or where it did
-- not run the one before it. `concluded` says of that run whether it could judge everything. `notice` is what
-- is told where the verdict or the open exceptions changed, in the order of its keys.
CREATE TABLE tieout.standing (
    run       bigint PRIMARY KEY REFERENCES tieout.control_run,
    control   text NOT NULL,
    evaluated bigint REFERENCES tieout.control_run,
    concluded boolean NOT NULL,
    notice    json
);
CREATE INDEX standing_control ON tieout.standing (control, run);
CREATE INDEX standing_notice ON tieout.standing (control, run) WHERE notice IS NOT NULL;

-- Exceptions of earlier runs that a run could not judge again: they stay open beside its own.
CREATE TABLE tieout.held_exception (
    run     bigint NOT NULL REFERENCES tieout.standing,
    of_run  bigint NOT NULL,
    ordinal integer NOT NULL,
    PRIMARY KEY (run, of_run, ordinal),
    FOREIGN KEY (of_run, ordinal) REFERENCES tieout.control_exception
);

SELECT tieout.make_append_only(t::regclass)
FROM unnest(ARRAY['tieout.standing', 'tieout.held_exception']) t;

-- The outbox: how far the telling of a notice has come. State, not fact. Pending is what is neither sent nor
-- given up; `due_at` is when it is tried next.
CREATE TABLE tieout.delivery (
    run         bigint NOT NULL REFERENCES tieout.standing,
    destination text NOT NULL,
    control     text NOT NULL,
    entered_at  timestamptz NOT NULL,
    due_at      timestamptz NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,
    sent_at     timestamptz,
    given_up_at timestamptz,
    error       text,
    PRIMARY KEY (run, destination),
    CHECK (sent_at IS NULL OR given_up_at IS NULL)
);
CREATE INDEX delivery_pending ON tieout.delivery (destination, control, run)
    WHERE sent_at IS NULL AND given_up_at IS NULL;

GRANT SELECT, INSERT ON tieout.standing, tieout.held_exception, tieout.delivery TO tieout_app;
GRANT UPDATE (due_at, attempts, sent_at, given_up_at, error) ON tieout.delivery TO tieout_app;
