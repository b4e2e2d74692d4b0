//! Durable executions in their file: what a replay is given, refusals that change nothing, names, lists, forgetting.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

use lamplight_model::durable::{
    Action, Checkpoint, CheckpointToken, DurableConfig, ExecutionStatus, InFlight, NewExecution,
    OperationKind, Progress, Refusal, Turn, Update,
};
use lamplight_model::{FunctionName, Scope, Timestamp, VersionNumber};
use lamplight_store::DataDirectory;
use lamplight_store::executions::{ExecutionKey, ExecutionQuery, Executions, StartedExecution, Wanted};
use std::collections::HashMap;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn new(name: &str, number: u128) -> NewExecution {
    let config = DurableConfig { execution_timeout_seconds: 60, retention_days: 1, kms_key_arn: None };
    NewExecution::new(
        Scope::default(),
        Uuid::from_u128(number),
        FunctionName::parse("f").unwrap(),
        VersionNumber::Published(2),
        name.to_owned(),
        &config,
        "[1]".to_owned(),
        Timestamp(NOW.0 + number as i64),
    )
}

fn key(number: u128) -> ExecutionKey {
    ExecutionKey { scope: Scope::default(), id: Uuid::from_u128(number) }
}

fn open(directory: &tempfile::TempDir) -> Executions {
    Executions::open(&DataDirectory::take(directory.path()).unwrap()).unwrap()
}

fn update(kind: OperationKind, action: Action, id: &str, parent: Option<&str>) -> Update {
    Update {
        id: id.to_owned(),
        parent_id: parent.map(str::to_owned),
        name: None,
        sub_type: None,
        kind,
        action,
        payload: (action == Action::Succeed).then(|| "x".repeat(100)),
        error: None,
        replay_children: None,
        next_attempt_delay_seconds: None,
        wait_seconds: Some(10),
        callback_timeout_seconds: 0,
        heartbeat_seconds: 0,
        function_name: None,
    }
}

/// Begins an invocation and checkpoints these updates, one after the other.
async fn run(executions: &Executions, number: u128, updates: Vec<Update>) {
    let begun = InFlight {
        id: Uuid::from_u128(9),
        request_id: Uuid::from_u128(8),
        started_at: NOW,
        owner: "node/1".to_owned(),
        lease_until: Timestamp(NOW.0 + 10_000),
        seen_before: 0,
        interrupted: false,
    };
    let now = Timestamp(NOW.0 + 1_000);
    let changed = executions
        .change(&key(number), Wanted::default(), move |progress: &mut Progress| {
            Ok::<_, Refusal>((progress.advance(now, begun), None))
        })
        .await;
    assert_eq!(changed.unwrap().unwrap().unwrap().value, Turn::Invoke);
    for (count, update) in updates.into_iter().enumerate() {
        let wanted = Wanted {
            ids: [Some(update.id.clone()), update.parent_id.clone()].into_iter().flatten().collect(),
            ..Wanted::default()
        };
        let token = CheckpointToken {
            execution: Uuid::from_u128(number),
            invocation: Uuid::from_u128(9),
            number: count as u64,
        };
        let request =
            Checkpoint { token, client_token: None, updates: vec![update], targets: HashMap::new() };
        let changed = executions
            .change(&key(number), wanted, move |progress: &mut Progress| {
                let answer = progress.checkpoint(request, now, Uuid::new_v4)?;
                let since = answer.since;
                Ok::<_, Refusal>((answer, since))
            })
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(changed.operations.len(), 1, "what has changed is told back");
    }
}

#[tokio::test]
async fn a_replay_leaves_out_what_is_inside_of_ended_contexts_and_comes_in_pages() {
    let directory = tempfile::tempdir().unwrap();
    let executions = open(&directory);
    assert_eq!(executions.start(new("a", 1)).await.unwrap(), StartedExecution::New);
    use Action::{Start, Succeed};
    use OperationKind::{Context, Step};
    let updates = vec![
        update(Context, Start, "outer", None),
        update(Context, Start, "inner", Some("outer")),
        update(Step, Succeed, "deep", Some("inner")),
        update(Context, Succeed, "outer", None),
        update(Context, Start, "open", None),
        update(Step, Succeed, "shown", Some("open")),
        Update { replay_children: Some(true), ..update(Context, Succeed, "open", None) },
        update(Step, Succeed, "last", None),
    ];
    run(&executions, 1, updates).await;
    drop(executions);
    // As another start of the server reads it.
    let executions = open(&directory);
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = executions.replay(&key(1), after, 2, u64::MAX).await.unwrap().unwrap();
        assert_eq!(page.0.input, "[1]");
        assert!((1..=2).contains(&page.1.len()));
        seen.extend(page.1.into_iter().map(|operation| operation.id));
        match page.2 {
            Some(next) => after = next,
            None => break,
        }
    }
    let first = Uuid::from_u128(1).to_string();
    assert_eq!(seen, [first.as_str(), "outer", "open", "shown", "last"]);
    // Results bound a page, too; one operation there always is.
    let page = executions.replay(&key(1), 0, 100, 150).await.unwrap().unwrap();
    assert_eq!(page.1.len(), 2);
    assert_eq!(executions.in_flight_of("node/").await.unwrap(), [key(1)]);
    assert_eq!(executions.in_flight_of("other/").await.unwrap(), []);
}

