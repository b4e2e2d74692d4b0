//! Every step of the diagram, and every step it does not have.

use super::*;
use bytes::Bytes;
use lamplight_model::RequestId;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn event() -> Arc<Event> {
    Arc::new(Event {
        request_id: RequestId(Uuid::nil()),
        deadline_ms: 1,
        invoked_arn: "arn".to_owned(),
        trace_header: None,
        client_context: None,
        tenant_id: None,
        payload: Bytes::new(),
    })
}

fn register(extensions: &mut Extensions, number: u128, events: &[&str]) -> Result<(), Refusal> {
    let events: Vec<String> = events.iter().map(|event| (*event).to_owned()).collect();
    extensions.register(id(number), &format!("extension-{number}"), &events)
}

#[test]
fn one_that_subscribes_holds_the_instance_until_it_asks_again() {
    let mut extensions = Extensions::default();
    assert!(extensions.settled(), "nobody registered");
    register(&mut extensions, 1, &["INVOKE"]).unwrap();
    register(&mut extensions, 2, &[]).unwrap();
    assert!(!extensions.settled(), "init is over when all have asked");
    extensions.next(id(1)).unwrap();
    assert!(!extensions.settled());
    extensions.next(id(2)).unwrap();
    assert!(extensions.settled());
    for _ in 0..2 {
        extensions.offer(&event());
        assert!(!extensions.settled(), "it has an event to take");
        assert!(extensions.take(id(2)).is_none(), "it did not subscribe");
        assert!(extensions.take(id(1)).is_some());
        assert!(extensions.take(id(1)).is_none(), "once");
        assert!(!extensions.settled(), "it works");
        extensions.next(id(1)).unwrap();
        assert!(extensions.settled());
    }
}

#[test]
fn an_event_that_did_not_arrive_is_there_again() {
    let mut extensions = Extensions::default();
    register(&mut extensions, 1, &["INVOKE"]).unwrap();
    extensions.next(id(1)).unwrap();
    extensions.offer(&event());
    let lost = extensions.take(id(1)).unwrap();
    extensions.put_back(id(1), lost);
    assert!(!extensions.settled());
    extensions.next(id(1)).unwrap();
    assert!(extensions.take(id(1)).is_some());
}

#[test]
fn who_may_register() {
    let mut extensions = Extensions::default();
    let refused = |refusal: Result<(), Refusal>, error_type: &str, message: &str| {
        let refusal = refusal.unwrap_err();
        assert_eq!((refusal.error_type(), refusal.to_string().as_str()), (error_type, message));
    };
    refused(extensions.register(id(1), "", &[]), "Extension.InvalidExtensionName", "Empty extension name");
    refused(
        register(&mut extensions, 1, &["INVOKE", "SHUTDOWN"]),
        "Extension.InvalidEventType",
        "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
    );
    refused(
        register(&mut extensions, 1, &["invoke"]),
        "Extension.InvalidEventType",
        "invoke: ErrorInvalidEventType",
    );
    for number in 0..10 {
        register(&mut extensions, number, &["INVOKE", "INVOKE"]).unwrap();
    }
    refused(
        register(&mut extensions, 3, &[]),
        "Extension.InvalidExtensionState",
        "Extension with this name already registered",
    );
    refused(
        register(&mut extensions, 10, &[]),
        "Extension.TooManyExtensions",
        "Extension limit (10) reached",
    );
    extensions.close_registration();
    refused(
        register(&mut extensions, 11, &[]),
        "Extension.RegistrationClosed",
        "Extension registration closed already",
    );
    refused(
        extensions.next(id(99)),
        "Extension.UnknownExtensionIdentifier",
        "Unknown extension 00000000-0000-0000-0000-000000000063",
    );
}

