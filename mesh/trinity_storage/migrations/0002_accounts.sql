-- Who may ask, and how much: plans, associates, keys.
--
-- Every writer begins by counting account_version up, and the lock on that one row holds the next writer until the first
-- has committed. So versions are given in the order in which rows become visible: who has read all rows up to some
-- version never misses a later commit below it.

CREATE TABLE trinity.account_version (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint  NOT NULL CHECK (version > 0)
) WITH (fillfactor = 50);

INSERT INTO trinity.account_version (version) VALUES (1);

COMMENT ON TABLE trinity.account_version IS 'Counts the changes of plans, associates and api_keys, in the order of commits.';

CREATE TABLE trinity.plans (
    plan          text        COLLATE "C" PRIMARY KEY CHECK (plan ~ '^[a-z][a-z0-9-]{0,31}$'),
    name          text        NOT NULL CHECK (length(name) <= 100),
    rate_per_s    integer     NOT NULL CHECK (rate_per_s BETWEEN 1 AND 10000000),
    burst         integer     NOT NULL CHECK (burst BETWEEN 1 AND 100000000),
    monthly_quota bigint      NOT NULL CHECK (monthly_quota BETWEEN 0 AND 9000000000000000),
    scopes        text[]      NOT NULL CHECK (cardinality(scopes) <= 16 AND array_position(scopes, NULL) IS NULL),
    assets        text[]      NOT NULL CHECK (cardinality(assets) <= 200 AND array_position(assets, NULL) IS NULL),
    transports    smallint[]  NOT NULL CHECK (transports <@ '{1,2,3}'),
    create_time   timestamptz NOT NULL,
    update_time   timestamptz NOT NULL,
    version       bigint      NOT NULL
);

CREATE INDEX plans_version ON trinity.plans (version);

COMMENT ON TABLE trinity.plans IS 'What keys may do, and how often.';
COMMENT ON COLUMN trinity.plans.monthly_quota IS 'Answers in a calendar month (UTC) for an associate; 0: no bound.';
COMMENT ON COLUMN trinity.plans.assets IS 'Empty: all.';
COMMENT ON COLUMN trinity.plans.transports IS 'Numbers of trinity.account.v1.Transport; empty: all.';

CREATE TABLE trinity.associates (
    associate   text        COLLATE "C" PRIMARY KEY CHECK (associate ~ '^[a-z][a-z0-9-]{0,31}$'),
    name        text        NOT NULL CHECK (length(name) <= 200),
    email       text        NOT NULL CHECK (length(email) <= 254),
    plan        text        COLLATE "C" NOT NULL REFERENCES trinity.plans (plan),
    suspended   boolean     NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    version     bigint      NOT NULL
);

CREATE INDEX associates_plan ON trinity.associates (plan);
CREATE INDEX associates_version ON trinity.associates (version);

COMMENT ON TABLE trinity.associates IS 'Customers.';
COMMENT ON COLUMN trinity.associates.email IS 'Address for notices; empty: none.';

CREATE TABLE trinity.api_keys (
    key_id           text        COLLATE "C" PRIMARY KEY CHECK (key_id ~ '^[0-9a-z]{12}$'),
    associate        text        COLLATE "C" NOT NULL REFERENCES trinity.associates (associate),
    name             text        NOT NULL CHECK (length(name) <= 100),
    digest           bytea       NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    scopes           text[]      NOT NULL CHECK (cardinality(scopes) <= 16 AND array_position(scopes, NULL) IS NULL),
    allowed_networks text[]      NOT NULL
        CHECK (cardinality(allowed_networks) <= 64 AND array_position(allowed_networks, NULL) IS NULL),
    create_time      timestamptz NOT NULL,
    expire_time      timestamptz,
    revoke_time      timestamptz,
    replaces         text        COLLATE "C" UNIQUE REFERENCES trinity.api_keys (key_id),
    version          bigint      NOT NULL
);

CREATE INDEX api_keys_of_associate ON trinity.api_keys (associate, create_time DESC, key_id DESC);
CREATE INDEX api_keys_newest ON trinity.api_keys (create_time DESC, key_id DESC);
CREATE INDEX api_keys_version ON trinity.api_keys (version);

COMMENT ON TABLE trinity.api_keys IS 'API keys, without their secrets.';
COMMENT ON COLUMN trinity.api_keys.digest IS 'HMAC-SHA256 of the whole key under a pepper that is not in this database.';
COMMENT ON COLUMN trinity.api_keys.scopes IS 'Scopes asked for; the key holds those of them that its plan has.';
COMMENT ON COLUMN trinity.api_keys.replaces IS 'The key that this one replaced; a key is replaced once.';

INSERT INTO trinity.plans
    (plan, name, rate_per_s, burst, monthly_quota, scopes, assets, transports, create_time, update_time, version)
VALUES
    ('demo', 'Demonstration', 1000000, 2000000, 0,
     '{prices.read,feed.read,reports.read,keys.manage,webhooks.manage}', '{}', '{}', now(), now(), 1),
    ('admin', 'Operators of the mesh', 10000, 20000, 0,
     '{prices.read,feed.read,reports.read,keys.manage,webhooks.manage,admin}', '{}', '{}', now(), now(), 1);

INSERT INTO trinity.associates (associate, name, email, plan, suspended, create_time, update_time, version)
VALUES
    ('demo', 'Demonstration', '', 'demo', false, now(), now(), 1),
    ('operator', 'Operators of the mesh', '', 'admin', false, now(), now(), 1);
