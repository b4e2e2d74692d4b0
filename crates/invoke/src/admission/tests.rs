//! Who is admitted, and what is said to the others.

use super::*;
use lamplight_model::{ErrorCode, Region};

const LATEST: VersionNumber = VersionNumber::Latest;
const ONE: VersionNumber = VersionNumber::Published(1);
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn name(text: &str) -> FunctionName {
    FunctionName::parse(text).unwrap()
}

fn held(function: &str, executions: usize) -> Held {
    Held { scope: Scope::default(), function: name(function), version: ONE, executions }
}

fn reserved(function: &str, executions: usize) -> Reserved {
    Reserved { scope: Scope::default(), function: name(function), executions }
}

fn with_limit(concurrency: usize) -> Arc<Admission> {
    Admission::new(AdmissionLimits { concurrency, ..AdmissionLimits::default() })
}

/// An event from the queue: no rate bounds it.
fn admit(admission: &Arc<Admission>, function: &str, version: VersionNumber) -> Result<Permit, &'static str> {
    let admitted = admission.admit(&Scope::default(), &name(function), version, None);
    admitted.map_err(|error| error.reason.unwrap())
}

/// What is taken in all when nothing runs and nothing is set aside.
const NOTHING: &str = "Places { held_free: 0, taken: 0, most: 0, reserved: false }";

fn sums(admission: &Admission) -> String {
    let running = admission.lock();
    running
        .get(&Scope::default())
        .map_or(String::new(), |count| format!("{:?}", count.places(&name("x"), ONE, 0)))
}

#[test]
fn what_is_held_is_for_its_version_only_and_more_runs_among_the_others() {
    let admission = with_limit(5);
    admission.set_aside(&[held("kept", 3)], &[]);
    let admit = |function: &str, version| admit(&admission, function, version);
    // Two places are left for all; another version of the same function is one of all.
    let others = [admit("other", LATEST).unwrap(), admit("kept", LATEST).unwrap()];
    assert!(admit("other", LATEST).is_err());
    let mut kept: Vec<Permit> = (0..3).map(|_| admit("kept", ONE).unwrap()).collect();
    assert!(admit("kept", ONE).is_err());
    drop(others);
    kept.push(admit("kept", ONE).unwrap());
    assert_eq!((admission.running(&Scope::default(), &name("kept")), admission.running_in_all()), (4, 4));
    drop(kept);
    assert_eq!(admission.running_in_all(), 0);
}

#[test]
fn what_is_no_longer_held_counts_until_it_has_ended() {
    let admission = with_limit(3);
    let admit = |function: &str| admit(&admission, function, ONE);
    admission.set_aside(&[held("kept", 2)], &[]);
    let kept = [admit("kept").unwrap(), admit("kept").unwrap()];
    admission.set_aside(&[held("kept", 1)], &[]);
    let one = admit("other").unwrap();
    assert!(admit("other").is_err(), "three run");
    drop(kept);
    let _two = admit("other").unwrap();
    assert!(admit("other").is_err(), "one is held");
    admission.set_aside(&[], &[]);
    let _three = admit("other").unwrap();
    drop(one);
    assert_eq!(
        admission.lock().get(&Scope::default()).map(|count| count.with_something_set_aside()),
        Some(vec![])
    );
}

#[test]
fn a_function_gets_what_it_reserved_and_no_more() {
    let admission = with_limit(5);
    admission.reserve(&Scope::default(), &name("own"), Some(2));
    let admit = |function: &str, version| admit(&admission, function, version);
    let others: Vec<Permit> = (0..3).map(|_| admit("other", LATEST).unwrap()).collect();
    assert_eq!(admit("other", LATEST).unwrap_err(), "ConcurrentInvocationLimitExceeded");
    // All versions together.
    let own = [admit("own", LATEST).unwrap(), admit("own", ONE).unwrap()];
    drop(others);
    assert_eq!(admit("own", LATEST).unwrap_err(), "ReservedFunctionConcurrentInvocationLimitExceeded");
    drop(own);
    let _own = admit("own", LATEST).unwrap();
}

#[test]
fn nothing_reserved_stops_the_function_and_taking_it_back_lets_it_go() {
    let admission = with_limit(5);
    let scope = Scope::default();
    let before = admit(&admission, "own", LATEST).unwrap();
    admission.reserve(&scope, &name("own"), Some(0));
    assert_eq!(
        admit(&admission, "own", LATEST).unwrap_err(),
        "ReservedFunctionConcurrentInvocationLimitExceeded"
    );
    drop(before);
    assert!(admit(&admission, "own", LATEST).is_err());
    admission.reserve(&scope, &name("own"), None);
    let permits: Vec<Permit> = (0..5).map(|_| admit(&admission, "own", LATEST).unwrap()).collect();
    assert_eq!(admit(&admission, "own", LATEST).unwrap_err(), "ConcurrentInvocationLimitExceeded");
    drop(permits);
}

#[test]
fn what_runs_when_places_are_reserved_moves_there_and_back() {
    let admission = with_limit(4);
    let scope = Scope::default();
    let mut running: Vec<Permit> = (0..3).map(|_| admit(&admission, "own", LATEST).unwrap()).collect();
    // Three run, one is reserved: the other function gets the fourth place, nobody a fifth.
    admission.reserve(&scope, &name("own"), Some(1));
    let other = admit(&admission, "other", LATEST).unwrap();
    assert!(admit(&admission, "other", LATEST).is_err());
    running.pop();
    let another = admit(&admission, "other", LATEST).unwrap();
    assert!(admit(&admission, "own", LATEST).is_err(), "two run in one reserved place");
    running.clear();
    running.push(admit(&admission, "own", LATEST).unwrap());
    admission.reserve(&scope, &name("own"), None);
    running.push(admit(&admission, "own", LATEST).unwrap());
    assert!(admit(&admission, "own", LATEST).is_err());
    drop((running, other, another));
    assert_eq!(sums(&admission), NOTHING);
}

