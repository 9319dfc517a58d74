-- Settings of the running mesh that change without a restart.

CREATE TABLE trinity.app_config (
    key        text        PRIMARY KEY CHECK (key ~ '^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$' AND length(key) <= 200),
    value      jsonb       NOT NULL,
    version    bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    updated_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE trinity.app_config IS 'Settings of the running mesh; the cache holds a copy as app:config.';
COMMENT ON COLUMN trinity.app_config.version IS 'Counts the changes of this key: a writer names the version it read.';
