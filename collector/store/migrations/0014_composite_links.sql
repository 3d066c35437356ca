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
CREATE INDEX link_decision_cut ON tieout.link_decision (id) WHERE action = 'cut';
CREATE INDEX link_decision_seq ON tieout.link_decision (seq);

-- A field of an event by its name in a rule; NULL where it has none.
CREATE FUNCTION tieout.link_field(p_field text, p_amount bigint, p_currency text, p_entity text, p_body jsonb,
                                  p_personal jsonb) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE split_part(p_field, '.', 1)
    WHEN 'amount' THEN p_amount::text
    WHEN '-amount' THEN (-p_amount)::text
    WHEN 'currency' THEN p_currency
    WHEN 'entity' THEN p_entity
    WHEN 'references' THEN (SELECT min(r #>> '{1,2}') FROM jsonb_array_elements(p_body -> 'references') r
                            WHERE r #>> '{1,0}' = split_part(p_field, '.', 2))
    WHEN 'dimensions' THEN coalesce(p_personal ->> split_part(p_field, '.', 2),
                                    p_body #>> string_to_array(p_field, '.'))
    WHEN 'attributes' THEN coalesce(p_personal ->> split_part(p_field, '.', 2),
                                    p_body #>> string_to_array(p_field, '.'))
    ELSE coalesce(p_personal ->> p_field, p_body ->> p_field) END;

REVOKE EXECUTE ON FUNCTION tieout.link_field FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tieout.link_field TO tieout_app;
GRANT SELECT, INSERT ON tieout.link_evidence TO tieout_app;
GRANT SELECT, INSERT, DELETE ON tieout.link_suggestion TO tieout_app;
