-- Webhooks: endpoints and their sealed secrets, subscriptions, rule states, the outbox that is the log as well, leases.
--
-- Every writer of endpoints or subscriptions begins by counting webhook_version up, as writers of accounts do: versions
-- are given in the order in which rows become visible. Attempts and alerts do not.

CREATE TABLE trinity.webhook_version (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint  NOT NULL CHECK (version > 0)
) WITH (fillfactor = 50);

INSERT INTO trinity.webhook_version (version) VALUES (1);

COMMENT ON TABLE trinity.webhook_version IS
    'Counts the changes of endpoints and subscriptions, removals too, in the order of commits.';

CREATE TABLE trinity.webhook_endpoints (
    endpoint         text        COLLATE "C" PRIMARY KEY CHECK (endpoint ~ '^whe_[0-9a-v]{24}$'),
    shard            smallint    NOT NULL CHECK (shard BETWEEN 0 AND 63),
    associate        text        COLLATE "C" NOT NULL REFERENCES trinity.associates (associate),
    name             text        NOT NULL CHECK (length(name) <= 100),
    url              text        NOT NULL CHECK (length(url) <= 2100),
    kind             smallint    NOT NULL CHECK (kind IN (1, 2)),
    schemes          smallint[]  NOT NULL CHECK (schemes <@ '{1,2}' AND cardinality(schemes) BETWEEN 1 AND 2),
    state            smallint    NOT NULL CHECK (state BETWEEN 1 AND 3),
    paused           boolean     NOT NULL,
    rate_per_s       integer     NOT NULL CHECK (rate_per_s BETWEEN 1 AND 1000),
    in_flight_max    integer     NOT NULL CHECK (in_flight_max BETWEEN 1 AND 64),
    batch_max        integer     NOT NULL CHECK (batch_max BETWEEN 1 AND 500),
    batch_ms         integer     NOT NULL CHECK (batch_ms BETWEEN 0 AND 60000),
    ttl_ms           integer     NOT NULL CHECK (ttl_ms BETWEEN 100 AND 600000),
    disable_reason   smallint    CHECK (disable_reason BETWEEN 1 AND 2),
    create_time      timestamptz NOT NULL,
    update_time      timestamptz NOT NULL,
    verify_time      timestamptz,
    disable_time     timestamptz,
    failing_since    timestamptz,
    renew_time       timestamptz,
    challenge_digest bytea       CHECK (octet_length(challenge_digest) = 32),
    challenge_expire timestamptz,
    challenge_tries  smallint,
    version          bigint      NOT NULL,
    CHECK ((challenge_digest IS NULL) = (challenge_expire IS NULL)
       AND (challenge_digest IS NULL) = (challenge_tries IS NULL))
) WITH (fillfactor = 80);

CREATE INDEX webhook_endpoints_of_associate ON trinity.webhook_endpoints (associate, create_time DESC, endpoint DESC);
CREATE INDEX webhook_endpoints_newest ON trinity.webhook_endpoints (create_time DESC, endpoint DESC);
CREATE INDEX webhook_endpoints_shard ON trinity.webhook_endpoints (shard);

COMMENT ON TABLE trinity.webhook_endpoints IS 'Where associates want to be told.';
COMMENT ON COLUMN trinity.webhook_endpoints.shard IS 'trinity_core.webhooks.shard_of(endpoint); leases are of shards.';
COMMENT ON COLUMN trinity.webhook_endpoints.challenge_digest IS 'SHA-256 of the answer; the challenge itself is in its delivery alone.';

CREATE TABLE trinity.webhook_secrets (
    secret      text        COLLATE "C" PRIMARY KEY CHECK (secret ~ '^whk_[0-9a-v]{24}$'),
    endpoint    text        COLLATE "C" NOT NULL REFERENCES trinity.webhook_endpoints (endpoint) ON DELETE CASCADE,
    scheme      smallint    NOT NULL CHECK (scheme IN (1, 2)),
    sealed      bytea       NOT NULL CHECK (octet_length(sealed) BETWEEN 52 AND 128),
    public      bytea       NOT NULL CHECK (octet_length(public) IN (0, 32)),
    create_time timestamptz NOT NULL,
    expire_time timestamptz
);

CREATE INDEX webhook_secrets_of_endpoint ON trinity.webhook_secrets (endpoint);

COMMENT ON TABLE trinity.webhook_secrets IS 'What deliveries are signed with.';
COMMENT ON COLUMN trinity.webhook_secrets.sealed IS
    'AES-256-GCM under a key derived from a secret of the mesh that is not in this database, bound to endpoint and id.';

CREATE TABLE trinity.webhook_subscriptions (
    subscription text        COLLATE "C" PRIMARY KEY CHECK (subscription ~ '^whs_[0-9a-v]{24}$'),
    endpoint     text        COLLATE "C" NOT NULL REFERENCES trinity.webhook_endpoints (endpoint) ON DELETE CASCADE,
    associate    text        COLLATE "C" NOT NULL,
    name         text        NOT NULL CHECK (length(name) <= 100),
    paused       boolean     NOT NULL,
    assets       text[]      NOT NULL CHECK (cardinality(assets) <= 200 AND array_position(assets, NULL) IS NULL),
    rule         jsonb       NOT NULL,
    create_time  timestamptz NOT NULL,
    update_time  timestamptz NOT NULL,
    version      bigint      NOT NULL,
    rule_version bigint      NOT NULL
);

CREATE INDEX webhook_subscriptions_of_endpoint
    ON trinity.webhook_subscriptions (endpoint, create_time DESC, subscription DESC);
