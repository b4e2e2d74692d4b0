//! Where events are and what happened to them: stories, lists, and dead letters that are sent again.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

mod common;

use common::*;
use lamplight_model::*;
use lamplight_store::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(20);

struct Events {
    _directory: tempfile::TempDir,
    clock: Arc<AtomicI64>,
    opened: Opened,
}

impl Events {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(1_000));
        let opened = open_at(directory.path(), &clock);
        Self { _directory: directory, clock, opened }
    }

    fn at(&self, now: i64) -> &Arc<dyn Store> {
        self.clock.store(now, Ordering::SeqCst);
        &self.opened.store
    }

    /// Claims the next due event at `now` and settles it.
    async fn settle(&self, now: i64, release: Release, note: Option<AttemptNote>) -> RequestId {
        let store = self.at(now);
        let claimed = store.claim("node/start", Timestamp(now), LEASE, 1).await.unwrap().remove(0);
        let id = claimed.event.request_id;
        let settlement = Settlement { attempt: note, ..release.into() };
        assert!(store.settle(id, claimed.claim, settlement).await.unwrap());
        id
    }

    async fn state(&self, id: RequestId) -> Option<EventState> {
        self.opened.store.event_story(&scope(), id).await.unwrap().record.map(|record| record.state)
    }

    async fn counts(&self, function: &str) -> (u64, u64, u64, u64) {
        let counts = self.opened.store.event_counts(&scope(), &name(function)).await.unwrap();
        assert_eq!(counts.accepted, counts.done + counts.dead_lettered + counts.pending);
        (counts.accepted, counts.done, counts.dead_lettered, counts.pending)
    }

    async fn list(&self, query: EventQuery) -> Vec<RequestId> {
        let found = self.opened.store.events(&scope(), query, None, 100).await.unwrap();
        found.iter().map(|record| record.request_id).collect()
    }
}

fn note(began_at: i64, error: &str) -> Option<AttemptNote> {
    Some(AttemptNote { began_at: Timestamp(began_at), error: error.to_owned(), told: Vec::new() })
}

fn again(at: i64, counted: bool) -> Release {
    Release::Retry { not_before: Timestamp(at), counted }
}

fn dead() -> Release {
    Release::DeadLetter { condition: "RetriesExhausted".to_owned(), error: "{\"last\":1}".to_owned() }
}

