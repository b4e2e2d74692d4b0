-- Format 5 of metadata.sqlite: queues of deleted functions go when nothing refers to them. Without these indexes each would cost a
-- look at all letters and steps, twice: when it is chosen, and when SQLite checks that nothing refers to it.
CREATE INDEX dead_letter_queue ON dead_letter (queue);
CREATE INDEX event_step_queue ON event_step (queue);
CREATE INDEX event_queue_ended ON event_queue (id) WHERE closed = 1 AND pending = 0;
