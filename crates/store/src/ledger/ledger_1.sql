-- Format 1 of ledger.sqlite.

CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    function TEXT NOT NULL,
    version INTEGER NOT NULL,     -- 0 is $LATEST
    request_id BLOB NOT NULL,
    arrived_at INTEGER NOT NULL,  -- milliseconds since the epoch
    failed INTEGER NOT NULL,      -- 1 unless the status is success
    billed_ms INTEGER NOT NULL,
    mib_ms INTEGER NOT NULL,      -- billed milliseconds times configured MiB
    report TEXT NOT NULL          -- InvocationReport as JSON
);
CREATE INDEX record_request ON record (scope, request_id);
CREATE INDEX record_function ON record (scope, function, id);
CREATE INDEX record_arrival ON record (scope, arrived_at);

-- Totals by hour of arrival; they outlive the records.
CREATE TABLE usage_hour (
    scope TEXT NOT NULL,
    hour INTEGER NOT NULL,        -- arrived_at divided by 3,600,000
    function TEXT NOT NULL,
    version INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    billed_ms INTEGER NOT NULL,
    mib_ms INTEGER NOT NULL,
    PRIMARY KEY (scope, hour, function, version)
) WITHOUT ROWID;