#[tokio::test]
async fn a_story_tells_every_attempt_until_the_event_is_given_up_and_sent_again() {
    let events = Events::new();
    let queued = event("hello", 1_000);
    let id = queued.request_id;
    assert_eq!(events.state(id).await, None);
    events.at(1_000).enqueue(queued.clone()).await.unwrap();
    assert_eq!(events.state(id).await, Some(EventState::Waiting { until: Timestamp(1_000) }));

    let claimed = events.at(1_100).claim("node/start", Timestamp(1_100), LEASE, 1).await.unwrap().remove(0);
    let running = EventState::Running {
        owner: "node/start".to_owned(),
        since: Some(Timestamp(1_100)),
        lease_until: Timestamp(21_100),
    };
    assert_eq!(events.state(id).await, Some(running));
    let settlement = Settlement { attempt: note(1_100, "throttled"), ..again(2_000, false).into() };
    assert!(events.at(1_101).settle(id, claimed.claim, settlement).await.unwrap());
    assert_eq!(events.state(id).await, Some(EventState::Waiting { until: Timestamp(2_000) }));
    // Equal refusals are one step.
    events.settle(2_001, again(4_000, false), note(2_000, "throttled")).await;
    events.settle(4_001, again(60_000, true), note(4_000, "first error")).await;
    let told = Told { arn: "arn:q".to_owned(), role: "DeadLetterQueue".to_owned(), failure: None };
    let last = AttemptNote { told: vec![told.clone()], ..note(60_000, "").unwrap() };
    events.settle(60_005, dead(), Some(last)).await;

    let story = events.opened.store.event_story(&scope(), id).await.unwrap();
    let told_steps: Vec<_> = story
        .steps
        .iter()
        .map(|step| (step.kind, step.began_at.map(|at| at.0), step.at.0, step.times, step.error.as_str()))
        .collect();
    assert_eq!(
        told_steps,
        [
            (StepKind::NotRun, Some(1_100), 2_001, 2, "throttled"),
            (StepKind::Failed, Some(4_000), 4_001, 1, "first error"),
            (StepKind::DeadLettered, Some(60_000), 60_005, 1, "{\"last\":1}"),
        ]
    );
    assert_eq!(story.steps[2].told, [told]);
    assert_eq!(story.payload, Some(queued.payload.clone()));
    let record = story.record.unwrap();
    let (condition, error) = ("RetriesExhausted".to_owned(), "{\"last\":1}".to_owned());
    assert_eq!(record.state, EventState::DeadLettered { condition, error, at: Timestamp(60_005) });
    assert_eq!(record.last_step.as_ref(), story.steps.last());
    assert_eq!(events.counts("hello").await, (1, 0, 1, 0));
    // Another region knows nothing of it.
    assert_eq!(events.opened.store.event_story(&other_scope(), id).await.unwrap(), EventStory::default());

    let sent = events.at(100_000).redrive(&scope(), vec![id]).await.unwrap();
    assert_eq!(sent, [Redrive::Sent(name("hello"))]);
    assert_eq!(events.counts("hello").await, (1, 0, 0, 1));
    let taken = events.at(100_000).claim("other", Timestamp(100_000), LEASE, 9).await.unwrap().remove(0);
    let expected = QueuedEvent {
        accepted_at: Timestamp(100_000),
        not_before: Timestamp(100_000),
        attempts: 0,
        ..queued.clone()
    };
    assert_eq!(taken.event, expected);
    assert!(taken.claim > claimed.claim, "an attempt of its first life cannot settle it");
    assert!(events.opened.store.release(id, taken.claim, Release::Done).await.unwrap());
    assert_eq!(events.state(id).await, Some(EventState::Done { at: Timestamp(100_000) }));
    assert_eq!(events.counts("hello").await, (1, 1, 0, 0));
    let story = events.opened.store.event_story(&scope(), id).await.unwrap();
    assert_eq!((story.payload, story.steps.len()), (None, 4));
    assert_eq!(story.steps[3].kind, StepKind::Redriven);
}

#[tokio::test]
async fn only_dead_letters_are_sent_again_each_for_itself() {
    let events = Events::new();
    let (first, waiting) = (event("hello", 0), event("hello", 5_000));
    events.at(0).enqueue(first.clone()).await.unwrap();
    events.at(0).enqueue(waiting.clone()).await.unwrap();
    events.settle(1, dead(), None).await;
    let (unknown, dead, waiting) = (request_id(), first.request_id, waiting.request_id);
    let ids = vec![unknown, waiting, dead, dead];
    assert_eq!(
        events.at(2).redrive(&other_scope(), ids.clone()).await.unwrap(),
        [Redrive::Unknown, Redrive::Unknown, Redrive::Unknown, Redrive::Unknown]
    );
    assert_eq!(
        events.at(2).redrive(&scope(), ids).await.unwrap(),
        [Redrive::Unknown, Redrive::Pending, Redrive::Sent(name("hello")), Redrive::Pending]
    );
    assert_eq!(events.counts("hello").await, (2, 0, 0, 2));
    assert_eq!(events.opened.store.next_due().await.unwrap(), Some(Timestamp(2)));
}

#[tokio::test]
async fn a_letter_whose_id_a_waiting_event_has_stays_and_keeps_no_other_from_going() {
    let events = Events::new();
    let (taken, other) = (event("hello", 0), event("hello", 1));
    for event in [&taken, &other] {
        events.at(0).enqueue(event.clone()).await.unwrap();
    }
    assert_eq!(events.settle(2, dead(), None).await, taken.request_id);
    assert_eq!(events.settle(2, dead(), None).await, other.request_id);
    let elsewhere = QueuedEvent { scope: other_scope(), ..taken.clone() };
    events.at(3).enqueue(elsewhere).await.unwrap();
    let sent = events.at(4).redrive(&scope(), vec![taken.request_id, other.request_id]).await.unwrap();
    assert_eq!(sent, [Redrive::Pending, Redrive::Sent(name("hello"))]);
    assert_eq!(events.counts("hello").await, (2, 0, 1, 1));
    assert!(matches!(events.state(taken.request_id).await, Some(EventState::DeadLettered { .. })));
}

