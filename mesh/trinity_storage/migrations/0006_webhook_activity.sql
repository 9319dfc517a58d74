-- How calls of an endpoint went, as its worker tells every few seconds: counts of its whole life, and how it stands now.

CREATE TABLE trinity.webhook_activity (
    endpoint         text        COLLATE "C" PRIMARY KEY
                                 REFERENCES trinity.webhook_endpoints (endpoint) ON DELETE CASCADE,
    token            bigint      NOT NULL,
    ticks_delivered  bigint      NOT NULL CHECK (ticks_delivered >= 0),
    ticks_failed     bigint      NOT NULL CHECK (ticks_failed >= 0),
    alerts_delivered bigint      NOT NULL CHECK (alerts_delivered >= 0),
    alerts_failed    bigint      NOT NULL CHECK (alerts_failed >= 0),
    prices           bigint      NOT NULL CHECK (prices >= 0),
    skipped          bigint      NOT NULL CHECK (skipped >= 0),
    in_flight        integer     NOT NULL CHECK (in_flight >= 0),
    circuit          smallint    NOT NULL CHECK (circuit BETWEEN 1 AND 3),
    ready_time       timestamptz,
    success_time     timestamptz,
    failure_time     timestamptz,
    failure_outcome  smallint    CHECK (failure_outcome BETWEEN 1 AND 10),
    failure_status   smallint    NOT NULL CHECK (failure_status BETWEEN 0 AND 999),
    failure_error    text        NOT NULL CHECK (length(failure_error) <= 200),
    time             timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

COMMENT ON TABLE trinity.webhook_activity IS 'What workers saw of endpoints; no delivery depends on it.';
COMMENT ON COLUMN trinity.webhook_activity.token IS 'Token of the lease under which it was told last.';

CREATE INDEX webhook_notices_newest ON trinity.webhook_notices (create_time DESC, notice DESC);
