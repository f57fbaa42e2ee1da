-- Jobs that have ended, and their events. `document` has the order, the timeline, the attempts, the
-- proofs' references, the problems and the last round, as a line of the files has them.
CREATE TABLE mallard_archive.jobs (
    id text PRIMARY KEY,
    market text NOT NULL,
    service text NOT NULL,
    mall text NOT NULL,
    external_id text,
    driver text,
    state text NOT NULL,
    reason text,
    redelivered_as text,
    created_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    archived_at timestamptz NOT NULL,
    digest text NOT NULL,
    document jsonb NOT NULL
);
CREATE INDEX jobs_by_market ON mallard_archive.jobs (market, ended_at);
CREATE INDEX jobs_by_external_id ON mallard_archive.jobs (service, external_id);
CREATE INDEX jobs_by_driver ON mallard_archive.jobs (driver, ended_at);

CREATE TABLE mallard_archive.events (
    id text PRIMARY KEY,
    job text NOT NULL REFERENCES mallard_archive.jobs ON DELETE CASCADE,
    sequence bigint NOT NULL,
    type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    cause text NOT NULL,
    actor text NOT NULL,
    state text NOT NULL,
    was text NOT NULL,
    attempt integer NOT NULL,
    driver text NOT NULL
);
CREATE INDEX events_by_job ON mallard_archive.events (job, sequence);