#[test]
fn who_fails_ends_the_instance_and_may_ask_for_nothing() {
    let mut extensions = Extensions::default();
    register(&mut extensions, 1, &["INVOKE"]).unwrap();
    register(&mut extensions, 2, &["INVOKE"]).unwrap();
    extensions.next(id(1)).unwrap();
    let late = extensions.fail(id(1), FailurePhase::Init, "Extension.Late").unwrap_err();
    assert_eq!(
        late.to_string(),
        "State transition from Ready to InitError failed for extension 00000000-0000-0000-0000-000000000001. Error: \
         State transition is not allowed"
    );
    assert_eq!(extensions.failure(), None);
    extensions.fail(id(2), FailurePhase::Init, "Extension.NoConfiguration").unwrap();
    extensions.fail(id(1), FailurePhase::Exit, "Extension.Gone").unwrap();
    let first = Failure {
        phase: FailurePhase::Init,
        extension: "extension-2".to_owned(),
        reported: "Extension.NoConfiguration".to_owned(),
    };
    assert_eq!(extensions.failure(), Some(&first));
    assert!(!extensions.settled());
    for number in [1, 2] {
        assert_eq!(extensions.next(id(number)).unwrap_err().error_type(), "Extension.InvalidExtensionState");
        assert!(extensions.fail(id(number), FailurePhase::Exit, "again").is_err());
    }
}

fn external(names: &[&str]) -> Extensions {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Extensions::with_external(&names)
}

#[test]
fn a_process_is_known_by_its_name() {
    let mut extensions = external(&["extension-1", "silent"]);
    assert!(!extensions.all_registered() && !extensions.settled());
    register(&mut extensions, 1, &["INVOKE", "SHUTDOWN"]).unwrap();
    assert_eq!(
        register(&mut extensions, 1, &[]).unwrap_err(),
        Refusal::NameTaken,
        "a second process cannot take its place"
    );
    assert!(!extensions.all_registered(), "the other one has not");
    extensions.register(id(2), "silent", &[]).unwrap();
    assert!(extensions.all_registered() && !extensions.has_internal());
    register(&mut extensions, 3, &[]).unwrap();
    assert!(extensions.has_internal());
    assert_eq!(extensions.name_of(id(2)), Ok("silent"));
    let reports: Vec<_> =
        extensions.reports().into_iter().map(|report| (report.name, report.state, report.events)).collect();
    assert_eq!(
        reports,
        [
            ("extension-1".to_owned(), "Registered", vec!["INVOKE", "SHUTDOWN"]),
            ("silent".to_owned(), "Registered", vec![]),
            ("extension-3".to_owned(), "Registered", vec![]),
        ]
    );
}

#[test]
fn ten_with_those_that_were_started() {
    let names: Vec<String> = (0..9).map(|number| format!("process-{number}")).collect();
    let mut extensions = Extensions::with_external(&names);
    register(&mut extensions, 1, &[]).unwrap();
    assert_eq!(register(&mut extensions, 2, &[]).unwrap_err(), Refusal::TooMany);
    extensions.register(id(3), "process-0", &["SHUTDOWN".to_owned()]).unwrap();
    assert_eq!(extensions.register(id(4), &"x".repeat(256), &[]).unwrap_err(), Refusal::LongName);
}

#[test]
fn the_end_is_told_to_processes_that_asked_for_it() {
    let mut extensions = external(&["extension-1", "extension-2", "extension-3", "extension-4"]);
    register(&mut extensions, 1, &["INVOKE", "SHUTDOWN"]).unwrap();
    register(&mut extensions, 2, &["INVOKE"]).unwrap();
    register(&mut extensions, 3, &["SHUTDOWN"]).unwrap();
    for number in 1..=3 {
        extensions.next(id(number)).unwrap();
    }
    // One works on an event that it took, one has an event it did not take: the end comes in its place.
    extensions.offer(&event());
    assert!(matches!(extensions.take(id(1)), Some(ExtensionEvent::Invoke(_))));
    extensions.fail(id(3), FailurePhase::Exit, "Extension.Gone").unwrap();
    assert_eq!(extensions.shut_down(7, ShutdownReason::Failure), ["extension-1"]);
    assert!(extensions.take(id(1)).is_none(), "it has not asked yet");
    extensions.next(id(1)).unwrap();
    assert!(matches!(
        extensions.take(id(1)),
        Some(ExtensionEvent::Shutdown { deadline_ms: 7, reason: ShutdownReason::Failure })
    ));
    assert!(matches!(extensions.take(id(2)), Some(ExtensionEvent::Invoke(_))), "it is killed without a word");
}
