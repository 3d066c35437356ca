-- Which finished transactions were told to the trace store, so that each is told once, after a restart
-- too. A state that changed later makes a further revision: a correction trace, linked to the first.

CREATE TABLE tieout.trace_sent (
    flow     text NOT NULL,
    document uuid NOT NULL,
    revision integer NOT NULL CHECK (revision >= 0),
    trace_id text NOT NULL CHECK (trace_id ~ '^[0-9a-f]{32}$'),
    content  uuid NOT NULL,
    sent_at  timestamptz NOT NULL,
    PRIMARY KEY (flow, document, revision)
);

SELECT tieout.make_append_only('tieout.trace_sent');

GRANT SELECT, INSERT ON tieout.trace_sent TO tieout_app;

-- The way from a document to its traces: trace stores find old spans by id, not by search.
CREATE VIEW read.trace AS
SELECT flow, document AS document_id, revision, trace_id, sent_at FROM tieout.trace_sent;

GRANT SELECT ON read.trace TO tieout_reader, tieout_app;
