-- What persons decided about documents: facts beside those that sources tell, with a number in commit order.
--
-- add: two documents, by content id, belong to one transaction. cut: a document does not belong to those that
-- share a name with it, the name by its content id: for this document it joins nothing. undo takes one of these
-- back. A decision is never changed: what was known at any time stays known.
CREATE TABLE tieout.link_decision (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq      bigint NOT NULL REFERENCES tieout.commit_log,
    action   text NOT NULL CHECK (action IN ('add', 'cut', 'undo')),
    document uuid,
    other    uuid,
    undoes   bigint UNIQUE REFERENCES tieout.link_decision,
    reason   text NOT NULL CHECK (reason <> ''),
    actor    text NOT NULL,
    CHECK (CASE action WHEN 'undo' THEN document IS NULL AND other IS NULL AND undoes IS NOT NULL
                       ELSE document IS NOT NULL AND other IS NOT NULL AND undoes IS NULL END)
);
SELECT tieout.make_append_only('tieout.link_decision');

-- The decisions that nobody took back.
CREATE VIEW tieout.link_standing AS
SELECT d.* FROM tieout.link_decision d
WHERE d.action <> 'undo' AND NOT EXISTS (SELECT FROM tieout.link_decision u WHERE u.undoes = d.id);

-- Which documents left a transaction at a commit.
CREATE INDEX membership_history_component ON tieout.membership_history (component, known_to);

GRANT SELECT, INSERT ON tieout.link_decision TO tieout_app;
GRANT SELECT ON tieout.link_standing TO tieout_app;