CREATE INDEX webhook_subscriptions_of_associate
    ON trinity.webhook_subscriptions (associate, create_time DESC, subscription DESC);
CREATE INDEX webhook_subscriptions_newest ON trinity.webhook_subscriptions (create_time DESC, subscription DESC);

COMMENT ON TABLE trinity.webhook_subscriptions IS 'What endpoints are told of.';
COMMENT ON COLUMN trinity.webhook_subscriptions.rule_version IS 'The change that made rule or assets what they are.';

CREATE TABLE trinity.webhook_rule_states (
    subscription text   COLLATE "C" NOT NULL REFERENCES trinity.webhook_subscriptions (subscription) ON DELETE CASCADE,
    asset        text   COLLATE "C" NOT NULL,
    rule_version bigint NOT NULL,
    number       bigint NOT NULL CHECK (number >= 0),
    state        jsonb  NOT NULL,
    PRIMARY KEY (subscription, asset)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

COMMENT ON TABLE trinity.webhook_rule_states IS
    'What rules remember, committed together with the alerts that came of it.';
COMMENT ON COLUMN trinity.webhook_rule_states.number IS 'Alerts so far; never goes back.';

CREATE TABLE trinity.webhook_deliveries (
    delivery     text        COLLATE "C" PRIMARY KEY CHECK (delivery ~ '^(msg|tck)_[0-9a-v]{24}(_[0-9a-v]{24})?$'),
    endpoint     text        COLLATE "C" NOT NULL REFERENCES trinity.webhook_endpoints (endpoint) ON DELETE CASCADE,
    associate    text        COLLATE "C" NOT NULL,
    subscription text        COLLATE "C" NOT NULL,
    asset        text        COLLATE "C" NOT NULL,
    kind         smallint    NOT NULL CHECK (kind BETWEEN 1 AND 4),
    type         text        NOT NULL,
    payload      bytea       NOT NULL CHECK (octet_length(payload) <= 262144),
    ordered      boolean     NOT NULL,
    state        smallint    NOT NULL CHECK (state BETWEEN 1 AND 3),
    attempts     integer     NOT NULL CHECK (attempts >= 0),
    tries        integer     NOT NULL CHECK (tries >= attempts),
    create_time  timestamptz NOT NULL,
    due_time     timestamptz,
    done_time    timestamptz,
    last_status  smallint    NOT NULL,
    last_outcome smallint,
    claim        bigint      NOT NULL DEFAULT 0,
    sequence     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    CHECK ((state = 1) = (due_time IS NOT NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX webhook_deliveries_due ON trinity.webhook_deliveries (endpoint, due_time)
    WHERE state = 1 AND NOT ordered;
CREATE INDEX webhook_deliveries_heads ON trinity.webhook_deliveries (endpoint, subscription, sequence)
    WHERE state = 1 AND ordered;
CREATE INDEX webhook_deliveries_of_endpoint
    ON trinity.webhook_deliveries (endpoint, create_time DESC, delivery DESC);
CREATE INDEX webhook_deliveries_of_associate
    ON trinity.webhook_deliveries (associate, create_time DESC, delivery DESC);
CREATE INDEX webhook_deliveries_newest ON trinity.webhook_deliveries (create_time DESC, delivery DESC);

COMMENT ON TABLE trinity.webhook_deliveries IS
    'The outbox, and the log of 30 days: webhook_deliveries_newest finds what is to be removed.';
COMMENT ON COLUMN trinity.webhook_deliveries.delivery IS
    'webhook-id. Of an alert it follows from subscription, rule version, asset and number: an alert is stored once.';
COMMENT ON COLUMN trinity.webhook_deliveries.claim IS
    'Token of the lease under which it is being sent; that of a holder before means nothing.';

CREATE TABLE trinity.webhook_attempts (
    delivery   text        COLLATE "C" NOT NULL REFERENCES trinity.webhook_deliveries (delivery) ON DELETE CASCADE,
    number     integer     NOT NULL CHECK (number > 0),
    at         timestamptz NOT NULL,
    latency_us bigint      NOT NULL CHECK (latency_us >= 0),
    outcome    smallint    NOT NULL CHECK (outcome BETWEEN 1 AND 10),
    status     smallint    NOT NULL CHECK (status BETWEEN 0 AND 999),
    answer     bytea       NOT NULL CHECK (octet_length(answer) <= 256),
    error      text        NOT NULL CHECK (length(error) <= 200),
    PRIMARY KEY (delivery, number)
);

COMMENT ON TABLE trinity.webhook_attempts IS 'Every try to deliver.';

CREATE TABLE trinity.webhook_workers (
    holder      text        COLLATE "C" PRIMARY KEY CHECK (length(holder) BETWEEN 1 AND 64),
    expire_time timestamptz NOT NULL
);

COMMENT ON TABLE trinity.webhook_workers IS 'Engines that share the endpoints.';

CREATE SEQUENCE trinity.webhook_tokens AS bigint;

CREATE TABLE trinity.webhook_leases (
    shard       smallint    PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
    holder      text        COLLATE "C" NOT NULL,
    token       bigint      NOT NULL,
    expire_time timestamptz NOT NULL
) WITH (fillfactor = 50);

INSERT INTO trinity.webhook_leases (shard, holder, token, expire_time)
SELECT shard, '', 0, '-infinity' FROM generate_series(0, 63) AS shard;

COMMENT ON TABLE trinity.webhook_leases IS 'Which worker sees to which endpoints.';
COMMENT ON COLUMN trinity.webhook_leases.token IS 'Grows with every holder; what is written with an older one is refused.';
