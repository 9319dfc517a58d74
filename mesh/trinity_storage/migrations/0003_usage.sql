-- What was answered, to whom and how: absolute counters of the gateways' ledgers, their exact sums, leases of quotas.
--
-- Every writer of usage holds one advisory lock until it has committed. So a `seq` is given in the order in which rows
-- become visible: who has read all rows up to some seq never misses a later commit below it.

CREATE TABLE trinity.usage_counters (
    incarnation text COLLATE "C" NOT NULL CHECK (length(incarnation) BETWEEN 8 AND 64),
    slot        integer          NOT NULL CHECK (slot >= 0),
    key_id      text COLLATE "C" NOT NULL CHECK (length(key_id) BETWEEN 1 AND 64),
    hour        timestamptz      NOT NULL,
    transport   smallint         NOT NULL,
    method      text COLLATE "C" NOT NULL,
    asset       text COLLATE "C" NOT NULL,
    outcome     smallint         NOT NULL,
    n           bigint           NOT NULL CHECK (n > 0),
    PRIMARY KEY (incarnation, slot)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX usage_counters_hour ON trinity.usage_counters (hour);

COMMENT ON TABLE trinity.usage_counters IS
    'Counters of ledger files, absolute: of two figures for one slot the greater is right. Open hours only.';
COMMENT ON COLUMN trinity.usage_counters.incarnation IS 'Name of the ledger file: one life of one gateway process.';

CREATE TABLE trinity.usage_sums (
    hour      timestamptz      NOT NULL CHECK (extract(epoch FROM hour)::bigint % 3600 = 0),
    key_id    text COLLATE "C" NOT NULL,
    transport smallint         NOT NULL CHECK (transport BETWEEN 1 AND 3),
    method    text COLLATE "C" NOT NULL,
    asset     text COLLATE "C" NOT NULL,
    outcome   smallint         NOT NULL CHECK (outcome BETWEEN 1 AND 6),
    n         bigint           NOT NULL CHECK (n > 0),
    id        bigint           NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    PRIMARY KEY (hour, key_id, transport, method, asset, outcome)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX usage_sums_key ON trinity.usage_sums (key_id, hour, transport, method, asset, outcome);

COMMENT ON TABLE trinity.usage_sums IS
    'Answers of one kind to one key in one hour: the sum of its counters, changed together with them.';

CREATE SEQUENCE trinity.usage_seq AS bigint;

-- Apart from the sums, because a new seq costs every index of its row a new entry, and a new sum none.
CREATE TABLE trinity.usage_changes (
    id  bigint PRIMARY KEY,
    seq bigint NOT NULL UNIQUE
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

COMMENT ON TABLE trinity.usage_changes IS 'When each sum changed last, in the order of commits.';

CREATE TABLE trinity.usage_closed (
    incarnation text COLLATE "C" NOT NULL,
    hour        timestamptz      NOT NULL,
    slot_min    integer          NOT NULL,
    slot_max    integer          NOT NULL,
    slots       integer[]        NOT NULL,
    sums        bigint[]         NOT NULL,
    ns          bigint[]         NOT NULL,
    PRIMARY KEY (incarnation, hour),
    CHECK (cardinality(slots) = cardinality(sums) AND cardinality(slots) = cardinality(ns))
);

CREATE INDEX usage_closed_hour ON trinity.usage_closed (hour);

COMMENT ON TABLE trinity.usage_closed IS
    'Counters of closed hours, one row a ledger file and hour: what comes late is compared, not counted again.';
COMMENT ON COLUMN trinity.usage_closed.sums IS 'usage_sums.id of each slot, in the order of slots.';

CREATE TABLE trinity.usage_final (
    single boolean     PRIMARY KEY DEFAULT true CHECK (single),
    before timestamptz NOT NULL
);

INSERT INTO trinity.usage_final (before) VALUES ('-infinity');

COMMENT ON TABLE trinity.usage_final IS
    'Hours before this time are final: their counters are not known any more, and none is taken.';

CREATE TABLE trinity.usage_days (
    key_id text COLLATE "C" NOT NULL,
    day    date             NOT NULL,
    n      bigint           NOT NULL CHECK (n > 0),
    PRIMARY KEY (key_id, day)
) WITH (fillfactor = 70);

COMMENT ON TABLE trinity.usage_days IS
    'Billed answers of one key on one day (UTC), for quotas; changed together with usage_sums.';

CREATE TABLE trinity.quota_leases (
    associate   text COLLATE "C" NOT NULL,
    month       date             NOT NULL CHECK (extract(day FROM month) = 1),
    holder      text COLLATE "C" NOT NULL,
    key_id      text COLLATE "C" NOT NULL,
    allowed     bigint           NOT NULL CHECK (allowed >= 0),
    used        bigint           NOT NULL CHECK (used >= 0),
    expire_time timestamptz      NOT NULL,
    PRIMARY KEY (associate, month, holder, key_id)
) WITH (fillfactor = 70);

COMMENT ON TABLE trinity.quota_leases IS 'Shares of monthly quotas that gateway processes hold.';
COMMENT ON COLUMN trinity.quota_leases.allowed IS
    'Answers allowed in the month in all. What is unused of it comes back when the lease has expired.';
COMMENT ON COLUMN trinity.quota_leases.used IS 'Answers used of it, as the holder told last.';

-- What reports and the sync read. The names are those of now: a change of a name gives no new seq. Keys that are not
-- known (any more) show with NULL for associate and key_name.
CREATE VIEW trinity.usage_log AS
SELECT u.key_id,
       k.associate,
       k.name AS key_name,
       u.hour,
       u.transport,
       u.method,
       u.asset,
       u.outcome,
       u.n,
       u.outcome <= 4 AS billed,
       c.seq
  FROM trinity.usage_sums u
  LEFT JOIN trinity.usage_changes c ON c.id = u.id
  LEFT JOIN trinity.api_keys k ON k.key_id = u.key_id;

COMMENT ON VIEW trinity.usage_log IS
    'One row a key, hour, transport, method, asset and outcome. Pages: (hour, key_id, transport, method, asset,
     outcome), all one way; increments: seq.';
