-- What owners of webhooks are told by another channel, because the webhook cannot tell them.

CREATE TABLE trinity.webhook_notices (
    notice      bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    endpoint    text        COLLATE "C" NOT NULL,
    associate   text        COLLATE "C" NOT NULL,
    email       text        NOT NULL,
    url         text        NOT NULL,
    reason      smallint    NOT NULL CHECK (reason BETWEEN 1 AND 2),
    create_time timestamptz NOT NULL
);

CREATE INDEX webhook_notices_of_associate ON trinity.webhook_notices (associate, create_time DESC);

COMMENT ON TABLE trinity.webhook_notices IS
    'Endpoints that were given up, written together with that: who sends mail or calls reads them here.';
COMMENT ON COLUMN trinity.webhook_notices.email IS 'Address of the owner at that time; empty: none.';
COMMENT ON COLUMN trinity.webhook_notices.reason IS 'Numbers of trinity.webhook.v1.DisableReason.';
