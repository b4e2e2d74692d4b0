-- Format 1 of metadata.sqlite. Every key begins with its scope (aws/<account>/<region>).

-- Outlives the deletion of its function: Lambda reuses no version number, also after a re-creation.
CREATE TABLE function_counter (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    next_version INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;

CREATE TABLE function_version (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,      -- 0 is $LATEST
    revision_id TEXT NOT NULL,
    code TEXT NOT NULL,            -- digest
    unfinished INTEGER NOT NULL,   -- 1 while Pending or InProgress
    record TEXT NOT NULL,          -- FunctionVersion as JSON, without the environment
    environment BLOB,              -- sealed JSON; NULL when the block was never given
    PRIMARY KEY (scope, name, version)
);
CREATE INDEX function_latest ON function_version (scope, name) WHERE version = 0;
CREATE INDEX function_unfinished ON function_version (scope, name, version) WHERE unfinished = 1;
CREATE INDEX function_code ON function_version (code);

CREATE TABLE document (
    scope TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    revision_id TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (scope, kind, key)
);

-- One row per function that ever had events, and a new one after the function was deleted and made again.
-- accepted = done + dead_lettered + pending, changed in the transaction that changes the events.
CREATE TABLE event_queue (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    function TEXT NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0,        -- the function is gone; what waits becomes dead letters
    next_due INTEGER,                         -- smallest due of its events, milliseconds since the epoch
    served INTEGER NOT NULL DEFAULT 0,        -- the claim that took from it last; smallest goes first
    accepted INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    dead_lettered INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX event_queue_open ON event_queue (scope, function) WHERE closed = 0;
CREATE INDEX event_queue_function ON event_queue (scope, function);
CREATE INDEX event_queue_due ON event_queue (next_due) WHERE next_due IS NOT NULL;
CREATE INDEX event_queue_closed ON event_queue (id) WHERE closed = 1 AND next_due IS NOT NULL;
CREATE INDEX event_queue_served ON event_queue (served);

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL REFERENCES event_queue (id),
    request_id BLOB NOT NULL UNIQUE,
    due INTEGER NOT NULL,                     -- not_before while it waits, end of the lease while it is claimed
    claim INTEGER NOT NULL DEFAULT 0,         -- fencing number, one more at every claim
    claimed INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    attempts INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    qualifier TEXT,
    client_context TEXT,
    trace_header TEXT
);
CREATE INDEX event_due ON event (queue, due);

-- By itself, so that a claim does not rewrite up to a MiB. Kept by its number when the event becomes a dead letter.
CREATE TABLE event_payload (
    event INTEGER PRIMARY KEY,
    payload BLOB NOT NULL
);

CREATE TABLE dead_letter (
    event INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL REFERENCES event_queue (id),
    scope TEXT NOT NULL,
    function TEXT NOT NULL,
    request_id BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    qualifier TEXT,
    client_context TEXT,
    trace_header TEXT,
    condition TEXT NOT NULL,
    error TEXT NOT NULL,
    dead_at INTEGER NOT NULL
);
CREATE INDEX dead_letter_function ON dead_letter (scope, function, dead_at);
