-- The ground: facts that are only ever added, and what is derived from them.
-- Facts:    commit_log, batch, event, supersession, quarantine, quarantine_resolution, config_version
-- Apart:    raw_record, quarantine_body, personal (a retention of their own; facts stay whole without them)
-- Derived:  document, reference, step, suspended, revised (rebuilt from facts at will), and what of it was known
--           before: reference_history, membership_history, suspended_history
-- State:    part (cursors), stream

CREATE SCHEMA tieout;
CREATE SCHEMA read;

-- Everything that becomes known gets a number in commit order, assigned under one lock just before
-- its transaction commits: "as known at K" is then a prefix of this table, on any later day.
CREATE TABLE tieout.commit_log (
    seq         bigint PRIMARY KEY,
    recorded_at timestamptz NOT NULL UNIQUE,
    what        text NOT NULL
);

CREATE TABLE tieout.stream (
    id        smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source    text NOT NULL,
    stream    text NOT NULL,
    namespace text NOT NULL,
    UNIQUE (source, stream)
);

-- How far each part of a stream has been read. The cursor is the connector's own and is written in
-- the transaction of the batch that it ends.
CREATE TABLE tieout.part (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream  smallint NOT NULL REFERENCES tieout.stream,
    ident   text NOT NULL,
    name    text NOT NULL,
    cursor  jsonb,
    UNIQUE (stream, ident)
);

-- The records of one read, with control totals from our side; the unit of commit and of lineage.
CREATE TABLE tieout.batch (
    id          bigint PRIMARY KEY,
    seq         bigint NOT NULL REFERENCES tieout.commit_log,
    stream      smallint NOT NULL REFERENCES tieout.stream,
    part        bigint REFERENCES tieout.part,
    part_name   text NOT NULL,
    mapping     text NOT NULL,
    cursor_from jsonb,
    cursor_to   jsonb,
    read        integer NOT NULL,
    accepted    integer NOT NULL,
    duplicate   integer NOT NULL,
    quarantined integer NOT NULL,
    ignored     integer NOT NULL,
    events      integer NOT NULL,
    amounts     jsonb NOT NULL,
    hash_total  numeric(39) NOT NULL,
    ending      text,
    unread      integer,
    remark      text NOT NULL DEFAULT '',
    stated      jsonb
);
CREATE INDEX batch_stream ON tieout.batch (stream, seq);
CREATE SEQUENCE tieout.batch_id;

-- One finance fact each. `revision` is the hash of the record's parsed content: the same event with
-- other content is a further revision, kept beside the first. `body` holds references, dimensions and
-- the rest. No transaction number: a merge would have to change facts.
CREATE TABLE tieout.event (
    batch        bigint NOT NULL,
    document     bigint NOT NULL,
    occurred_at  timestamptz NOT NULL,
    event_id     uuid NOT NULL,
    revision     uuid NOT NULL,
    month        date NOT NULL,
    revision_no  smallint NOT NULL,
    position     bigint NOT NULL,
    sequence     bigint,
    amount_minor bigint,
    type         text NOT NULL,
    currency     text,
    entity       text,
    body         jsonb NOT NULL
) PARTITION BY RANGE (month);
CREATE UNIQUE INDEX event_once ON tieout.event (event_id, revision_no, month);
CREATE INDEX event_document ON tieout.event (document);
CREATE INDEX event_batch ON tieout.event USING brin (batch) WITH (autosummarize = on);  -- what was told since a commit

-- A revision of an event that another mapping of the same record has replaced, by other content or by none,
-- from commit `seq` on: it is kept, and no longer stands.
CREATE TABLE tieout.supersession (
    event_id    uuid NOT NULL,
    revision_no smallint NOT NULL,
    month       date NOT NULL,
    seq         bigint NOT NULL REFERENCES tieout.commit_log DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (event_id, revision_no, month)
);
CREATE INDEX supersession_seq ON tieout.supersession (seq);

-- The events that stand now.
CREATE VIEW tieout.standing_event AS
SELECT e.* FROM tieout.event e
WHERE NOT EXISTS (SELECT FROM tieout.supersession x
                  WHERE x.event_id = e.event_id AND x.revision_no = e.revision_no AND x.month = e.month);

-- Fields classed as personal, apart from the facts.
CREATE TABLE tieout.personal (
    event_id    uuid NOT NULL,
    revision_no smallint NOT NULL,
    month       date NOT NULL,
    fields      jsonb NOT NULL
);
CREATE INDEX personal_event ON tieout.personal (event_id);

