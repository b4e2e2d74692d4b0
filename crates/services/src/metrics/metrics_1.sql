-- Format 1 of metrics.sqlite.

CREATE TABLE metric (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    dimensions TEXT NOT NULL,     -- JSON: [[name, value], ...] ordered by name
    last_at INTEGER NOT NULL,     -- newest value, seconds since the epoch
    UNIQUE (scope, namespace, name, dimensions)
);

-- Values of one second or minute.
CREATE TABLE datum (
    metric INTEGER NOT NULL REFERENCES metric (id),
    at INTEGER NOT NULL,          -- seconds since the epoch
    unit TEXT NOT NULL,
    distribution TEXT NOT NULL,   -- Distribution as JSON
    PRIMARY KEY (metric, at, unit)
) WITHOUT ROWID;
CREATE INDEX datum_at ON datum (at);