#[tokio::test]
async fn steps_are_forgotten_until_none_is_left_also_when_no_letter_goes() {
    let events = Events::new();
    let queued = event("hello", 0);
    events.at(0).enqueue(queued.clone()).await.unwrap();
    for attempt in 1..=3 {
        events.settle(attempt, again(0, true), note(attempt, "no")).await;
    }
    events.settle(4, Release::Done, None).await;
    let forgotten = events.opened.store.forget_dead_letters(Timestamp(3)).await.unwrap();
    assert_eq!(
        forgotten,
        Forgotten { steps: 2, ..Forgotten::default() },
        "what went says that there may be more"
    );
    let story = events.opened.store.event_story(&scope(), queued.request_id).await.unwrap();
    assert_eq!(story.steps.len(), 1);
}

#[tokio::test]
async fn an_event_that_comes_back_from_elsewhere_says_so_from_the_first_moment() {
    let events = Events::new();
    let queued = event("hello", 0);
    let id = queued.request_id;
    events.at(7).enqueue_again(queued.clone()).await.unwrap();
    let refused = events.at(8).enqueue_again(queued.clone()).await;
    assert!(matches!(refused, Err(StoreError::AlreadyExists(_))), "{refused:?}");
    let story = events.opened.store.event_story(&scope(), id).await.unwrap();
    let steps: Vec<_> = story.steps.iter().map(|step| (step.kind, step.at)).collect();
    assert_eq!(steps, [(StepKind::Redriven, Timestamp(7))]);
    assert_eq!(story.payload, Some(queued.payload));
    assert_eq!(events.counts("hello").await, (1, 0, 0, 1));
    assert_eq!(events.settle(9, Release::Done, None).await, id);
    let story = events.opened.store.event_story(&scope(), id).await.unwrap();
    assert_eq!((story.steps.len(), events.counts("hello").await), (1, (1, 1, 0, 0)));
}

#[tokio::test]
async fn a_letter_of_a_deleted_function_goes_to_the_one_made_anew() {
    let events = Events::new();
    events.opened.store.put_version(function("hello"), Expect::Absent).await.unwrap();
    let queued = event("hello", 0);
    events.at(0).enqueue(queued.clone()).await.unwrap();
    assert!(events.opened.store.delete_function(&scope(), &name("hello")).await.unwrap());
    assert!(events.at(10).claim("me", Timestamp(10), LEASE, 1).await.unwrap().is_empty());
    let story = events.opened.store.event_story(&scope(), queued.request_id).await.unwrap();
    assert_eq!(story.steps[0].condition.as_deref(), Some("FunctionDeleted"));
    events.opened.store.put_version(function("hello"), Expect::Absent).await.unwrap();
    let sent = events.at(20).redrive(&scope(), vec![queued.request_id]).await.unwrap();
    assert_eq!(sent, [Redrive::Sent(name("hello"))]);
    assert_eq!(events.counts("hello").await, (1, 0, 0, 1));
    let claimed = events.at(20).claim("me", Timestamp(20), LEASE, 1).await.unwrap();
    assert_eq!(claimed[0].event.request_id, queued.request_id);
    let all = events.opened.store.all_event_counts(&scope()).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].0.as_str(), all[0].1.accepted, all[0].1.pending), ("hello", 1, 1));
}