-- Accepted records as the source gave them, where a stream keeps them. `body` is the parsed record as JSON; NULL
-- where `raw` is that already.
CREATE TABLE tieout.raw_record (
    batch    bigint NOT NULL,
    position bigint NOT NULL,
    raw      bytea NOT NULL,
    body     bytea,
    PRIMARY KEY (batch, position)
);

-- Records that could not be taken. `field` is the expression whose value is at fault, if it is one, and `shape` what
-- that looks like (see collector/model/words.py).
CREATE TABLE tieout.quarantine (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch     bigint NOT NULL REFERENCES tieout.batch DEFERRABLE INITIALLY DEFERRED,
    stream    smallint NOT NULL REFERENCES tieout.stream,
    part_name text NOT NULL,
    position  bigint NOT NULL,
    start     bigint NOT NULL,
    length    bigint NOT NULL,
    content   uuid NOT NULL,
    sha256    text NOT NULL,
    reason    text NOT NULL,
    sentence  text NOT NULL,
    field     text NOT NULL,
    shape     text NOT NULL
);
CREATE UNIQUE INDEX quarantine_once ON tieout.quarantine (stream, content, position);

CREATE TABLE tieout.quarantine_body (
    quarantine bigint PRIMARY KEY REFERENCES tieout.quarantine,
    raw        bytea NOT NULL,
    body       jsonb
);

CREATE TABLE tieout.quarantine_resolution (
    quarantine bigint PRIMARY KEY REFERENCES tieout.quarantine,
    seq        bigint NOT NULL REFERENCES tieout.commit_log,
    kind       text NOT NULL CHECK (kind IN ('replayed', 'accepted')),
    reason     text NOT NULL,
    actor      text NOT NULL
);

-- The configuration in force from `seq` on: flows, calendars, declarations, controls. No secrets.
CREATE TABLE tieout.config_version (
    seq  bigint PRIMARY KEY REFERENCES tieout.commit_log,
    hash text NOT NULL,
    body jsonb NOT NULL
);

-- Business days of a calendar, enumerated; keyed by the hash of the calendar's definition.
CREATE TABLE tieout.business_day (
    calendar    text NOT NULL,
    day         date NOT NULL,
    opens_at    timestamptz NOT NULL,
    closes_at   timestamptz NOT NULL,
    open_before interval NOT NULL,
    PRIMARY KEY (calendar, day)
);

-- ---------------------------------------------------------------------------------------- derived

-- Months counted on and on. A month's bit is its number modulo 60: its place among those of five years, which one five
-- years apart shares.
CREATE FUNCTION tieout.month_number(p_month date) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN extract(year FROM p_month)::int * 12 + extract(month FROM p_month)::int - 1;

-- The months with events: between the first and the last those whose bit is set.
CREATE FUNCTION tieout.months_of(p_first date, p_last date, p_months bigint) RETURNS SETOF date
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 2
BEGIN ATOMIC
    SELECT make_date(n / 12, n % 12 + 1, 1)
    FROM generate_series(tieout.month_number(p_first), tieout.month_number(p_last)) n
    WHERE p_months >> (n % 60) & 1 = 1;
END;

-- An event's place among 63; another event's may be the same.
CREATE FUNCTION tieout.event_bit(p_event_id uuid) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1::bigint << (get_byte(uuid_send(p_event_id), 15) % 63);

-- Numbers of documents are taken by the thousand: what is left is for the next batch.
CREATE SEQUENCE tieout.document_id INCREMENT BY 1000;

-- A document, by a number that means nothing outside. `content_id` is the hash of its own name, the
-- handle that people hold; `component` is the private label of its transaction, since `known_from`.
-- `references_hash` tells at a glance that an event brings no name that the document does not have.
-- Its events lie between the first and the last month; `months` has the bits of those with events, lest all
-- partitions between them are opened.
CREATE TABLE tieout.document (
    id              bigint PRIMARY KEY,
    component       bigint NOT NULL,
    known_from      bigint NOT NULL,
    content_id      uuid NOT NULL,
    references_hash bigint NOT NULL,
    first_month     date NOT NULL,
    last_month      date NOT NULL,
    months          bigint NOT NULL,
    kind            text NOT NULL
);
CREATE INDEX document_component ON tieout.document (component);

-- Names of documents. Role 0 is a document's own name, 1 identity, 2 group, 3 context, 4 one that a person cut.
-- `value_hash` is over the folded value alone, so that a key typed by a person finds it; `name_hash` over
-- kind, scope and value as they are.
CREATE TABLE tieout.reference (
    document   bigint NOT NULL,
    batch      bigint NOT NULL,
    value_hash bigint NOT NULL,
    name_hash  bigint NOT NULL,
    role       smallint NOT NULL,
    kind       text NOT NULL,
    scope      text NOT NULL,
    value      text NOT NULL
);
CREATE INDEX reference_value ON tieout.reference (value_hash, role);
CREATE INDEX reference_document ON tieout.reference (document);

