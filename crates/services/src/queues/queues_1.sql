-- Queues, format 1. Times are milliseconds since the epoch.

CREATE TABLE queues (
    -- Never used again, so that rows of a deleted queue belong to nothing.
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    scope        TEXT NOT NULL,
    name         TEXT NOT NULL,
    created      INTEGER NOT NULL,
    modified     INTEGER NOT NULL,
    settings     TEXT NOT NULL,
    tags         TEXT NOT NULL,
    -- ARN of the dead letter queue, to find the sources of one.
    dead_letters TEXT,
    purged       INTEGER
);
CREATE UNIQUE INDEX queue_names ON queues (scope, name);
CREATE INDEX queue_dead_letters ON queues (dead_letters) WHERE dead_letters IS NOT NULL;

-- A name is free again only 60 seconds after its queue was deleted.
CREATE TABLE deleted_queues (
    scope   TEXT NOT NULL,
    name    TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;

-- What a message says. Written once and apart from its place in a queue, which every receive changes.
CREATE TABLE contents (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    message       TEXT NOT NULL,
    body          TEXT NOT NULL,
    attributes    TEXT,
    trace         TEXT,
    sender        TEXT NOT NULL,
    sent          INTEGER NOT NULL,
    deduplication TEXT
);

-- Where a message is. `sequence` is the order of arrival; `receives` counts those of this queue, `earlier` those of queues
-- it was moved from.
CREATE TABLE messages (
    sequence       INTEGER PRIMARY KEY AUTOINCREMENT,
    queue          INTEGER NOT NULL,
    content        INTEGER NOT NULL,
    group_id       TEXT,
    visible_at     INTEGER NOT NULL,
    retained_from  INTEGER NOT NULL,
    receives       INTEGER NOT NULL DEFAULT 0,
    earlier        INTEGER NOT NULL DEFAULT 0,
    first_received INTEGER,
    received       INTEGER,
    source         TEXT
);
CREATE INDEX messages_by_visibility ON messages (queue, visible_at, sequence);
CREATE INDEX messages_by_age ON messages (queue, retained_from);
CREATE INDEX messages_by_group ON messages (queue, group_id, sequence) WHERE group_id IS NOT NULL;
CREATE INDEX messages_received ON messages (queue, visible_at) WHERE receives > 0;

-- The groups of FIFO queues that hold a message: `head` is the first one, and nothing of the group is received before
-- `available_at`.
CREATE TABLE fifo_groups (
    queue        INTEGER NOT NULL,
    group_id     TEXT NOT NULL,
    head         INTEGER NOT NULL,
    available_at INTEGER NOT NULL,
    PRIMARY KEY (queue, group_id)
) WITHOUT ROWID;
CREATE INDEX fifo_groups_by_availability ON fifo_groups (queue, available_at, head);

-- What was sent to FIFO queues in the last five minutes; `group_id` is empty where the queue deduplicates as a whole.
CREATE TABLE deduplications (
    queue    INTEGER NOT NULL,
    group_id TEXT NOT NULL,
    id       TEXT NOT NULL,
    until    INTEGER NOT NULL,
    message  TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (queue, group_id, id)
) WITHOUT ROWID;
CREATE INDEX deduplications_by_end ON deduplications (until);

-- What was answered to a ReceiveRequestAttemptId in the last five minutes.
CREATE TABLE attempts (
    queue    INTEGER NOT NULL,
    id       TEXT NOT NULL,
    until    INTEGER NOT NULL,
    receipts TEXT NOT NULL,
    PRIMARY KEY (queue, id)
) WITHOUT ROWID;
CREATE INDEX attempts_by_end ON attempts (until);

CREATE TABLE move_tasks (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    handle      TEXT NOT NULL UNIQUE,
    source      TEXT NOT NULL,
    destination TEXT,
    rate        INTEGER,
    started     INTEGER NOT NULL,
    status      TEXT NOT NULL,
    moved       INTEGER NOT NULL DEFAULT 0,
    to_move     INTEGER NOT NULL,
    failure     TEXT
);
CREATE INDEX move_tasks_by_source ON move_tasks (source, id);
CREATE INDEX move_tasks_running ON move_tasks (id) WHERE status = 'RUNNING';
