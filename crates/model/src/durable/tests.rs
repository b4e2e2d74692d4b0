//! Transitions of executions and their operations, as a function and its callers see them. `now` is moved by hand.

use super::execution::InFlight;
use super::*;
use crate::function::VersionNumber;
use crate::name::FunctionName;
use crate::scope::Scope;
use crate::timestamp::Timestamp;
use std::collections::HashMap;
use uuid::Uuid;

const START: i64 = 1_700_000_000_000;

/// An execution with all of its operations loaded, a clock, and the tokens of its invocation.
struct World {
    progress: Progress,
    now: Timestamp,
    random: u128,
    token: Option<CheckpointToken>,
}

impl World {
    fn new() -> Self {
        let config = DurableConfig { execution_timeout_seconds: 600, retention_days: 1, kms_key_arn: None };
        let new = NewExecution::new(
            Scope::default(),
            Uuid::from_u128(1),
            FunctionName::parse("f").unwrap(),
            VersionNumber::Latest,
            "name".to_owned(),
            &config,
            "{}".to_owned(),
            Timestamp(START),
        );
        Self { progress: Progress::open(&new), now: Timestamp(START), random: 100, token: None }
    }

    /// One whose function runs.
    fn running() -> Self {
        let mut world = Self::new();
        assert_eq!(world.turn(), Turn::Invoke);
        world
    }

    fn later(&mut self, seconds: i64) -> &mut Self {
        self.now.0 += seconds * 1_000;
        self
    }

    /// What the worker does when it looks at the execution.
    fn turn(&mut self) -> Turn {
        self.random += 1;
        let invocation = InFlight {
            id: Uuid::from_u128(self.random),
            request_id: Uuid::from_u128(2),
            started_at: self.now,
            owner: "node/1".to_owned(),
            lease_until: Timestamp(self.now.0 + 20_000),
            seen_before: 0,
            interrupted: false,
        };
        let turn = self.progress.advance(self.now, invocation);
        if turn == Turn::Invoke {
            let execution = &self.progress.execution;
            self.token = Some(CheckpointToken {
                execution: execution.id,
                invocation: execution.invocation.as_ref().unwrap().id,
                number: execution.checkpoints,
            });
        }
        turn
    }

    fn checkpoint(&mut self, updates: Vec<Update>) -> Result<CheckpointAnswer, Refusal> {
        self.checkpoint_with(updates, None, HashMap::new())
    }

    fn checkpoint_with(
        &mut self,
        updates: Vec<Update>,
        client_token: Option<&str>,
        targets: HashMap<String, Result<Target, ErrorObject>>,
    ) -> Result<CheckpointAnswer, Refusal> {
        let token = self.token.unwrap();
        let client_token = client_token.map(str::to_owned);
        let request = Checkpoint { token, client_token, updates, targets };
        let mut changed = self.progress.clone();
        let random = &mut self.random;
        let answer = changed.checkpoint(request, self.now, || {
            *random += 1;
            Uuid::from_u128(*random)
        })?;
        // As the store does: what is refused leaves no trace.
        self.progress = changed;
        self.token = answer.token.or(self.token);
        Ok(answer)
    }

    fn refused(&mut self, update: Update) -> String {
        self.checkpoint(vec![update]).unwrap_err().to_string()
    }

    fn ran(&mut self, ran: Ran) -> Finished {
        let invocation = self.progress.execution.invocation.as_ref().unwrap().id;
        self.progress.finish(invocation, ran, self.now)
    }

    fn answered(&mut self, answer: &str) -> Finished {
        self.ran(Ran::Answered(answer.to_owned()))
    }

    fn operation(&self, id: &str) -> &Operation {
        &self.progress.operations[id]
    }

    fn status(&self) -> ExecutionStatus {
        self.progress.execution.status
    }

    fn kinds(&self) -> Vec<&str> {
        self.progress.events.iter().map(|event| event.kind.as_str()).collect()
    }

