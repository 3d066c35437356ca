-- Links without a shared name. A rule of the configuration links two documents by a decision like a person's;
-- what it saw stands beside the decision. Where a person accepts what a rule suggests, so does it.
--
-- fields: what was compared, by name: "equal", or how alike from 0 to 100; never a value, which may be personal.
-- rivals: the other pairs of either document, with their scores. seen: the last commit that the rule knew.
CREATE TABLE tieout.link_evidence (
    decision  bigint PRIMARY KEY REFERENCES tieout.link_decision,
    automatic boolean NOT NULL,
    rule      text NOT NULL,
    version   text NOT NULL,
    score     smallint NOT NULL CHECK (score BETWEEN 0 AND 100),
    fields    jsonb NOT NULL,
    rivals    jsonb NOT NULL,
    seen      bigint NOT NULL
);
SELECT tieout.make_append_only('tieout.link_evidence');

-- What rules suggest to a person, as of their last match: replaced by the next. The id is derived from the
-- content, so that nobody accepts what has changed since it was shown.
CREATE TABLE tieout.link_suggestion (
    id         text PRIMARY KEY,
    rule       text NOT NULL,
    version    text NOT NULL,
    document   uuid NOT NULL,
    why        text NOT NULL CHECK (why IN ('AMBIGUOUS', 'WEAK', 'WAITING', 'QUESTIONED')),
    candidates jsonb NOT NULL,
    more       integer NOT NULL,
    seen       bigint NOT NULL
);
CREATE INDEX link_suggestion_rule ON tieout.link_suggestion (rule);

-- What every batch asks for, among many links: what is cut. And what was decided of late.
CREATE INDEX link_decision_cut ON tieout.link_decision (id) WHERE action IN ('cut', 'ignore');
CREATE INDEX link_decision_document ON tieout.link_decision (document) WHERE action = 'add';
CREATE INDEX link_decision_other ON tieout.link_decision (other) WHERE action = 'add';
CREATE INDEX link_decision_seq ON tieout.link_decision (seq);

GRANT SELECT, INSERT ON tieout.link_evidence TO tieout_app;
GRANT SELECT, INSERT, DELETE ON tieout.link_suggestion TO tieout_app;