#[tokio::test]
async fn lists_are_filtered_and_come_in_pages_newest_first() {
    let events = Events::new();
    let queued: Vec<QueuedEvent> = (0..6).map(|at| event(["a", "b"][at % 2], at as i64)).collect();
    for event in &queued {
        events.opened.store.enqueue(event.clone()).await.unwrap();
    }
    let ids: Vec<RequestId> = queued.iter().map(|event| event.request_id).collect();
    let gone = events.settle(3, dead(), None).await;
    let running = events.at(3).claim("me", Timestamp(3), LEASE, 1).await.unwrap()[0].event.request_id;
    let newest_first: Vec<RequestId> = ids.iter().rev().copied().collect();
    let all = EventQuery::default();
    assert_eq!(events.list(all.clone()).await, newest_first);
    let of = |state| EventQuery { state: Some(state), ..EventQuery::default() };
    assert_eq!(events.list(of(WantedState::DeadLettered)).await, [gone]);
    assert_eq!(events.list(of(WantedState::Running)).await, [running]);
    assert_eq!(events.list(of(WantedState::Waiting)).await.len(), 4);
    let function = EventQuery { function: Some(name("b")), ..all.clone() };
    assert_eq!(events.list(function).await, [ids[5], ids[3], ids[1]]);
    let times = EventQuery { from: Some(Timestamp(2)), until: Some(Timestamp(5)), ..all.clone() };
    assert_eq!(events.list(times).await, [ids[4], ids[3], ids[2]]);
    let condition = |text: &str| EventQuery { condition: Some(text.to_owned()), ..EventQuery::default() };
    assert_eq!(events.list(condition("RetriesExhausted")).await, [gone]);
    assert_eq!(events.list(condition("EventAgeExceeded")).await, []);
    let (mut before, mut paged) = (None, Vec::new());
    loop {
        let page = events.opened.store.events(&scope(), all.clone(), before, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.place);
        paged.extend(page.iter().map(|record| record.request_id));
    }
    assert_eq!(paged, newest_first);
}

#[tokio::test]
async fn old_letters_and_steps_are_forgotten_and_the_counts_go_on() {
    let events = Events::new();
    let (old, young, waiting) = (event("hello", 0), event("hello", 1), event("hello", 2));
    for event in [&old, &young, &waiting] {
        events.opened.store.enqueue(event.clone()).await.unwrap();
    }
    events.settle(10, dead(), note(9, "")).await;
    events.settle(20, dead(), note(19, "")).await;
    events.settle(11, again(1_000, true), note(11, "once")).await;
    let store = &events.opened.store;
    let forgotten = Forgotten { letters: 1, steps: 1, ..Forgotten::default() };
    assert_eq!(store.forget_dead_letters(Timestamp(15)).await.unwrap(), forgotten);
    assert_eq!(store.forget_dead_letters(Timestamp(15)).await.unwrap(), Forgotten::default());
    assert_eq!(
        events.opened.store.event_story(&scope(), old.request_id).await.unwrap(),
        EventStory::default()
    );
    assert!(events.opened.store.event_story(&scope(), young.request_id).await.unwrap().payload.is_some());
    let story = events.opened.store.event_story(&scope(), waiting.request_id).await.unwrap();
    assert_eq!(story.steps.len(), 1, "the story of an event that waits is kept");
    assert_eq!(events.counts("hello").await, (3, 0, 2, 1));
}

