-- The fixed table that ingest is also held against: sixteen columns of an ordinary event table, one
-- unique key, no partitions. It never changes, so that figures of different versions can be compared.
CREATE TABLE reference_event (
    event_id    bytea NOT NULL,
    recorded_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    source      text NOT NULL,
    stream      text NOT NULL,
    type        text NOT NULL,
    kind        text NOT NULL,
    number      text NOT NULL,
    entity      text,
    amount      bigint,
    currency    text,
    actor       text,
    status      text,
    position    bigint NOT NULL,
    revision    bytea NOT NULL,
    body        jsonb NOT NULL,
    PRIMARY KEY (event_id)
);
