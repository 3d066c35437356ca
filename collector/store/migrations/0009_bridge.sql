-- Which step of the flow an exception is about: the bridge counts it between that step and the one before.
ALTER TABLE tieout.control_exception ADD COLUMN step text;

-- The exceptions of every kept run.
CREATE VIEW read.exception AS
SELECT r.control, e.run, e.ordinal, e.step, e.subject, e.number, e.entity, e.reason, e.sentence,
       e.difference_minor, e.amount_minor, e.currency
FROM tieout.control_exception e JOIN tieout.control_run r ON r.seq = e.run;
GRANT SELECT ON read.exception TO tieout_reader, tieout_app;