#[tokio::test]
async fn events_accepted_at_the_same_time_are_each_answered_for_themselves_and_all_are_there() {
    let events = Events::new();
    let store = Arc::clone(events.at(1_000));
    let taken = event("a", 1_000);
    store.enqueue(taken.clone()).await.unwrap();
    let mut senders = tokio::task::JoinSet::new();
    for number in 0..300_i64 {
        let (store, taken) = (Arc::clone(&store), taken.clone());
        senders.spawn(async move {
            // Every third one has an id that is taken; the others go to two functions.
            let event = match number % 3 {
                0 => taken,
                1 => event("a", 1_000 + number),
                _ => event("b", 900),
            };
            let sending = store.enqueue(event);
            if number % 10 == 9 {
                // This client goes away as soon as it has handed its event over, or before.
                let _ = tokio::time::timeout(Duration::ZERO, sending).await;
                return;
            }
            match (number % 3, sending.await) {
                (0, Err(StoreError::AlreadyExists(_))) | (1 | 2, Ok(())) => {}
                (kind, outcome) => panic!("{kind}: {outcome:?}"),
            }
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent.unwrap();
    }
    // 90 of each function are certain; the ten that were not waited for each may or may not have been handed over.
    let (a, b) = (events.counts("a").await, events.counts("b").await);
    assert!((91..=101).contains(&a.0) && (a.1, a.2, a.3) == (0, 0, a.0), "{a:?}");
    assert!((90..=100).contains(&b.0) && (b.1, b.2, b.3) == (0, 0, b.0), "{b:?}");
    let claimed = store.claim("node/start", Timestamp(2_000), LEASE, 500).await.unwrap();
    assert_eq!(claimed.len() as u64, a.0 + b.0, "what is counted is there");
    assert_eq!(store.next_due().await.unwrap(), Some(Timestamp(2_000).plus(LEASE)));
}

/// Forgets all from before `before`; what went, each in its call.
async fn forget_all(events: &Events, before: i64) -> Vec<Forgotten> {
    let mut all = Vec::new();
    loop {
        let forgotten = events.opened.store.forget_dead_letters(Timestamp(before)).await.unwrap();
        if forgotten == Forgotten::default() {
            return all;
        }
        all.push(forgotten);
    }
}

#[tokio::test]
async fn the_queue_of_a_deleted_function_goes_with_the_last_that_refers_to_it() {
    let events = Events::new();
    let store = &events.opened.store;
    for function in ["failed", "waits", "lives"] {
        store.put_version(common::function(function), Expect::Absent).await.unwrap();
    }
    let (done, failed) = (event("failed", 0), event("failed", 1));
    events.at(1).enqueue(done.clone()).await.unwrap();
    assert_eq!(events.settle(1, Release::Done, None).await, done.request_id);
    events.at(2).enqueue(failed.clone()).await.unwrap();
    let dead = Release::DeadLetter { condition: "RetriesExhausted".to_owned(), error: String::new() };
    events.settle(2, dead, None).await;
    let (lives, waits) = (event("lives", 3), event("waits", 4));
    events.at(3).enqueue(lives).await.unwrap();
    events.settle(3, Release::Done, None).await;
    events.at(4).enqueue(waits.clone()).await.unwrap();
    for function in ["failed", "waits"] {
        assert!(store.delete_function(&scope(), &name(function)).await.unwrap());
    }
    assert_eq!(forget_all(&events, 0).await, [], "all of it is young");
    assert_eq!(events.counts("failed").await, (2, 1, 1, 0));

    // A letter of a deleted function goes to the one made anew, and its counts with it; the rest waits for its story to be old.
    store.put_version(common::function("failed"), Expect::Absent).await.unwrap();
    let sent = events.at(10).redrive(&scope(), vec![failed.request_id]).await.unwrap();
    assert_eq!((sent, events.counts("failed").await), (vec![Redrive::Sent(name("failed"))], (2, 1, 0, 1)));
    let old = Forgotten { done: 2, ..Forgotten::default() };
    assert_eq!(forget_all(&events, 11).await, [old], "the story of an event that waits is kept");
    assert_eq!(events.counts("failed").await, (2, 1, 0, 1));
    assert_eq!(events.settle(12, Release::Done, None).await, failed.request_id);
    let went = forget_all(&events, 12).await;
    assert_eq!(
        went,
        [Forgotten { steps: 2, ..Forgotten::default() }, Forgotten { queues: 1, ..Forgotten::default() }]
    );
    assert_eq!(events.counts("failed").await, (1, 1, 0, 0), "the function made anew keeps its own");
    assert_eq!(events.counts("lives").await, (1, 1, 0, 0));

    // What waits for a deleted function is given up first.
    assert_eq!(events.counts("waits").await, (1, 0, 1, 0), "as the claim found it");
    let story = store.event_story(&scope(), waits.request_id).await.unwrap();
    assert_eq!(story.steps[0].condition.as_deref(), Some("FunctionDeleted"));
    forget_all(&events, 100).await;
    assert_eq!(events.counts("waits").await, (0, 0, 0, 0));
    let left = store.all_event_counts(&scope()).await.unwrap();
    assert_eq!(left.iter().map(|(function, _)| function.as_str()).collect::<Vec<_>>(), ["failed", "lives"]);
}
