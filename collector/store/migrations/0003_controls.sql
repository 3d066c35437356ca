-- Control runs: every one is kept, whatever its outcome, with all that it takes to perform it again.

-- What was known of how completely streams were seen: canonical JSON (RFC 8785), by the SHA-256 of its bytes.
CREATE TABLE tieout.coverage_certificate (
    hash      text PRIMARY KEY,
    body      text NOT NULL,
    issued_at timestamptz NOT NULL,
    CONSTRAINT genuine CHECK (hash = encode(sha256(convert_to(body, 'UTF8')), 'hex'))
);

CREATE TABLE tieout.control_run (
    seq         bigint PRIMARY KEY REFERENCES tieout.commit_log,
    control     text NOT NULL,
    verdict     text NOT NULL CHECK (verdict IN ('PASS', 'WARN', 'INCOMPLETE', 'FAIL', 'ERROR', 'SKIPPED')),
    complete    boolean NOT NULL,
    as_of       timestamptz NOT NULL,
    as_known    timestamptz NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    trigger     text NOT NULL CHECK (trigger IN ('command', 'schedule')),
    actor       text NOT NULL,
    definition  jsonb NOT NULL,
    parameters  jsonb NOT NULL,
    rule_hash   text NOT NULL,
    code_hash   text NOT NULL,
    query       text NOT NULL,
    certificate text REFERENCES tieout.coverage_certificate,
    gaps        jsonb NOT NULL,
    population  jsonb NOT NULL,
    notes       jsonb NOT NULL,
    error       text,
    CONSTRAINT pass_is_proven CHECK (verdict <> 'PASS' OR complete AND certificate IS NOT NULL)
);
CREATE INDEX control_run_control ON tieout.control_run (control, seq);

CREATE TABLE tieout.control_exception (
    run              bigint NOT NULL REFERENCES tieout.control_run,
    ordinal          integer NOT NULL,
    subject          uuid NOT NULL,
    number           text NOT NULL,
    entity           text,
    reason           text NOT NULL,
    sentence         text NOT NULL,
    expected         text NOT NULL,
    actual           text NOT NULL,
    difference_minor bigint,
    amount_minor     bigint,
    currency         text,
    PRIMARY KEY (run, ordinal)
);
CREATE INDEX control_exception_subject ON tieout.control_exception (subject);

SELECT tieout.make_append_only(t::regclass)
FROM unnest(ARRAY['tieout.coverage_certificate', 'tieout.control_run', 'tieout.control_exception']) t;

GRANT SELECT, INSERT ON tieout.coverage_certificate, tieout.control_run, tieout.control_exception TO tieout_app;

-- The last run of every control, for boards.
CREATE VIEW read.last_run AS
SELECT DISTINCT ON (r.control)
       r.control, r.seq AS run, r.verdict, r.complete, r.as_of, r.as_known, r.started_at, r.finished_at,
       r.trigger, (r.population ->> 'in_scope')::bigint AS in_scope,
       (r.population ->> 'exceptions')::bigint AS exceptions,
       (r.population ->> 'pending')::bigint AS pending, jsonb_array_length(r.gaps) AS gaps
FROM tieout.control_run r ORDER BY r.control, r.seq DESC;

CREATE VIEW read.run AS
SELECT r.seq AS run, r.control, r.verdict, r.complete, r.as_of, r.as_known, r.started_at, r.finished_at,
       r.trigger, (r.population ->> 'in_scope')::bigint AS in_scope,
       (r.population ->> 'exceptions')::bigint AS exceptions
FROM tieout.control_run r;

-- The exceptions of every control's last run that came to a conclusion: one that did not run heals none.
CREATE VIEW read.open_exception AS
SELECT l.control, l.as_of, e.subject, e.number, e.entity, e.reason, e.sentence, e.amount_minor, e.currency
FROM (SELECT DISTINCT ON (control) seq, control, as_of FROM tieout.control_run
      WHERE verdict <> 'ERROR' ORDER BY control, seq DESC) l
JOIN tieout.control_exception e ON e.run = l.seq;

-- One row per batch: what was read, when.
CREATE VIEW read.batch AS
SELECT s.source, s.stream, c.recorded_at, b.read, b.accepted, b.duplicate, b.quarantined, b.ignored,
       b.events, b.ending, b.unread
FROM tieout.batch b JOIN tieout.stream s ON s.id = b.stream JOIN tieout.commit_log c ON c.seq = b.seq;

CREATE VIEW read.quarantined AS
SELECT s.source, s.stream, q.reason, q.sentence, c.recorded_at
FROM tieout.quarantine q JOIN tieout.stream s ON s.id = q.stream JOIN tieout.batch b ON b.id = q.batch
JOIN tieout.commit_log c ON c.seq = b.seq
WHERE NOT EXISTS (SELECT FROM tieout.quarantine_resolution r WHERE r.quarantine = q.id);

GRANT SELECT ON ALL TABLES IN SCHEMA read TO tieout_reader, tieout_app;