    fn error(&self) -> String {
        let closing = self.progress.closing.clone().unwrap();
        closing.error.unwrap().error_message.unwrap_or_default()
    }

    fn due(&self) -> Option<Timestamp> {
        let operations = self.progress.operations.values().filter_map(Operation::due).min();
        self.progress.execution.due(operations)
    }
}

fn update(kind: OperationKind, action: Action, id: &str) -> Update {
    Update {
        id: id.to_owned(),
        parent_id: None,
        name: None,
        sub_type: None,
        kind,
        action,
        payload: None,
        error: None,
        replay_children: None,
        next_attempt_delay_seconds: None,
        wait_seconds: None,
        callback_timeout_seconds: 0,
        heartbeat_seconds: 0,
        function_name: None,
    }
}

fn step(action: Action) -> Update {
    let mut step = update(OperationKind::Step, action, "s");
    match action {
        Action::Succeed => step.payload = Some("1".to_owned()),
        Action::Fail => step.error = Some(ErrorObject::new("no", None)),
        Action::Retry => {
            step.error = Some(ErrorObject::new("again", None));
            step.next_attempt_delay_seconds = Some(5);
        }
        _ => {}
    }
    step
}

fn wait(seconds: u32) -> Update {
    Update { wait_seconds: Some(seconds), ..update(OperationKind::Wait, Action::Start, "w") }
}

fn callback(timeout: u32, heartbeat: u32) -> Update {
    Update {
        callback_timeout_seconds: timeout,
        heartbeat_seconds: heartbeat,
        ..update(OperationKind::Callback, Action::Start, "c")
    }
}

const PENDING: &str = r#"{"Status": "PENDING"}"#;