#[test]
fn provisioned_places_are_among_the_reserved_ones() {
    let admission = with_limit(10);
    admission.set_aside(&[held("own", 2)], &[reserved("own", 3)]);
    let admit = |version| admit(&admission, "own", version);
    let latest = admit(LATEST).unwrap();
    assert!(admit(LATEST).is_err(), "two of three are held for version 1");
    let ones = [admit(ONE).unwrap(), admit(ONE).unwrap()];
    assert!(admit(ONE).is_err());
    drop(latest);
    let more = admit(ONE).unwrap();
    drop((ones, more));
    admission.set_aside(&[], &[]);
    assert_eq!(sums(&admission), NOTHING);
}

#[test]
fn calls_come_ten_times_a_second_for_each_place_and_events_as_they_like() {
    let limits = AdmissionLimits { concurrency: 3, ..AdmissionLimits::default() };
    let admission = Admission::new(limits);
    admission.reserve(&Scope::default(), &name("own"), Some(1));
    let call = |function: &str, after_ms: i64| {
        let now = Timestamp(NOW.0 + after_ms);
        let admitted = admission.admit(&Scope::default(), &name(function), LATEST, Some(now));
        admitted.map(drop).map_err(|error| error.reason.unwrap())
    };
    let given = |function: &str, after_ms| (0..100).take_while(|_| call(function, after_ms).is_ok()).count();
    assert_eq!(given("a", 0), 30);
    assert_eq!(call("b", 0), Err("FunctionInvocationRateLimitExceeded"), "the rate is all functions'");
    assert_eq!(given("own", 0), 10);
    assert_eq!(call("own", 99), Err("ReservedFunctionInvocationRateLimitExceeded"));
    assert_eq!(given("own", 100), 1);
    assert_eq!(given("b", 1_000), 30);
    // A clock that was set back takes no calls away for longer than the time of the rate.
    assert_eq!(given("b", -3_600_000), 0);
    assert_eq!(given("b", -3_599_000), 30);
    for _ in 0..1_000 {
        drop(admit(&admission, "b", LATEST).unwrap());
    }
    // What is told of other functions gives nothing back.
    assert_eq!(given("b", -3_599_000), 0);
    admission.set_aside(&[held("other", 1)], &[]);
    admission.set_aside(&[], &[]);
    assert_eq!(given("b", -3_599_000), 0);
    let unbounded = Admission::new(AdmissionLimits { calls_per_second_each: 0, ..limits });
    for _ in 0..1_000 {
        drop(unbounded.admit(&Scope::default(), &name("a"), LATEST, Some(NOW)).unwrap());
    }
}

#[test]
fn a_call_that_finds_no_place_uses_no_rate_up() {
    let admission = Admission::new(AdmissionLimits { concurrency: 1, calls_per_second_each: 2 });
    let call = || admission.admit(&Scope::default(), &name("a"), LATEST, Some(NOW));
    let running = call().unwrap();
    for _ in 0..5 {
        assert_eq!(call().unwrap_err().reason, Some("ConcurrentInvocationLimitExceeded"));
    }
    drop(running);
    drop(call().unwrap());
    assert_eq!(call().unwrap_err().reason, Some("FunctionInvocationRateLimitExceeded"));
}

#[test]
fn the_limit_is_shared_by_functions_and_a_dropped_permit_makes_room() {
    let admission = with_limit(2);
    let scope = Scope::default();
    let first = admission.admit(&scope, &name("a"), LATEST, Some(NOW)).unwrap();
    let _second = admission.admit(&scope, &name("b"), LATEST, Some(NOW)).unwrap();
    let refused = admission.admit(&scope, &name("c"), LATEST, Some(NOW)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::TooManyRequestsException);
    assert_eq!(refused.message, "Rate Exceeded.");
    assert_eq!(refused.reason, Some("ConcurrentInvocationLimitExceeded"));
    assert_eq!(admission.running(&scope, &name("a")), 1);
    drop(first);
    assert_eq!(admission.running(&scope, &name("a")), 0);
    let _third = admission.admit(&scope, &name("c"), LATEST, Some(NOW)).unwrap();
    assert_eq!(admission.running_in_all(), 2);
}

#[test]
fn regions_have_pools_of_their_own() {
    let admission = with_limit(1);
    let here = Scope::default();
    let there = Scope { region: Region::parse("eu-west-1").unwrap(), ..Scope::default() };
    let _here = admission.admit(&here, &name("a"), LATEST, None).unwrap();
    let _there = admission.admit(&there, &name("a"), LATEST, None).unwrap();
    assert!(admission.admit(&here, &name("a"), LATEST, None).is_err());
}

#[test]
fn little_is_kept_of_functions_that_run_nothing() {
    let admission = with_limit(10);
    for region in 0..100 {
        let region = Region::parse(&format!("r-{region}")).unwrap();
        drop(admission.admit(&Scope { region, ..Scope::default() }, &name("f"), LATEST, None));
    }
    for number in 0..100 {
        drop(admit(&admission, &format!("f{number}"), LATEST));
    }
    let running = admission.lock();
    assert!(running.len() <= IDLE_SCOPES + 1);
    assert!(running.values().all(|count| count.functions_kept() <= 65));
    drop(running);
    assert_eq!(admission.running_in_all(), 0);
}
