use super::memory::MemoryCode;
use super::*;
use crate::lifecycle::converge_functions;
use lamplight_model::AttachedLayer;
use lamplight_store::CodeStore;
use std::sync::atomic::AtomicUsize;
use tokio_util::sync::CancellationToken;

fn created() -> Lifecycle {
    Lifecycle {
        state: FunctionState::Pending,
        state_reason: Some("The function is being created.".to_owned()),
        state_reason_code: Some("Creating".to_owned()),
        last_update_status: None,
        last_update_status_reason: None,
        last_update_status_reason_code: None,
    }
}

fn updating() -> Lifecycle {
    Lifecycle {
        last_update_status: Some(UpdateStatus::InProgress),
        last_update_status_reason: Some("The function is being created.".to_owned()),
        last_update_status_reason_code: Some("Creating".to_owned()),
        ..active()
    }
}

/// Runs convergence on a store until `version` is finished; gives back how it was left.
async fn check_converges(version: FunctionVersion, code: MemoryCode) -> FunctionVersion {
    let store = Arc::new(MemoryStore::default());
    let key = (version.scope.clone(), version.name.clone(), version.version);
    store.put_version(version, Expect::Absent).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(converge_functions(
        Arc::clone(&store) as Arc<dyn Store>,
        Arc::new(code) as Arc<dyn CodeStore>,
        Arc::new(|version| {
            (version.runtime == "python3.13").then(|| "python3.13 is not on this host".to_owned())
        }),
        stop.clone(),
    ));
    let mut changes = store.watch();
    let finished = loop {
        let version = store.get_version(&key.0, &key.1, key.2).await.unwrap().unwrap();
        if !crate::lifecycle::is_unfinished(&version.lifecycle) {
            break version;
        }
        changes.changed().await.unwrap();
    };
    stop.cancel();
    task.await.unwrap();
    FunctionVersion::clone(&finished)
}

fn code() -> MemoryCode {
    MemoryCode { known: vec![digest(1)], ..MemoryCode::default() }
}

#[tokio::test]
async fn a_created_function_becomes_active_and_keeps_its_revision() {
    let version = FunctionVersion { lifecycle: created(), ..function("hello") };
    let finished = check_converges(version.clone(), code()).await;
    assert_eq!(finished, FunctionVersion { lifecycle: active(), ..version });
}

#[tokio::test]
async fn an_update_becomes_successful_and_a_published_version_active() {
    let finished =
        check_converges(FunctionVersion { lifecycle: updating(), ..function("hello") }, code()).await;
    assert_eq!(finished.lifecycle, active());
    let published =
        FunctionVersion { version: VersionNumber::Published(1), lifecycle: created(), ..function("hello") };
    assert_eq!(check_converges(published, code()).await.lifecycle, active());
}

#[tokio::test]
async fn an_absent_interpreter_is_a_warning_on_an_active_function() {
    let version =
        FunctionVersion { lifecycle: created(), runtime: "python3.13".to_owned(), ..function("hello") };
    let lifecycle = check_converges(version, code()).await.lifecycle;
    assert_eq!(lifecycle.state, FunctionState::Active);
    assert_eq!(lifecycle.state_reason.as_deref(), Some("python3.13 is not on this host"));
}

#[tokio::test]
async fn a_missing_package_fails_the_creation_or_only_the_update() {
    let failed = |lifecycle| {
        check_converges(FunctionVersion { lifecycle, ..function("hello") }, MemoryCode::default())
    };
    let lifecycle = failed(created()).await.lifecycle;
    assert_eq!(lifecycle.state, FunctionState::Failed);
    assert_eq!(lifecycle.state_reason_code.as_deref(), Some("InternalError"));
    let lifecycle = failed(updating()).await.lifecycle;
    assert_eq!(lifecycle.state, FunctionState::Active);
    assert_eq!(lifecycle.last_update_status, Some(UpdateStatus::Failed));
}

#[tokio::test]
async fn a_function_whose_layer_is_missing_fails() {
    let layer = AttachedLayer { arn: String::new(), code: digest(2), code_size_bytes: 1 };
    let version = FunctionVersion { lifecycle: created(), layers: vec![layer], ..function("layered") };
    let finished = check_converges(version.clone(), code()).await;
    assert_eq!(finished.lifecycle.state, FunctionState::Failed);
    let reason = finished.lifecycle.state_reason.unwrap();
    assert!(reason.starts_with("The code package is missing: "), "{reason}");
    let both = MemoryCode { known: vec![digest(1), digest(2)], ..code() };
    assert_eq!(check_converges(version, both).await.lifecycle.state, FunctionState::Active);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_delays_a_function_and_fails_nothing() {
    let code = MemoryCode { failures: AtomicUsize::new(20), ..code() };
    let version = FunctionVersion { lifecycle: created(), ..function("hello") };
    assert_eq!(check_converges(version, code).await.lifecycle, active());
}

#[tokio::test]
async fn more_functions_than_places_all_become_active() {
    let store = Arc::new(MemoryStore::default());
    for number in 0..50 {
        let version = FunctionVersion { lifecycle: created(), ..function(&format!("f{number}")) };
        store.put_version(version, Expect::Absent).await.unwrap();
    }
    let stop = CancellationToken::new();
    let task = tokio::spawn(converge_functions(
        Arc::clone(&store) as Arc<dyn Store>,
        Arc::new(code()) as Arc<dyn CodeStore>,
        Arc::new(|_| None),
        stop.clone(),
    ));
    let mut changes = store.watch();
    while !store.unfinished_functions().await.unwrap().is_empty() {
        tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
    }
    stop.cancel();
    task.await.unwrap();
}