#[tokio::test]
async fn names_are_unique_and_lists_are_filtered() {
    let directory = tempfile::tempdir().unwrap();
    let executions = open(&directory);
    for number in 1..=3 {
        executions.start(new(&format!("n{number}"), number)).await.unwrap();
    }
    match executions.start(new("n2", 7)).await.unwrap() {
        StartedExecution::Existing(existing) => assert_eq!(ExecutionKey::of(&existing.execution), key(2)),
        StartedExecution::New => panic!("a name was given twice"),
    }
    let stopped = executions
        .change(&key(3), Wanted::default(), |progress: &mut Progress| {
            Ok::<_, Refusal>((progress.stop(None, NOW), None))
        })
        .await;
    assert_eq!(stopped.unwrap().unwrap().unwrap().execution.status, ExecutionStatus::Stopped);
    let all = ExecutionQuery {
        scope: Scope::default(),
        function: FunctionName::parse("f").unwrap(),
        version: None,
        name: None,
        status: None,
        started_after: None,
        started_before: None,
        oldest_first: false,
        after: None,
        limit: 10,
    };
    let names = async |query: ExecutionQuery| -> Vec<String> {
        executions.list(query).await.unwrap().into_iter().map(|(_, execution)| execution.name).collect()
    };
    assert_eq!(names(all.clone()).await, ["n3", "n2", "n1"]);
    assert_eq!(names(ExecutionQuery { oldest_first: true, limit: 2, ..all.clone() }).await, ["n1", "n2"]);
    let status = Some(ExecutionStatus::Stopped);
    assert_eq!(names(ExecutionQuery { status, ..all.clone() }).await, ["n3"]);
    let version = Some(VersionNumber::Latest);
    assert!(names(ExecutionQuery { version, ..all.clone() }).await.is_empty());
    let started_after = Some(Timestamp(NOW.0 + 1));
    let started_before = Some(Timestamp(NOW.0 + 3));
    assert_eq!(names(ExecutionQuery { started_after, started_before, ..all.clone() }).await, ["n2"]);
    let (place, first) = executions.list(ExecutionQuery { limit: 1, ..all.clone() }).await.unwrap().remove(0);
    let after = Some((first.started_at, place));
    assert_eq!(names(ExecutionQuery { after, ..all.clone() }).await, ["n2", "n1"]);
    let elsewhere =
        Scope { region: lamplight_model::Region::parse("eu-west-1").unwrap(), ..Scope::default() };
    assert!(names(ExecutionQuery { scope: elsewhere, ..all.clone() }).await.is_empty());
    executions.remove(&key(2)).await.unwrap();
    assert_eq!(executions.get(&key(2)).await.unwrap(), None);
    assert_eq!(executions.start(new("n2", 7)).await.unwrap(), StartedExecution::New);
}

#[tokio::test]
async fn what_is_refused_changes_nothing_and_what_is_due_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let executions = open(&directory);
    assert_eq!(executions.next_due().await.unwrap(), None);
    executions.start(new("a", 1)).await.unwrap();
    assert_eq!(executions.due(NOW, 10).await.unwrap(), [key(1)]);
    let before = executions.get(&key(1)).await.unwrap();
    let refused = executions
        .change(&key(1), Wanted::default(), |progress: &mut Progress| {
            progress.stop(None, NOW);
            Err::<((), Option<u64>), _>(Refusal::CallbackClosed)
        })
        .await;
    assert_eq!(refused.unwrap(), Some(Err(Refusal::CallbackClosed)));
    assert_eq!(executions.get(&key(1)).await.unwrap(), before);
    let events = executions.history(&key(1), None, false, 10).await.unwrap().unwrap();
    assert_eq!(events.len(), 1);

    run(&executions, 1, vec![update(OperationKind::Wait, Action::Start, "w", None)]).await;
    // Nothing sooner than its lease, which ends before the wait does.
    assert_eq!(executions.next_due().await.unwrap(), Some(Timestamp(NOW.0 + 10_000)));
    assert_eq!(executions.due(Timestamp(NOW.0 + 9_999), 10).await.unwrap(), []);
}
