//! What the queue's statements cost does not depend on how much waits: their plans, and the steps they take.

use super::accept;
use super::closed;
use super::connection::{Durability, open_writer};
use super::queue::{self, CLOSED_EVENTS, DUE_EVENTS, DUE_QUEUES, GIVE_BACK, NEXT_DUE};
use super::schema::{METADATA, migrate};
use super::story;
use crate::contract::{ClaimBounds, QueuedEvent, Release};
use crate::events::{AttemptNote, Settlement, Told};
use lamplight_model::{FunctionName, RequestId, Scope, Timestamp};
use rusqlite::{Connection, StatementStatus, params};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(20);
const NOW: Timestamp = Timestamp(1_000_000);

fn database() -> (tempfile::TempDir, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let mut connection = open_writer(&directory.path().join("metadata.sqlite"), Durability::Normal).unwrap();
    migrate(&mut connection, "metadata.sqlite", METADATA).unwrap();
    (directory, connection)
}

fn enqueue(connection: &Connection, function: &str, events: usize) {
    connection.execute_batch("BEGIN").unwrap();
    for number in 0..events {
        let at = Timestamp(number as i64);
        let event = QueuedEvent {
            request_id: RequestId::generate(),
            scope: Scope::default(),
            function: FunctionName::parse(function).unwrap(),
            qualifier: None,
            payload: "{}".into(),
            client_context: None,
            trace_header: None,
            tenant_id: None,
            accepted_at: at,
            attempts: 0,
            not_before: at,
        };
        accept::enqueue(connection, &event).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
}

fn plan(connection: &Connection, statement: &str) -> String {
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    let unbound = explained.parameter_count();
    let parameters = vec![rusqlite::types::Value::Integer(1); unbound];
    let rows =
        explained.query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
    rows.map(|row| row.unwrap()).collect::<Vec<_>>().join("; ")
}

#[test]
fn no_statement_of_a_claim_reads_a_whole_table() {
    let (_directory, connection) = database();
    for statement in [DUE_QUEUES, DUE_EVENTS, NEXT_DUE, GIVE_BACK, CLOSED_EVENTS] {
        let plan = plan(&connection, statement);
        let walks_events = plan.contains("SCAN event ")
            || plan.ends_with("SCAN event")
            || plan.contains("SCAN event_payload");
        assert!(!walks_events, "{statement}: {plan}");
        for step in plan.split("; ").filter(|step| step.starts_with("SCAN")) {
            assert!(step.contains("USING"), "{statement}: {step}");
        }
    }
    assert!(plan(&connection, DUE_EVENTS).contains("event_due (queue=? AND due<?)"));
    assert!(
        !plan(&connection, DUE_EVENTS).contains("TEMP B-TREE"),
        "the oldest come first without sorting all"
    );
    assert!(plan(&connection, GIVE_BACK).contains("event_due (queue=? AND due>? AND due<?)"));
    let due_queues = plan(&connection, DUE_QUEUES);
    assert!(due_queues.contains("event_queue_due (next_due<?)"), "{due_queues}");
    let closed = plan(&connection, CLOSED_EVENTS);
    assert!(closed.contains("event_queue_closed") && closed.contains("(queue=?)"), "{closed}");
}

#[test]
fn a_claim_takes_as_many_steps_with_many_functions_that_have_nothing_waiting() {
    let measure = |idle: i64| {
        let (_directory, connection) = database();
        enqueue(&connection, "busy", 1);
        connection.execute_batch("BEGIN").unwrap();
        for number in 0..idle {
            // Every other one was deleted.
            let sql =
                "INSERT INTO event_queue (scope, function, closed, accepted, done) VALUES ('s', ?, ?, 1, 1)";
            connection.execute(sql, params![format!("idle{number}"), number % 2]).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        [
            steps(&connection, DUE_QUEUES, params![NOW.0]),
            steps(&connection, NEXT_DUE, params![]),
            steps(&connection, CLOSED_EVENTS, params![NOW.0, 10]),
        ]
    };
    assert_eq!(measure(2), measure(2_000));
}

/// Steps of SQLite's machine that a statement takes until it has given its rows.
fn steps(connection: &Connection, statement: &str, parameters: &[&dyn rusqlite::ToSql]) -> i32 {
    let mut statement = connection.prepare(statement).unwrap();
    {
        let mut rows = statement.query(parameters).unwrap();
        while rows.next().unwrap().is_some() {}
    }
    statement.get_status(StatementStatus::VmStep)
}

#[test]
fn a_claim_takes_as_many_steps_with_a_large_backlog_as_with_a_small_one() {
    let measure = |backlog: usize| {
        let (_directory, connection) = database();
        enqueue(&connection, "a", backlog);
        enqueue(&connection, "b", 1);
        let looked = [
            steps(&connection, DUE_QUEUES, params![NOW.0]),
            steps(&connection, DUE_EVENTS, params![1, NOW.0, 32]),
            steps(&connection, NEXT_DUE, params![]),
            steps(&connection, GIVE_BACK, params![1, NOW.0, NOW.0 + 20_000, "node/"]),
        ];
        let claimed = queue::claim(&connection, "node/1", NOW, LEASE, &ClaimBounds::events(32)).unwrap();
        assert_eq!(claimed.len(), 32);
        assert!(claimed.iter().any(|claimed| claimed.event.function.as_str() == "b"), "b is among the first");
        for claimed in &claimed {
            let id = claimed.event.request_id;
            assert!(queue::settle(&connection, id, claimed.claim, &Release::Done.into(), NOW).unwrap());
        }
        looked
    };
    let (small, large) = (measure(100), measure(20_000));
    for (small, large) in small.into_iter().zip(large) {
        assert!(large <= small + small / 4 + 10, "{large} steps instead of {small}");
    }
}

fn letters(connection: &Connection) -> Vec<(i64, i64)> {
    let sql =
        "SELECT dead_at, (SELECT count(*) FROM event_payload WHERE event_payload.event = dead_letter.event)
               FROM dead_letter ORDER BY dead_at";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn give_up(connection: &Connection, events: usize, now: Timestamp) {
    let claimed = queue::claim(connection, "node/1", NOW, LEASE, &ClaimBounds::events(events)).unwrap();
    assert_eq!(claimed.len(), events);
    for (number, claimed) in claimed.iter().enumerate() {
        let release = Release::DeadLetter { condition: "RetriesExhausted".to_owned(), error: String::new() };
        let (id, at) = (claimed.event.request_id, now.plus(Duration::from_millis(number as u64)));
        assert!(queue::settle(connection, id, claimed.claim, &release.into(), at).unwrap());
    }
}

#[test]
fn a_function_that_ever_had_many_dead_letters_keeps_new_ones_and_the_newest() {
    let (_directory, connection) = database();
    enqueue(&connection, "a", 70);
    // As of a function whose letters retention took away: they are gone, the count went on.
    let sql = "UPDATE event_queue SET accepted = accepted + ?1, dead_lettered = ?1";
    connection.execute(sql, [queue::DEAD_LETTERS_KEPT * 3]).unwrap();
    give_up(&connection, 70, NOW);
    let all: Vec<(i64, i64)> = (0..70).map(|number| (NOW.0 + number, 1)).collect();
    assert_eq!(letters(&connection), all, "each is there with its payload");
    queue::keep_newest(&connection, 1, 70).unwrap();
    assert_eq!(letters(&connection), all);
    queue::keep_newest(&connection, 1, 3).unwrap();
    assert_eq!(letters(&connection), all[67..], "the newest are kept");
    let payloads: i64 =
        connection.query_row("SELECT count(*) FROM event_payload", [], |row| row.get(0)).unwrap();
    assert_eq!(payloads, 3, "payloads go with their letters");
}

#[test]
fn an_event_is_settled_although_its_destination_takes_no_more() {
    let (_directory, connection) = database();
    enqueue(&connection, "a", 1);
    enqueue(&connection, "full", 1);
    let sql = "UPDATE event_queue SET accepted = ?1, pending = ?1 WHERE function = 'full'";
    connection.execute(sql, [accept::PENDING_PER_FUNCTION]).unwrap();
    let claimed = queue::claim(&connection, "node/1", NOW, LEASE, &ClaimBounds::events(2)).unwrap();
    let (event, full) = (&claimed[0], &claimed[1]);
    assert_eq!((event.event.function.as_str(), full.event.function.as_str()), ("a", "full"));
    let id = event.event.request_id;
    let follow_up = QueuedEvent { request_id: RequestId::generate(), ..full.event.clone() };
    let told = Told { arn: "arn:full".to_owned(), role: "Destination".to_owned(), failure: None };
    let settlement = Settlement {
        release: Release::DeadLetter { condition: "RetriesExhausted".to_owned(), error: String::new() },
        attempt: Some(AttemptNote { began_at: NOW, error: String::new(), told: vec![told] }),
        follow_up: Some(follow_up),
    };
    assert!(queue::settle(&connection, id, event.claim, &settlement, NOW).unwrap());
    assert_eq!(letters(&connection), [(NOW.0, 1)]);
    let story = story::story(&connection, &Scope::default(), id).unwrap();
    let failure = story.steps[0].told[0].failure.clone().unwrap();
    assert!(failure.starts_with("5000000 events already wait for function full"), "{failure}");
    let counts = queue::counts(&connection, &Scope::default(), &full.event.function).unwrap();
    assert_eq!(counts.pending, 5_000_000, "nothing was added");
}

/// Neither the look for queues that may go nor taking one away walks through letters, steps or other queues; the done events are
/// looked through once, not once for each queue.
#[test]
fn queues_of_deleted_functions_go_without_a_look_at_all_that_is_kept() {
    let measure = |kept: usize| {
        let (_directory, connection) = database();
        enqueue(&connection, "kept", kept);
        give_up(&connection, kept, NOW);
        let closed =
            "INSERT INTO event_queue (scope, function, closed, accepted, done) VALUES ('s', 'gone', 1, 1, 1)";
        connection.execute(closed, []).unwrap();
        let looked = steps(&connection, closed::UNUSED, params![10]);
        let unused = closed::unused(&connection).unwrap();
        assert_eq!(unused, [2]);
        let sql = "DELETE FROM event_queue WHERE id = ? AND closed = 1 AND pending = 0";
        let removing = steps(&connection, sql, params![unused[0]]);
        assert_eq!(closed::unused(&connection).unwrap(), [0_i64; 0]);
        (looked, removing)
    };
    assert_eq!(measure(4), measure(400));
    let (_directory, connection) = database();
    let plan = plan(&connection, closed::UNUSED);
    assert!(plan.contains("event_queue_ended"), "{plan}");
    assert!(plan.contains("LIST SUBQUERY") && !plan.contains("CORRELATED LIST"), "{plan}");
}

#[test]
fn so_many_queues_go_at_once_and_none_with_events() {
    let (_directory, connection) = database();
    connection.execute_batch("BEGIN").unwrap();
    for number in 0..2_500 {
        let sql = "INSERT INTO event_queue (scope, function, closed, accepted, done, pending) VALUES ('s', ?, 1, 2, 1, ?)";
        connection.execute(sql, params![format!("gone{number}"), i64::from(number % 5 == 0)]).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    let mut went = Vec::new();
    loop {
        let unused = closed::unused(&connection).unwrap();
        if unused.is_empty() {
            break;
        }
        went.push(closed::remove(&connection, &unused).unwrap());
    }
    assert_eq!(went, [1_000, 1_000]);
    assert_eq!(closed::remove(&connection, &[1]).unwrap(), 0, "one with an event stays, whoever names it");
    let left: i64 = connection.query_row("SELECT count(*) FROM event_queue", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 500);
}
