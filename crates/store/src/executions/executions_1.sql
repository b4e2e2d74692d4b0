-- Format 1 of executions.sqlite: durable executions, their operations and their histories.

-- `record` is model::durable::Execution as JSON; the other columns are what is looked for. `listed` is 0 for what no API
-- shows: single invocations of chained invokes. `due` is when something has to be done about it.
CREATE TABLE execution (
    key INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    id BLOB NOT NULL,
    function TEXT NOT NULL,
    version TEXT NOT NULL,
    name TEXT NOT NULL,
    listed INTEGER NOT NULL,
    status TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    due INTEGER,
    record TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX execution_id ON execution (scope, id);
CREATE UNIQUE INDEX execution_name ON execution (scope, function, name);
CREATE INDEX execution_started ON execution (scope, function, started_at, key) WHERE listed = 1;
CREATE INDEX execution_due ON execution (due) WHERE due IS NOT NULL;

-- Apart from the record, which is written at every change.
CREATE TABLE payload (
    execution INTEGER PRIMARY KEY,
    input TEXT NOT NULL,
    result TEXT,
    error TEXT
) STRICT;

-- `open`: whether the execution may suspend because of it. `due`: when time alone changes it.
CREATE TABLE operation (
    execution INTEGER NOT NULL,
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    touched INTEGER NOT NULL,
    open INTEGER NOT NULL,
    due INTEGER,
    record TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX operation_id ON operation (execution, id);
CREATE INDEX operation_position ON operation (execution, position);
CREATE INDEX operation_touched ON operation (execution, touched);
CREATE INDEX operation_open ON operation (execution) WHERE open = 1;
CREATE INDEX operation_due ON operation (execution, due) WHERE due IS NOT NULL;

CREATE TABLE event (
    execution INTEGER NOT NULL,
    number INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_number ON event (execution, number);
