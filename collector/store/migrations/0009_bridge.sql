-- Which step of the flow an exception is about: the bridge counts it between that step and the one before.
ALTER TABLE tieout.control_exception ADD COLUMN step text;

-- What a document may be rounded by: so much for each line that it says it has, at most `p_max`.
CREATE FUNCTION read.rounding(p_body jsonb, p_line integer, p_max integer) RETURNS integer
LANGUAGE sql IMMUTABLE
RETURN least(p_line * (p_body -> 'attributes' ->> 'lines')::integer, p_max);
REVOKE EXECUTE ON FUNCTION read.rounding(jsonb, integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION read.rounding(jsonb, integer, integer) TO tieout_reader, tieout_app;

-- The exceptions of every kept run.
CREATE VIEW read.exception AS
SELECT r.control, e.run, e.ordinal, e.step, e.subject, e.number, e.entity, e.reason, e.sentence,
       e.difference_minor, e.amount_minor, e.currency
FROM tieout.control_exception e JOIN tieout.control_run r ON r.seq = e.run;
GRANT SELECT ON read.exception TO tieout_reader, tieout_app;
