-- Format 3 of metadata.sqlite: what the answer to "where is this event now" is made of.
ALTER TABLE event ADD COLUMN claimed_at INTEGER;
-- An event that is sent again goes on counting its claims: an attempt of its first life must not settle it.
ALTER TABLE dead_letter ADD COLUMN claim INTEGER NOT NULL DEFAULT 0;
CREATE INDEX dead_letter_request ON dead_letter (substr(request_id, 1, 8));
CREATE INDEX dead_letter_age ON dead_letter (dead_at);

-- What happened to events that did not succeed at once. Written with the change it tells of; outlives the event.
CREATE TABLE event_step (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL REFERENCES event_queue (id),
    request_id BLOB NOT NULL,
    kind INTEGER NOT NULL,                    -- 0 failed, 1 not run, 2 dead-lettered, 3 redriven
    began_at INTEGER,                         -- of the attempt, where there was one
    at INTEGER NOT NULL,
    times INTEGER NOT NULL DEFAULT 1,         -- so many equal ones in a row (not run)
    condition TEXT,
    error TEXT NOT NULL,
    told TEXT                                 -- JSON, who was told that the event was given up
);
CREATE INDEX event_step_request ON event_step (substr(request_id, 1, 8));

-- The newest events that are done: until the ledger's record of the run is surely on disk. Looked through, not indexed.
CREATE TABLE event_done (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    request_id BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    done_at INTEGER NOT NULL
);