#[test]
fn a_new_execution_is_invoked_at_once() {
    let mut world = World::new();
    assert_eq!(world.due(), Some(Timestamp(0)));
    assert_eq!(world.turn(), Turn::Invoke);
    assert_eq!(world.turn(), Turn::Nothing, "one invocation at a time");
    assert_eq!(world.answered(r#"{"Status": "SUCCEEDED", "Result": "7"}"#), Finished::Closed);
    assert_eq!(world.progress.closing, Some(Closing { result: Some("7".to_owned()), error: None }));
    assert_eq!(world.kinds(), ["ExecutionStarted", "InvocationCompleted", "ExecutionSucceeded"]);
    assert_eq!(world.due(), world.progress.execution.forgotten_at());
    assert_eq!(world.later(24 * 3_600 - 1).turn(), Turn::Nothing);
    assert_eq!(world.later(1).turn(), Turn::Remove);
}

#[test]
fn a_wait_suspends_and_wakes_the_execution() {
    let mut world = World::running();
    let answer = world.checkpoint(vec![wait(30)]).unwrap();
    assert_eq!((answer.since, answer.closed), (Some(1), false));
    assert_eq!(world.answered(PENDING), Finished::GoesOn);
    assert_eq!(world.due(), Some(Timestamp(START + 30_000)));
    assert_eq!(world.later(29).turn(), Turn::Nothing);
    assert_eq!(world.later(1).turn(), Turn::Invoke);
    assert_eq!(world.operation("w").status, OperationStatus::Succeeded);
    assert_eq!(world.progress.execution.invocation.as_ref().unwrap().seen_before, 2);
}

#[test]
fn a_wait_that_ends_while_the_function_runs_is_told_with_its_next_checkpoint() {
    let mut world = World::running();
    world.checkpoint(vec![wait(1)]).unwrap();
    let answer = world.later(1).checkpoint(vec![]).unwrap();
    assert_eq!(answer.since, Some(2));
    assert_eq!(world.operation("w").touched, 3);
    // It has seen everything: there is nothing to wait for, and nothing to invoke it for.
    world.checkpoint(vec![Update { id: "w2".to_owned(), ..wait(9) }]).unwrap();
    world.answered(PENDING);
    assert_eq!(world.turn(), Turn::Nothing);
}

#[test]
fn steps_go_their_way() {
    let mut world = World::running();
    world.checkpoint(vec![step(Action::Start)]).unwrap();
    world.checkpoint(vec![step(Action::Retry)]).unwrap();
    let expected = Detail::Step { attempt: 1, next_attempt_at: Some(Timestamp(START + 5_000)) };
    assert_eq!(
        (world.operation("s").status, &world.operation("s").detail),
        (OperationStatus::Pending, &expected)
    );
    assert_eq!(world.refused(step(Action::Start)), "Invalid current STEP state to start.");
    assert_eq!(world.refused(step(Action::Succeed)), "Invalid current STEP state to close.");
    world.answered(PENDING);
    assert_eq!(world.later(5).turn(), Turn::Invoke);
    assert_eq!(world.operation("s").status, OperationStatus::Ready);
    // Started and ended at once.
    world.checkpoint(vec![step(Action::Start), step(Action::Succeed)]).unwrap();
    let ended = world.operation("s");
    assert_eq!((ended.status, ended.result.as_deref()), (OperationStatus::Succeeded, Some("1")));
    assert_eq!(ended.detail, Detail::Step { attempt: 2, next_attempt_at: None });
    assert_eq!(world.refused(step(Action::Retry)), "Invalid current STEP state to re-attempt.");
    let attempts: Vec<_> = world
        .progress
        .events
        .iter()
        .filter_map(|event| event.details["RetryDetails"]["CurrentAttempt"].as_u64())
        .collect();
    assert_eq!(attempts, [1, 2]);
}

#[test]
fn batches_that_are_refused_change_nothing() {
    let table: Vec<(Vec<Update>, &str)> = vec![
        (vec![step(Action::Cancel)], "Invalid action for the given operation type."),
        (
            vec![Update { next_attempt_delay_seconds: None, ..step(Action::Retry) }],
            "Invalid StepOptions for the given action.",
        ),
        (
            vec![Update { payload: Some("1".to_owned()), ..step(Action::Retry) }],
            "Cannot provide both error and payload to RETRY a STEP.",
        ),
        (
            vec![Update { payload: Some("1".to_owned()), ..step(Action::Fail) }],
            "Cannot provide a Payload for FAIL action.",
        ),
        (
            vec![Update { error: Some(ErrorObject::default()), ..step(Action::Succeed) }],
            "Cannot provide an Error for SUCCEED action.",
        ),
        (
            vec![Update { payload: Some("x".repeat(OPERATION_PAYLOAD_BYTES + 1)), ..step(Action::Succeed) }],
            "STEP payload size must be less than or equal to 1048576 bytes.",
        ),
        (
            vec![Update {
                error: Some(ErrorObject::new("x".repeat(ERROR_BYTES + 1), None)),
                ..step(Action::Fail)
            }],
            "Error object size must be less than or equal to 1048576 bytes.",
        ),
        (
            vec![Update { parent_id: Some("nobody".to_owned()), ..step(Action::Start) }],
            "Invalid parent operation id.",
        ),
        (
            vec![step(Action::Start), step(Action::Succeed), step(Action::Succeed)],
            "Cannot checkpoint multiple operations with the same ID.",
        ),
        (vec![wait(1), wait(1)], "Cannot checkpoint multiple operations with the same ID."),
        (vec![Update { wait_seconds: None, ..wait(1) }], "Invalid WaitOptions for the given action."),
        (
            vec![update(OperationKind::Wait, Action::Cancel, "w")],
            "Cannot cancel a WAIT that does not exist or has already completed.",
        ),
        (
            vec![update(OperationKind::Callback, Action::Succeed, "c")],
            "Invalid action for the given operation type.",
        ),
        (
            vec![update(OperationKind::ChainedInvoke, Action::Start, "i")],
            "Update for CHAINED_INVOKE operation requires ChainedInvokeOptions.",
        ),
        (
            vec![update(OperationKind::Execution, Action::Succeed, "e"), step(Action::Start)],
            "EXECUTION checkpoint must be the last update.",
        ),
        (
            vec![
                update(OperationKind::Execution, Action::Succeed, "e"),
                update(OperationKind::Execution, Action::Fail, "e"),
            ],
            "Cannot checkpoint multiple EXECUTION updates.",
        ),
        (
            vec![update(OperationKind::Execution, Action::Start, "e")],
            "Invalid action for the given operation type.",
        ),
    ];
    for (updates, text) in table {
        let mut world = World::running();
        let before = world.progress.clone();
        assert_eq!(world.checkpoint(updates).unwrap_err().to_string(), text);
        assert_eq!(world.progress, before, "{text}");
    }
}

#[test]
fn operations_stay_what_they_are() {
    let mut world = World::running();
    let named =
        Update { name: Some("a".to_owned()), sub_type: Some("Step".to_owned()), ..step(Action::Start) };
    world.checkpoint(vec![named.clone()]).unwrap();
    let ended = Update { action: Action::Succeed, ..named };
    for (update, text) in [
        (Update { name: Some("b".to_owned()), ..ended.clone() }, "Inconsistent operation name."),
        (Update { sub_type: Some("Wait".to_owned()), ..ended.clone() }, "Inconsistent operation subtype."),
        (Update { kind: OperationKind::Context, ..ended.clone() }, "Inconsistent operation type."),
    ] {
        assert_eq!(world.refused(update), text);
    }
    assert!(world.checkpoint(vec![Update { name: None, sub_type: None, ..ended }]).is_ok());
}

#[test]
fn contexts_hold_their_children() {
    let mut world = World::running();
    let context = |action| update(OperationKind::Context, action, "x");
    let child = Update { parent_id: Some("x".to_owned()), ..step(Action::Start) };
    world.checkpoint(vec![context(Action::Start), child]).unwrap();
    assert!(!world.operation("x").hides_children());
    assert_eq!(world.refused(context(Action::Start)), "Cannot start a CONTEXT that already exist.");
    world.checkpoint(vec![context(Action::Succeed)]).unwrap();
    assert!(world.operation("x").hides_children());
    assert_eq!(world.refused(context(Action::Fail)), "Invalid current CONTEXT state to close.");
    let large = Update { id: "y".to_owned(), replay_children: Some(true), ..context(Action::Succeed) };
    world.checkpoint(vec![large]).unwrap();
    assert!(!world.operation("y").hides_children());
}

#[test]
fn a_token_counts_once_and_its_repetition_is_answered_again() {
    let mut world = World::running();
    let first = world.token;
    let answer = world.checkpoint_with(vec![step(Action::Start)], Some("a"), HashMap::new()).unwrap();
    world.token = first;
    let again = world.checkpoint_with(vec![step(Action::Start)], Some("a"), HashMap::new()).unwrap();
    assert_eq!(answer, again);
    assert_eq!(world.kinds().iter().filter(|kind| **kind == "StepStarted").count(), 1);
    world.token = first;
    assert_eq!(world.refused(step(Action::Succeed)), INVALID_TOKEN);
    // An invocation that was superseded may say nothing any more.
    world.token = again.token;
    world.later(20);
    assert_eq!(world.turn(), Turn::Invoke);
    world.token = again.token;
    assert_eq!(world.refused(step(Action::Succeed)), INVALID_TOKEN);
}

#[test]
fn callbacks_are_completed_once() {
    for result in
        [CallbackResult::Succeeded(Some("1".to_owned())), CallbackResult::Failed(ErrorObject::default())]
    {
        let mut world = World::running();
        world.checkpoint(vec![callback(0, 0)]).unwrap();
        let Detail::Callback { nonce, .. } = world.operation("c").detail else { panic!() };
        world.answered(PENDING);
        assert_eq!(world.turn(), Turn::Nothing);
        assert_eq!(
            world.progress.callback(Uuid::from_u128(7), result.clone(), world.now),
            Err(Refusal::CallbackClosed)
        );
        world.progress.callback(nonce, result.clone(), world.now).unwrap();
        assert_eq!(world.progress.callback(nonce, result, world.now), Err(Refusal::CallbackClosed));
        assert_eq!(world.turn(), Turn::Invoke);
    }
}

#[test]
fn callbacks_time_out_and_heartbeats_put_that_off() {
    let mut world = World::running();
    world.checkpoint(vec![callback(60, 10)]).unwrap();
    let Detail::Callback { nonce, .. } = world.operation("c").detail else { panic!() };
    world.answered(PENDING);
    for _ in 0..6 {
        assert_eq!(world.later(9).turn(), Turn::Nothing);
        world.progress.callback(nonce, CallbackResult::Heartbeat, world.now).unwrap();
    }
    // Past its time, whatever the worker has done so far.
    world.later(6);
    assert_eq!(
        world.progress.callback(nonce, CallbackResult::Heartbeat, world.now),
        Err(Refusal::CallbackClosed)
    );
    assert_eq!(world.turn(), Turn::Invoke);
    let error_type = |world: &World| world.operation("c").error.clone().unwrap().error_type.unwrap();
    assert_eq!(error_type(&world), "Callback.Timeout");

    let mut silent = World::running();
    silent.checkpoint(vec![callback(60, 10)]).unwrap();
    silent.answered(PENDING);
    assert_eq!(silent.later(10).turn(), Turn::Invoke);
    assert_eq!(error_type(&silent), "Callback.Heartbeat");
}

fn chained(durable: bool) -> (Update, HashMap<String, Result<Target, ErrorObject>>) {
    let update = Update {
        function_name: Some("other:1".to_owned()),
        payload: Some("[1]".to_owned()),
        ..update(OperationKind::ChainedInvoke, Action::Start, "i")
    };
    let config = DurableConfig { execution_timeout_seconds: 9, retention_days: 1, kms_key_arn: None };
    let target = Target {
        function: FunctionName::parse("other").unwrap(),
        version: VersionNumber::Published(1),
        durable: durable.then_some(config),
    };
    (update, HashMap::from([("i".to_owned(), Ok(target))]))
}

#[test]
fn a_chained_invoke_ends_as_its_execution_does() {
    let closing =
        Closing { result: Some("7".to_owned()), error: Some(ErrorObject::new("theirs", Some("Theirs"))) };
    for (status, expected, error) in [
        (ExecutionStatus::Succeeded, OperationStatus::Succeeded, None),
        (ExecutionStatus::Failed, OperationStatus::Failed, Some("theirs")),
        (ExecutionStatus::Stopped, OperationStatus::Stopped, Some("theirs")),
        (
            ExecutionStatus::TimedOut,
            OperationStatus::TimedOut,
            Some("CHAINED_INVOKE timed out after 9 seconds."),
        ),
    ] {
        let mut world = World::running();
        let (update, targets) = chained(true);
        world.checkpoint_with(vec![update], None, targets).unwrap();
        let mut child = world.progress.children[0].execution.clone();
        assert_eq!(world.progress.children[0].input, "[1]");
        world.answered(PENDING);
        child.status = status;
        for _ in 0..2 {
            world.progress.chained_ended("i", &child, closing.clone(), world.now);
        }
        let ended = world.operation("i");
        assert_eq!(ended.status, expected);
        assert_eq!(ended.error.as_ref().and_then(|error| error.error_message.as_deref()), error);
        assert_eq!(world.kinds().iter().filter(|kind| kind.starts_with("ChainedInvoke")).count(), 2);
        assert_eq!(world.turn(), Turn::Invoke);
    }
}

#[test]
fn a_chained_invoke_without_a_target_fails_at_once() {
    let mut world = World::running();
    let (update, _) = chained(true);
    let targets = HashMap::from([("i".to_owned(), Err(ErrorObject::new("gone", None)))]);
    world.checkpoint_with(vec![update], None, targets).unwrap();
    assert_eq!(world.operation("i").status, OperationStatus::Failed);
    assert!(world.progress.children.is_empty());
    assert_eq!(world.kinds()[1..], ["ChainedInvokeStarted", "ChainedInvokeFailed"]);
}

#[test]
fn a_function_that_is_not_durable_has_one_invocation() {
    let mut parent = World::running();
    let (update, targets) = chained(false);
    parent.checkpoint_with(vec![update], None, targets).unwrap();
    let mut world = World::new();
    world.progress = Progress::open(&parent.progress.children[0]);
    assert!(world.progress.execution.plain);
    assert_eq!(world.turn(), Turn::Invoke);
    assert_eq!(world.ran(Ran::Failed(ErrorObject::new("no", None))), Finished::Closed);
    assert_eq!((world.status(), world.turn()), (ExecutionStatus::Failed, Turn::Report));
    world.progress.execution.owes_report = false;
    assert_eq!(world.turn(), Turn::Remove);
}

#[test]
fn a_failing_invocation_is_made_again_and_again_for_a_while() {
    let mut world = World::running();
    let failure = || Ran::Failed(ErrorObject::new("exit status 3", Some("Runtime.ExitError")));
    for seconds in [1, 2, 4, 8, 16] {
        assert_eq!(world.ran(failure()), Finished::GoesOn);
        world.later(seconds - 1);
        assert_eq!(world.turn(), Turn::Nothing, "{seconds}");
        assert_eq!(world.later(1).turn(), Turn::Invoke);
    }
    assert_eq!(world.ran(failure()), Finished::Closed);
    assert_eq!((world.status(), world.error()), (ExecutionStatus::Failed, "exit status 3".to_owned()));

    // An answer in between forgives.
    let mut world = World::running();
    for _ in 0..20 {
        assert_eq!(world.ran(failure()), Finished::GoesOn);
        assert_eq!(world.later(1).turn(), Turn::Invoke);
        world.random += 1;
        let id = format!("w{}", world.random);
        world.checkpoint(vec![Update { id, ..wait(1) }]).unwrap();
        world.answered(PENDING);
        assert_eq!(world.later(1).turn(), Turn::Invoke);
    }
}

#[test]
fn want_of_room_is_no_failure() {
    let mut world = World::running();
    for _ in 0..15 {
        assert_eq!(world.ran(Ran::NotRun), Finished::GoesOn);
        assert_eq!(world.later(30).turn(), Turn::Invoke);
    }
    assert_eq!(world.progress.execution.failures, 0);
    assert_eq!(world.kinds(), ["ExecutionStarted"]);
    let gone = Ran::Gone(ErrorObject::new("Function not found", None));
    assert_eq!((world.ran(gone), world.status()), (Finished::Closed, ExecutionStatus::Failed));
}

#[test]
fn answers_that_are_none_fail_the_execution() {
    for (answer, text) in [
        ("7", "Invalid Status in invocation output."),
        (r#"{"Status": "DONE"}"#, "Invalid Status in invocation output."),
        (r#"{"Status": "FAILED", "Result": "1"}"#, "Cannot provide a Result for FAILED status."),
        (r#"{"Status": "SUCCEEDED", "Error": {}}"#, "Cannot provide an Error for SUCCEEDED status."),
    ] {
        let mut world = World::running();
        assert_eq!(world.answered(answer), Finished::Closed);
        assert_eq!((world.status(), world.error()), (ExecutionStatus::Failed, text.to_owned()));
    }
    let mut world = World::running();
    for _ in 0..2 {
        assert_eq!(world.answered(PENDING), Finished::GoesOn);
        assert_eq!(world.later(1).turn(), Turn::Invoke);
    }
    assert_eq!(world.answered(PENDING), Finished::Closed);
    assert_eq!(world.error(), "Cannot return PENDING status with no pending operations.");
}

#[test]
fn results_have_their_bounds() {
    let answer = |bytes: usize| format!(r#"{{"Status": "SUCCEEDED", "Result": "{}"}}"#, "x".repeat(bytes));
    for (synchronous, most) in [(false, OPERATION_PAYLOAD_BYTES), (true, SYNCHRONOUS_RESULT_BYTES)] {
        for (bytes, status) in [(most, ExecutionStatus::Succeeded), (most + 1, ExecutionStatus::Failed)] {
            let mut world = World::running();
            world.progress.execution.synchronous = synchronous;
            world.answered(&answer(bytes));
            assert_eq!(world.status(), status);
        }
    }
}

#[test]
fn a_result_may_come_by_checkpoint() {
    let mut world = World::running();
    let close =
        Update { payload: Some("7".to_owned()), ..update(OperationKind::Execution, Action::Succeed, "e") };
    let answer = world.checkpoint(vec![step(Action::Start), close]).unwrap();
    assert_eq!((answer.token, answer.closed), (None, true));
    assert_eq!(world.status(), ExecutionStatus::Succeeded);
    // What the handler returns afterwards says nothing new.
    assert_eq!(world.answered(r#"{"Status": "SUCCEEDED", "Result": ""}"#), Finished::Superseded);
    assert_eq!(world.progress.closing.as_ref().unwrap().result.as_deref(), Some("7"));
}

#[test]
fn executions_time_out_and_stop() {
    let mut world = World::running();
    world.checkpoint(vec![wait(10_000)]).unwrap();
    world.answered(PENDING);
    assert_eq!(world.due(), Some(Timestamp(START + 600_000)));
    assert_eq!(world.later(600).turn(), Turn::Closed);
    assert_eq!(
        (world.status(), world.error().as_str()),
        (ExecutionStatus::TimedOut, "Execution timed out after 600 seconds.")
    );

    let mut world = World::running();
    let stopped_at = world.progress.stop(None, world.now);
    assert_eq!((stopped_at, world.status()), (world.now, ExecutionStatus::Stopped));
    assert_eq!(world.refused(step(Action::Start)), INVALID_TOKEN);
    assert_eq!(world.answered(r#"{"Status": "SUCCEEDED"}"#), Finished::Superseded);
    world.later(9);
    assert_eq!(world.progress.stop(None, world.now), stopped_at);
    assert_eq!(world.status(), ExecutionStatus::Stopped);
}

#[test]
fn a_crash_of_the_node_costs_nothing() {
    let mut world = World::running();
    world.checkpoint(vec![step(Action::Start)]).unwrap();
    assert_eq!(world.later(19).turn(), Turn::Nothing);
    assert_eq!(world.later(1).turn(), Turn::Invoke);
    assert_eq!(world.progress.execution.failures, 0);
    // The invocation that was lost answers after all.
    let late = world.progress.finish(Uuid::from_u128(101), Ran::Answered("{}".to_owned()), world.now);
    assert_eq!((late, world.status()), (Finished::Superseded, ExecutionStatus::Running));
}

#[test]
fn a_pause_waits_for_the_next_checkpoint() {
    let mut world = World::running();
    world.progress.pause(None, Some("why".to_owned()), true, world.now).unwrap();
    assert_eq!(world.status(), ExecutionStatus::Pausing);
    let answer = world.checkpoint(vec![step(Action::Start), step(Action::Succeed)]).unwrap();
    assert_eq!((answer.token, answer.since), (None, None));
    assert_eq!(world.status(), ExecutionStatus::Paused);
    assert_eq!(world.refused(wait(1)), INVALID_TOKEN);
    world.answered(PENDING);
    assert_eq!(world.turn(), Turn::Nothing);
    // The timeout was paused, too.
    assert_eq!(world.later(10_000).turn(), Turn::Nothing);
    world.progress.resume(None, None, world.now).unwrap();
    assert_eq!(world.progress.execution.deadline, Timestamp(START + 10_600_000));
    assert_eq!(world.turn(), Turn::Invoke);
    assert_eq!(
        world.kinds(),
        [
            "ExecutionStarted",
            "StepStarted",
            "StepSucceeded",
            "ExecutionPaused",
            "InvocationCompleted",
            "ExecutionResumed"
        ]
    );
}

#[test]
fn a_pause_without_an_invocation_is_there_at_once() {
    let mut world = World::running();
    world.checkpoint(vec![wait(5)]).unwrap();
    world.answered(PENDING);
    let token = || Some("t".to_owned());
    world.progress.pause(token(), None, false, world.now).unwrap();
    assert_eq!(world.status(), ExecutionStatus::Paused);
    world.progress.pause(token(), None, false, world.now).unwrap();
    assert!(matches!(world.progress.pause(None, None, false, world.now), Err(Refusal::Conflict(_))));
    assert_eq!(world.later(5).turn(), Turn::Nothing);
    assert_eq!(world.operation("w").status, OperationStatus::Succeeded);
    world.progress.resume(None, None, world.now).unwrap();
    assert!(matches!(world.progress.resume(None, None, world.now), Err(Refusal::Conflict(_))));
    assert_eq!(world.turn(), Turn::Invoke);
    // Paused again, with the timeout running on.
    world.progress.pause(None, None, false, world.now).unwrap();
    assert_eq!(world.later(600).turn(), Turn::Closed);
    assert_eq!(world.status(), ExecutionStatus::TimedOut);
}

#[test]
fn only_what_has_ended_is_deleted() {
    let mut world = World::running();
    assert!(matches!(world.progress.delete(), Err(Refusal::Conflict(_))));
    world.progress.stop(None, world.now);
    world.progress.delete().unwrap();
    assert_eq!((world.due(), world.turn()), (Some(Timestamp(0)), Turn::Remove));
}

#[test]
fn an_execution_has_its_bounds() {
    let mut world = World::running();
    for number in 0..OPERATIONS_PER_EXECUTION {
        let id = format!("w{number}");
        world.checkpoint(vec![Update { id, ..wait(1) }]).unwrap();
    }
    assert_eq!(world.refused(wait(1)), "An execution may have at most 3000 operations.");

    let mut world = World::running();
    world.progress.execution.state_bytes = STATE_BYTES;
    assert!(world.refused(step(Action::Succeed)).starts_with("The state of an execution may have at most"));
}

#[test]
fn tokens_come_back() {
    let token = CheckpointToken { execution: Uuid::from_u128(1), invocation: Uuid::from_u128(2), number: 3 };
    assert_eq!(CheckpointToken::parse(&token.text()), Some(token));
    let callback = CallbackToken { execution: Uuid::from_u128(1), nonce: Uuid::from_u128(9) };
    assert_eq!(CallbackToken::parse(&callback.text()), Some(callback));
    for wrong in ["", "QUJD", "not base64", &callback.text()[4..]] {
        assert_eq!((CheckpointToken::parse(wrong), CallbackToken::parse(wrong)), (None, None), "{wrong}");
    }
}

#[test]
fn error_documents_become_errors() {
    let document = br#"{"errorMessage": "no", "errorType": "ValueError", "stackTrace": ["a", "b"]}"#;
    let error = ErrorObject::from_document(document, Some("Unhandled"));
    assert_eq!(
        (error.error_type.as_deref(), error.error_message.as_deref()),
        (Some("ValueError"), Some("no"))
    );
    assert_eq!(error.stack_trace, Some(vec!["a".to_owned(), "b".to_owned()]));
    let text = ErrorObject::from_document(b"oops", Some("Sandbox.Timedout"));
    assert_eq!(text, ErrorObject::new("oops", Some("Sandbox.Timedout")));
}
