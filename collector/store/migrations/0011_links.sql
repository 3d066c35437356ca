-- What persons decided about documents: facts beside those that sources tell, with a number in commit order.
--
-- add: two documents, by content id, belong to one transaction. cut: a document does not belong to those that
-- share a name with it, the name by its content id: for this document it joins nothing. ignore: a name joins nothing
-- for any document, `document` and `other` are both the name. undo takes one of these back. A decision is never changed: what was known at any time stays known.
CREATE TABLE tieout.link_decision (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq      bigint NOT NULL REFERENCES tieout.commit_log,
    action   text NOT NULL CHECK (action IN ('add', 'cut', 'ignore', 'undo')),
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

-- Other names of documents, known at K: role 1 identity, 2 group, 3 context, 4 an identity that a person has cut:
-- one that was cut since was an identity then. `name_id` is the content id of whatever is called so.
CREATE FUNCTION read.names(p_as_known timestamptz, p_documents bigint[] DEFAULT NULL)
RETURNS TABLE (document bigint, name_id uuid, role smallint, kind text, scope text, value text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH once AS MATERIALIZED (SELECT read.seq_at(p_as_known) AS seq),
    decided AS MATERIALIZED (
        SELECT c.* FROM once, tieout.link_decision c
        WHERE c.action IN ('cut', 'ignore') AND c.seq <= once.seq
          AND NOT EXISTS (SELECT FROM tieout.link_decision u WHERE u.undoes = c.id AND u.seq <= once.seq)),
    cut AS MATERIALIZED (
        SELECT d.id AS document, c.other AS name_id FROM decided c JOIN tieout.document d ON d.content_id = c.document
        WHERE c.action = 'cut'),
    ignored AS MATERIALIZED (SELECT other AS name_id FROM decided WHERE action = 'ignore'),
    named AS (
        SELECT r.document, encode(int8send(r.value_hash) || int8send(r.name_hash), 'hex')::uuid AS name_id,
               r.role, r.kind, r.scope, r.value
        FROM once CROSS JOIN tieout.names_of(p_documents, once.seq) r JOIN tieout.batch b ON b.id = r.batch
        WHERE r.role > 0 AND b.seq <= once.seq)
    SELECT n.document, n.name_id,
           CASE WHEN n.role IN (1, 4) THEN CASE WHEN c.document IS NULL AND i.name_id IS NULL THEN 1 ELSE 4 END
                ELSE n.role END::smallint,
           n.kind, n.scope, n.value
    FROM named n LEFT JOIN cut c ON c.document = n.document AND c.name_id = n.name_id
    LEFT JOIN ignored i ON i.name_id = n.name_id;
END;
REVOKE EXECUTE ON FUNCTION read.names(timestamptz, bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION read.names(timestamptz, bigint[]) TO tieout_reader, tieout_app;
