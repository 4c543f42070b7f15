-- What workers of distributed flows share: see penguiflow/state/shared.py.

CREATE TABLE shared_traces (
    trace_id text COLLATE "C" PRIMARY KEY,
    changes bigint NOT NULL DEFAULT 0,   -- of rows: the last version that was given out
    counters bytea NOT NULL DEFAULT '{}',  -- JSON
    ended text,                          -- its status
    ended_at double precision,           -- null again when all else is forgotten
    cancelled text                       -- why
) WITH (fillfactor = 50);                -- changed all the time, in place
CREATE INDEX shared_traces_ended ON shared_traces (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE shared_rows (
    trace_id text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (trace_id, scope)
);

CREATE TABLE shared_handled (
    trace_id text COLLATE "C" NOT NULL,
    message text COLLATE "C" NOT NULL,
    PRIMARY KEY (trace_id, message)
);

-- Commits that were made: whoever loses the connection in the middle of one finds out here.
CREATE TABLE shared_commits (
    id uuid PRIMARY KEY,
    made double precision NOT NULL
);
CREATE INDEX shared_commits_made ON shared_commits (made);

CREATE TABLE workers (
    worker_id text COLLATE "C" PRIMARY KEY,
    flow text NOT NULL,
    host text NOT NULL,
    pid bigint NOT NULL,
    nodes bytea NOT NULL,                -- JSON
    started_at double precision NOT NULL,
    state text NOT NULL,
    about bytea NOT NULL,                -- JSON
    seen_at double precision NOT NULL    -- by the server's clock
);

-- The server's clock, unix seconds.
CREATE FUNCTION unix_now() RETURNS double precision LANGUAGE sql VOLATILE
    AS 'SELECT extract(epoch FROM clock_timestamp())::double precision';