-- Names that a document had up to, and not including, commit `known_to`: no event that stands tells them any more. One of
-- which no event stands at all has none left, and belongs to no transaction.
CREATE TABLE tieout.reference_history (
    LIKE tieout.reference,
    known_to bigint NOT NULL
);
CREATE INDEX reference_history_document ON tieout.reference_history (document);
CREATE INDEX reference_history_value ON tieout.reference_history (value_hash);

-- What happened to a document, per event type. `seen` holds the bit of each event (tieout.event_bit): one whose bit is not
-- there is none of them, in whatever month, and not another revision of one.
CREATE TABLE tieout.step (
    document     bigint NOT NULL,
    first_at     timestamptz NOT NULL,
    last_at      timestamptz NOT NULL,
    amount_minor bigint,
    seen         bigint NOT NULL,
    n            integer NOT NULL,
    type         text NOT NULL,
    currency     text,
    PRIMARY KEY (document, type)
);

CREATE TABLE tieout.membership_history (
    document   bigint NOT NULL,
    component  bigint NOT NULL,
    known_from bigint NOT NULL,
    known_to   bigint NOT NULL
);
CREATE INDEX membership_history_document ON tieout.membership_history (document);

-- Components so large that a weak key must have joined them: every document in one stands alone.
CREATE TABLE tieout.suspended (
    component  bigint PRIMARY KEY,
    documents  integer NOT NULL,
    known_from bigint NOT NULL
);

CREATE TABLE tieout.suspended_history (
    component  bigint NOT NULL,
    known_from bigint NOT NULL,
    known_to   bigint NOT NULL
);

-- Events of which more than one revision was told: their records differ, whatever mappings made of them.
CREATE TABLE tieout.revised (
    event_id uuid PRIMARY KEY
);

-- ----------------------------------------------------------------------------- refused by the database

CREATE FUNCTION tieout.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'facts are append-only: % on %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

-- Triggers on a parent do not stop TRUNCATE of a partition, so every fact table and every partition
-- gets its own.
CREATE FUNCTION tieout.make_append_only(p_table regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
                   'FOR EACH STATEMENT EXECUTE FUNCTION tieout.refuse_change()', p_table);
END $$;

SELECT tieout.make_append_only(t::regclass) FROM unnest(ARRAY[
    'tieout.commit_log', 'tieout.batch', 'tieout.event', 'tieout.supersession', 'tieout.quarantine',
    'tieout.quarantine_resolution', 'tieout.config_version']) t;

-- Make the event partition of a month, if it is not there. Called by the application, which owns
-- nothing, in a short transaction of its own before a batch: CREATE ... PARTITION OF would wait for every
-- reader, ATTACH does not.
CREATE FUNCTION tieout.ensure_partition(p_month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := format('event_%s', to_char(p_month, 'YYYYMM'));
BEGIN
    IF p_month <> date_trunc('month', p_month)::date THEN
        RAISE EXCEPTION 'not the first of a month: %', p_month;
    END IF;
    IF to_regclass('tieout.' || name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('tieout.ensure_partition'));
    -- asked of the catalogue itself: to_regclass may remember that there was none before the lock
    IF EXISTS (SELECT FROM pg_class c
               WHERE c.relname = name AND c.relnamespace = 'tieout'::regnamespace) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE tieout.%I (LIKE tieout.event INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE tieout.%I ADD CONSTRAINT %I CHECK (month >= %L AND month < %L)',
                   name, name || '_month', p_month, p_month + interval '1 month');
    PERFORM tieout.make_append_only(format('tieout.%I', name)::regclass);
    EXECUTE format('ALTER TABLE tieout.event ATTACH PARTITION tieout.%I FOR VALUES FROM (%L) TO (%L)',
                   name, p_month, (p_month + interval '1 month')::date);
END $$;

-- ---------------------------------------------------------------------------------------- rights

GRANT USAGE ON SCHEMA tieout TO tieout_app;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA tieout TO tieout_app;
GRANT UPDATE ON tieout.part, tieout.document, tieout.reference, tieout.step, tieout.suspended TO tieout_app;
GRANT DELETE ON tieout.document, tieout.reference, tieout.step, tieout.membership_history,
                tieout.suspended, tieout.revised TO tieout_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA tieout TO tieout_app;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA tieout FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tieout.ensure_partition(date), tieout.event_bit(uuid), tieout.month_number(date),
    tieout.months_of(date, date, bigint) TO tieout_app;
