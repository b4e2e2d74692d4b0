//! What every storage engine must do. A second engine adds its `open` to `engines` and passes the same cases.
//!
//! All cases run a second time on a store that they share with another process, which writes all the time.

#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

mod common;

use common::*;
use lamplight_model::function::FunctionState;
use lamplight_model::*;
use lamplight_store::function_documents::Owner;
use lamplight_store::*;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(60);

/// Set where the store is to be shared.
const SHARED: &str = "LAMPLIGHT_STORE_CONTRACT_SHARED";
/// Where the neighbour writes, when this program is it.
const NEIGHBOUR: &str = "LAMPLIGHT_STORE_CONTRACT_NEIGHBOUR";

/// A directory and who else writes in it; both live as long as the test.
struct Fresh {
    neighbour: Option<Child>,
    store: std::path::PathBuf,
    // Dropped after the neighbour has ended.
    _directory: tempfile::TempDir,
}

impl Fresh {
    /// Where metadata and queue are.
    fn path(&self) -> &std::path::Path {
        &self.store
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(neighbour) = &mut self.neighbour {
            neighbour.kill().unwrap();
            neighbour.wait().unwrap();
        }
    }
}

/// A fresh store.
fn engine() -> (Fresh, Opened) {
    let directory = tempfile::tempdir().unwrap();
    let mut opened = open(Options::new(directory.path())).unwrap();
    let (mut neighbour, mut store) = (None, directory.path().to_owned());
    if std::env::var_os(SHARED).is_some() {
        let shared = directory.path().join("shared");
        opened.store = open_shared(&Options::new(&shared)).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["neighbour", "--exact", "--nocapture"])
            .env(NEIGHBOUR, &shared)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("@writing")), "the neighbour ended");
        (neighbour, store) = (Some(child), shared);
    }
    (Fresh { neighbour, store, _directory: directory }, opened)
}

/// Not a test by itself: another process on the same store, which has nothing to do with the functions of the cases.
#[tokio::test]
async fn neighbour() {
    let Some(directory) = std::env::var_os(NEIGHBOUR) else { return };
    let store = open_shared(&Options::new(&directory)).unwrap();
    for number in 0_u64.. {
        let document = Document { key: "key".to_owned(), value: number.into() };
        store.put_document(&other_scope(), "noise", document, Expect::Anything).await.unwrap();
        assert_eq!(store.get_document(&other_scope(), "noise", "key").await.unwrap().unwrap().value, number);
        if number == 0 {
            println!("@writing");
        }
    }
}

#[test]
fn all_cases_hold_on_a_store_that_another_process_writes_too() {
    if std::env::var_os(SHARED).is_some() {
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        // The neighbour's changes wake watchers, too, and it keeps servers out.
        .args(["--skip", "a_change_wakes_whom_it_concerns_and_an_empty_claim_nobody"])
        .args(["--skip", "everything_is_there_after_opening_again"])
        .env(SHARED, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let passed = said.lines().filter(|line| line.ends_with("... ok")).count();
    assert!(passed > 20, "only {passed} cases ran: {said}");
}

#[tokio::test]
async fn a_function_is_created_once_and_changed_only_by_who_saw_the_newest() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let mut hello = function("hello");
    hello.environment = Some([("KEY".to_owned(), "value".to_owned())].into());
    store.put_version(hello.clone(), Expect::Absent).await.unwrap();
    assert_eq!(
        *store.get_version(&scope(), &name("hello"), VersionNumber::Latest).await.unwrap().unwrap(),
        hello
    );
    assert!(
        store.get_version(&other_scope(), &name("hello"), VersionNumber::Latest).await.unwrap().is_none()
    );
    assert!(matches!(
        store.put_version(function("hello"), Expect::Absent).await,
        Err(StoreError::AlreadyExists(_))
    ));

    let first_revision = hello.revision_id.clone();
    hello.revision_id = revision();
    hello.description = "second".to_owned();
    store.put_version(hello.clone(), Expect::Revision(first_revision.clone())).await.unwrap();
    assert!(matches!(
        store.put_version(function("hello"), Expect::Revision(first_revision)).await,
        Err(StoreError::RevisionMismatch(_))
    ));
    assert!(matches!(
        store.put_version(function("absent"), Expect::Revision(revision())).await,
        Err(StoreError::RevisionMismatch(_))
    ));
    let stored = store.get_version(&scope(), &name("hello"), VersionNumber::Latest).await.unwrap().unwrap();
    assert_eq!(stored.description, "second");
}

#[tokio::test]
async fn version_numbers_are_never_reused() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let hello = function("hello");
    assert!(matches!(
        store.publish_version(hello.clone(), &hello.revision_id).await,
        Err(StoreError::NotFound(_))
    ));
    store.put_version(hello.clone(), Expect::Absent).await.unwrap();
    let publish = async |latest: &FunctionVersion| {
        let mut snapshot = latest.clone();
        snapshot.revision_id = revision();
        store.publish_version(snapshot, &latest.revision_id).await.map(|stored| stored.version)
    };
    // Asked for before it exists: the answer "none" must not be remembered.
    assert!(store.get_version(&scope(), &hello.name, VersionNumber::Published(1)).await.unwrap().is_none());
    assert_eq!(publish(&hello).await.unwrap(), VersionNumber::Published(1));
    assert!(store.get_version(&scope(), &hello.name, VersionNumber::Published(1)).await.unwrap().is_some());
    assert_eq!(publish(&hello).await.unwrap(), VersionNumber::Published(2));
    assert!(store.delete_version(&scope(), &hello.name, 2).await.unwrap());
    assert!(!store.delete_version(&scope(), &hello.name, 2).await.unwrap());
    assert!(!store.delete_version(&scope(), &hello.name, 0).await.unwrap(), "$LATEST goes with its function");
    assert!(store.get_version(&scope(), &hello.name, VersionNumber::Published(2)).await.unwrap().is_none());
    assert_eq!(publish(&hello).await.unwrap(), VersionNumber::Published(3));
    assert!(matches!(publish(&function("hello")).await, Err(StoreError::RevisionMismatch(_))));

    let versions = store.list_versions(&scope(), &hello.name, None, 10).await.unwrap();
    let numbers: Vec<String> = versions.iter().map(|version| version.version.to_string()).collect();
    assert_eq!(numbers, ["$LATEST", "1", "3"]);
    let page =
        store.list_versions(&scope(), &hello.name, Some(VersionNumber::Published(1)), 1).await.unwrap();
    assert_eq!(page[0].version, VersionNumber::Published(3));
    let page = store.list_versions(&scope(), &hello.name, Some(VersionNumber::Latest), 1).await.unwrap();
    assert_eq!(page[0].version, VersionNumber::Published(1));

    assert!(store.delete_function(&scope(), &hello.name).await.unwrap());
    assert!(!store.delete_function(&scope(), &hello.name).await.unwrap());
    assert!(store.list_versions(&scope(), &hello.name, None, 10).await.unwrap().is_empty());
    let again = function("hello");
    store.put_version(again.clone(), Expect::Absent).await.unwrap();
    assert_eq!(publish(&again).await.unwrap(), VersionNumber::Published(4));
}

/// An alias of `function` to version 1, and with a weight to version 2.
fn alias(function: &str, text: &str, weight: Option<f64>) -> Alias {
    Alias {
        scope: scope(),
        function: name(function),
        name: text.to_owned(),
        version: VersionNumber::Published(1),
        additional: weight.map(|weight| AdditionalVersion { version: 2, weight }),
        description: String::new(),
        revision_id: revision(),
    }
}

/// A store with a function that has the versions 1 and 2.
async fn two_versions(store: &dyn Store, function_name: &str) {
    let mut latest = function(function_name);
    store.put_version(latest.clone(), Expect::Absent).await.unwrap();
    for _ in 1..=2 {
        let revision_id = latest.revision_id.clone();
        latest.revision_id = revision();
        store.publish_version(latest.clone(), &revision_id).await.unwrap();
        latest.revision_id = revision_id;
    }
}

#[tokio::test]
async fn an_alias_needs_its_versions_and_keeps_them() {
    let (_directory, opened) = engine();
    let store = opened.store;
    two_versions(&*store, "hello").await;
    let hello = name("hello");
    // Asked for before it exists: the answer "none" must not be remembered.
    assert!(store.get_alias(&scope(), &hello, "live").await.unwrap().is_none());
    let live = alias("hello", "live", Some(0.25));
    store.put_alias(live.clone(), Expect::Absent).await.unwrap();
    assert_eq!(store.get_alias(&scope(), &hello, "live").await.unwrap().as_deref(), Some(&live));
    let again = store.put_alias(live.clone(), Expect::Absent).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists(_))), "{again:?}");
    for version in [1, 2] {
        match store.delete_version(&scope(), &hello, version).await {
            Err(StoreError::Referenced(aliases)) => assert_eq!(aliases, ["live"]),
            other => panic!("{other:?}"),
        }
    }

    let changed = Alias { additional: None, revision_id: revision(), ..live.clone() };
    let stale = store.put_alias(changed.clone(), Expect::Revision(revision())).await;
    assert!(matches!(stale, Err(StoreError::RevisionMismatch(_))), "{stale:?}");
    store.put_alias(changed.clone(), Expect::Revision(live.revision_id.clone())).await.unwrap();
    assert_eq!(store.get_alias(&scope(), &hello, "live").await.unwrap().as_deref(), Some(&changed));
    assert!(store.delete_version(&scope(), &hello, 2).await.unwrap());
    match store.put_alias(live, Expect::Anything).await {
        Err(StoreError::NotFound(arn)) => assert!(arn.ends_with(":function:hello:2"), "{arn}"),
        other => panic!("{other:?}"),
    }

    assert!(store.delete_alias(&scope(), &hello, "live").await.unwrap());
    assert!(!store.delete_alias(&scope(), &hello, "live").await.unwrap());
    assert!(store.get_alias(&scope(), &hello, "live").await.unwrap().is_none());
}

#[tokio::test]
async fn aliases_are_listed_by_name_and_go_with_their_function() {
    let (_directory, opened) = engine();
    let store = opened.store;
    // Names around the one in question in the order of keys.
    for function_name in ["hello", "hello-", "hello0"] {
        two_versions(&*store, function_name).await;
        for text in ["b", "a", "c"] {
            store.put_alias(alias(function_name, text, None), Expect::Absent).await.unwrap();
        }
        for (kind, key) in [
            ("function/x", format!("{function_name}/a")),
            ("function/x", format!("{function_name}/b")),
            ("other", format!("{function_name}/a")),
        ] {
            let document = Document { key, value: serde_json::json!({}) };
            store.put_document(&scope(), kind, document, Expect::Absent).await.unwrap();
        }
    }
    let names = async |function_name: &str, after: Option<&str>, limit| -> Vec<String> {
        let aliases = store.list_aliases(&scope(), &name(function_name), after, limit).await.unwrap();
        aliases.iter().map(|alias| alias.name.clone()).collect()
    };
    assert_eq!(names("hello", None, 2).await, ["a", "b"]);
    assert_eq!(names("hello", Some("b"), 2).await, ["c"]);
    let left = async |kind: &str| store.list_documents(&scope(), kind, None, 10).await.unwrap().len();
    // What belongs to an alias goes with it.
    assert!(store.delete_alias(&scope(), &name("hello"), "a").await.unwrap());
    assert_eq!((left("function/x").await, left("other").await), (5, 3));
    assert!(store.delete_function(&scope(), &name("hello")).await.unwrap());
    assert!(store.get_alias(&scope(), &name("hello"), "b").await.unwrap().is_none());
    assert!(names("hello", None, 10).await.is_empty());
    for function_name in ["hello-", "hello0"] {
        assert_eq!(names(function_name, None, 10).await, ["a", "b", "c"]);
    }
    assert_eq!((left("function/x").await, left("other").await), (4, 3));
}

#[tokio::test]
async fn documents_are_found_by_their_id_and_every_change_is_seen() {
    let (_directory, opened) = engine();
    let store = opened.store;
    two_versions(&*store, "hello").await;
    store.put_alias(alias("hello", "live", None), Expect::Absent).await.unwrap();
    let document =
        |key: &str, id: &str| Document { key: key.to_owned(), value: serde_json::json!({"id": id}) };
    let find = async |id: &str| {
        let found = store.find_document("function/url", id).await.unwrap();
        found.map(|(scope, document)| (scope, document.key))
    };
    let mut generation = store.document_generation();
    let mut has_changed = || std::mem::replace(&mut generation, store.document_generation()) != generation;
    for (key, id) in [("hello/$LATEST", "one"), ("hello/live", "two"), ("hello/1", "three")] {
        store.put_document(&scope(), "function/url", document(key, id), Expect::Absent).await.unwrap();
        assert!(has_changed());
    }
    store.put_document(&other_scope(), "api", document("a", "one"), Expect::Absent).await.unwrap();
    assert_eq!(find("one").await, Some((scope(), "hello/$LATEST".to_owned())));
    assert_eq!(find("two").await, Some((scope(), "hello/live".to_owned())));
    assert_eq!(find("four").await, None);
    assert_eq!(store.find_document("api", "one").await.unwrap().unwrap().0, other_scope());
    store
        .put_document(&scope(), "function/url", document("hello/$LATEST", "four"), Expect::Anything)
        .await
        .unwrap();
    assert_eq!(find("one").await, None);
    assert_eq!(find("four").await, Some((scope(), "hello/$LATEST".to_owned())));
    has_changed();
    assert!(!has_changed());
    // It goes with what it belongs to, and who remembers it hears of that.
    store.delete_alias(&scope(), &name("hello"), "live").await.unwrap();
    assert!(has_changed() && find("two").await.is_none());
    store.delete_version(&scope(), &name("hello"), 1).await.unwrap();
    assert!(has_changed() && find("three").await.is_none());
    store.delete_function(&scope(), &name("hello")).await.unwrap();
    assert!(has_changed() && find("four").await.is_none());
    store.delete_document(&other_scope(), "api", "a").await.unwrap();
    assert!(has_changed() && store.find_document("api", "one").await.unwrap().is_none());
}

#[tokio::test]
async fn functions_are_listed_in_name_order_by_pages_and_by_scope() {
    let (_directory, opened) = engine();
    let store = opened.store;
    for text in ["b", "a-1", "a", "c"] {
        store.put_version(function(text), Expect::Absent).await.unwrap();
    }
    let mut elsewhere = function("z");
    elsewhere.scope = other_scope();
    store.put_version(elsewhere, Expect::Absent).await.unwrap();
    let names = |found: Vec<Arc<FunctionVersion>>| -> Vec<String> {
        found.iter().map(|version| version.name.to_string()).collect()
    };
    assert_eq!(names(store.list_functions(&scope(), None, 3).await.unwrap()), ["a", "a-1", "b"]);
    assert_eq!(names(store.list_functions(&scope(), Some(&name("b")), 3).await.unwrap()), ["c"]);
    assert_eq!(names(store.list_functions(&other_scope(), None, 3).await.unwrap()), ["z"]);
}

#[tokio::test]
async fn unfinished_functions_and_referenced_code_are_found() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let mut pending = function("pending");
    pending.lifecycle.state = FunctionState::Pending;
    pending.code = CodeDigest::from_bytes(&[1; 32]);
    store.put_version(pending.clone(), Expect::Absent).await.unwrap();
    store.put_version(function("settled"), Expect::Absent).await.unwrap();
    let found = store.unfinished_functions().await.unwrap();
    assert_eq!(found.iter().map(|version| version.name.as_str()).collect::<Vec<_>>(), ["pending"]);
    pending.lifecycle.state = FunctionState::Active;
    store.put_version(pending, Expect::Anything).await.unwrap();
    assert!(store.unfinished_functions().await.unwrap().is_empty());
    let digests = [1, 7].map(|byte| CodeDigest::from_bytes(&[byte; 32]));
    assert_eq!(store.referenced_code().await.unwrap(), digests);
}

#[tokio::test]
async fn code_is_referenced_by_layers_of_versions_and_by_documents() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let digest = |byte| CodeDigest::from_bytes(&[byte; 32]);
    let layer = |byte| AttachedLayer { arn: String::new(), code: digest(byte), code_size_bytes: 1 };
    let mut version = function("layered");
    version.code = digest(1);
    version.layers = vec![layer(2), layer(3)];
    store.put_version(version.clone(), Expect::Absent).await.unwrap();
    store.publish_version(version.clone(), &version.revision_id).await.unwrap();
    version.layers = vec![layer(3)];
    store.put_version(version, Expect::Anything).await.unwrap();
    for (key, value) in [
        ("a", serde_json::json!({"CodeDigest": digest(4).as_str(), "CodeSizeBytes": 7})),
        ("b", serde_json::json!({"Other": digest(5).as_str()})),
        ("c", serde_json::json!(["CodeDigest"])),
    ] {
        let document = Document { key: key.to_owned(), value };
        store.put_document(&scope(), "any", document, Expect::Absent).await.unwrap();
    }
    assert_eq!(store.referenced_code().await.unwrap(), [1, 2, 3, 4].map(digest));
    let counted = store.code_usage(&scope()).await.unwrap().code_bytes;
    store.delete_document(&scope(), "any", "a").await.unwrap();
    assert_eq!(store.code_usage(&scope()).await.unwrap().code_bytes, counted - 7);
    store.delete_version(&scope(), &name("layered"), 1).await.unwrap();
    assert_eq!(store.referenced_code().await.unwrap(), [1, 3].map(digest));
}

#[tokio::test]
async fn sealed_documents_are_not_on_the_disk_and_do_not_open_in_another_place() {
    let (directory, opened) = engine();
    let store = &opened.store;
    let document = |key: &str, number: &str| Document {
        key: key.to_owned(),
        value: serde_json::json!({"number": number, "value": "xyzzy-plugh"}),
    };
    let kind = "sealed/test";
    store.put_document(&scope(), kind, document("a", "1"), Expect::Absent).await.unwrap();
    store.put_document(&scope(), kind, document("b", "1"), Expect::Absent).await.unwrap();
    let again = store.put_document(&scope(), kind, document("a", "3"), Expect::Absent).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists(_))));
    store.put_document(&scope(), kind, document("a", "2"), Expect::Anything).await.unwrap();
    assert_eq!(store.get_document(&scope(), kind, "a").await.unwrap(), Some(document("a", "2")));
    let listed = store.list_documents(&scope(), kind, Some("a"), 10).await.unwrap();
    assert_eq!(listed, [document("b", "1")]);
    let everywhere = store.documents_in_all_scopes(kind).await.unwrap();
    assert_eq!(everywhere, [(scope(), document("a", "2")), (scope(), document("b", "1"))]);
    assert!(store.referenced_code().await.unwrap().is_empty());
    opened.flush().await.unwrap();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(11).any(|window| window == b"xyzzy-plugh"), "{}", path.display());
        }
    }
    let connection = rusqlite::Connection::open(directory.path().join("metadata.sqlite")).unwrap();
    let moved = "UPDATE document SET value = (SELECT value FROM document WHERE key = 'b') WHERE key = 'a'";
    assert_eq!(connection.execute(moved, []).unwrap(), 1);
    assert!(store.get_document(&scope(), kind, "a").await.is_err());
    assert_eq!(store.get_document(&scope(), kind, "b").await.unwrap(), Some(document("b", "1")));
}

#[tokio::test]
async fn documents_are_kept_by_kind_and_scope() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let document = |key: &str, revision: &str| Document {
        key: key.to_owned(),
        value: serde_json::json!({"RevisionId": revision, "a": [1, 2]}),
    };
    store.put_document(&scope(), "role", document("b", "1"), Expect::Absent).await.unwrap();
    store.put_document(&scope(), "role", document("a", "1"), Expect::Absent).await.unwrap();
    store.put_document(&scope(), "alias", document("z", "1"), Expect::Anything).await.unwrap();
    let refused = store.put_document(&scope(), "role", document("a", "2"), Expect::Absent).await;
    assert!(matches!(refused, Err(StoreError::AlreadyExists(_))));
    let refused =
        store.put_document(&scope(), "role", document("a", "2"), Expect::Revision("0".to_owned())).await;
    assert!(matches!(refused, Err(StoreError::RevisionMismatch(_))));
    store.put_document(&scope(), "role", document("a", "2"), Expect::Revision("1".to_owned())).await.unwrap();
    assert_eq!(store.get_document(&scope(), "role", "a").await.unwrap(), Some(document("a", "2")));
    assert_eq!(store.get_document(&other_scope(), "role", "a").await.unwrap(), None);
    let listed = store.list_documents(&scope(), "role", None, 10).await.unwrap();
    assert_eq!(listed, [document("a", "2"), document("b", "1")]);
    assert_eq!(store.list_documents(&scope(), "role", Some("a"), 10).await.unwrap(), [document("b", "1")]);
    store.put_document(&other_scope(), "role", document("c", "1"), Expect::Absent).await.unwrap();
    let mut expected = vec![
        (scope(), document("a", "2")),
        (scope(), document("b", "1")),
        (other_scope(), document("c", "1")),
    ];
    expected.sort_by_key(|(scope, document)| (scope.key(), document.key.clone()));
    assert_eq!(store.documents_in_all_scopes("role").await.unwrap(), expected);
    assert!(store.delete_document(&scope(), "role", "a").await.unwrap());
    assert!(!store.delete_document(&scope(), "role", "a").await.unwrap());
}

#[tokio::test]
async fn documents_of_a_function_go_with_it_and_are_not_written_without_it() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let put = async |function: &str, qualifier: Option<Qualifier>| {
        let (scope, function) = (scope(), name(function));
        let owner = Owner { scope: &scope, function: &function, qualifier: qualifier.as_ref() };
        function_documents::put(&*store, "function/note", owner, &"x".to_owned(), Expect::Anything).await
    };
    let listed = async |function: &str| -> Vec<String> {
        let rows: Vec<(Qualifier, String)> =
            function_documents::list(&*store, "function/note", &scope(), &name(function), None, 10)
                .await
                .unwrap();
        rows.iter().map(|(qualifier, _)| qualifier.to_string()).collect()
    };
    assert!(matches!(put("absent", None).await, Err(StoreError::NotFound(_))));
    // Names that only begin alike, and one that sorts right behind the separator.
    for function in ["hello", "hello-2", "hello0"] {
        store.put_version(self::function(function), Expect::Absent).await.unwrap();
        put(function, None).await.unwrap();
    }
    for qualifier in [Qualifier::Version(1), Qualifier::Version(2), Qualifier::Alias("live".to_owned())] {
        put("hello", Some(qualifier)).await.unwrap();
    }
    assert_eq!(listed("hello").await, ["$LATEST", "1", "2", "live"]);
    let latest = store.get_version(&scope(), &name("hello"), VersionNumber::Latest).await.unwrap().unwrap();
    store.publish_version((*latest).clone(), &latest.revision_id).await.unwrap();
    assert!(store.delete_version(&scope(), &name("hello"), 1).await.unwrap());
    assert_eq!(listed("hello").await, ["$LATEST", "2", "live"]);
    assert!(store.delete_function(&scope(), &name("hello")).await.unwrap());
    assert_eq!(listed("hello").await, Vec::<String>::new());
    assert_eq!(
        (listed("hello-2").await, listed("hello0").await),
        (vec!["$LATEST".into()], vec!["$LATEST".into()])
    );
}

#[tokio::test]
async fn marks_change_without_a_revision_and_survive_a_change_of_the_configuration() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let seen = function("hello");
    store.put_version(seen.clone(), Expect::Absent).await.unwrap();
    let mut marks = seen.marks();
    marks.tags.insert("team".to_owned(), "blue".to_owned());
    marks.code_signing_config_arn = Some("arn".to_owned());
    store.put_marks(&scope(), &name("hello"), seen.marks(), marks.clone()).await.unwrap();
    let again = store.put_marks(&scope(), &name("hello"), seen.marks(), seen.marks()).await;
    assert!(matches!(again, Err(StoreError::RevisionMismatch(_))));
    // Somebody who had read the function before changes its configuration.
    let changed = FunctionVersion { description: "new".to_owned(), revision_id: revision(), ..seen.clone() };
    store.put_version(changed.clone(), Expect::Revision(seen.revision_id.clone())).await.unwrap();
    let stored = store.get_version(&scope(), &name("hello"), VersionNumber::Latest).await.unwrap().unwrap();
    assert_eq!((stored.marks(), stored.description.as_str()), (marks, "new"));
    assert_eq!(stored.revision_id, changed.revision_id);
    let absent = store.put_marks(&scope(), &name("absent"), seen.marks(), seen.marks()).await;
    assert!(matches!(absent, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn packages_of_all_versions_are_counted() {
    let (_directory, opened) = engine();
    let store = opened.store;
    assert_eq!(store.code_usage(&scope()).await.unwrap(), CodeUsage::default());
    let mut latest = function("hello");
    latest.code_size_bytes = 1_000;
    store.put_version(latest.clone(), Expect::Absent).await.unwrap();
    store.publish_version(latest.clone(), &latest.revision_id).await.unwrap();
    latest.name = name("other");
    store.put_version(latest, Expect::Absent).await.unwrap();
    assert_eq!(store.code_usage(&scope()).await.unwrap(), CodeUsage { functions: 2, code_bytes: 3_000 });
    assert_eq!(store.code_usage(&other_scope()).await.unwrap(), CodeUsage::default());
}

#[tokio::test]
async fn a_follow_up_is_appended_with_the_release_or_not_at_all() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let (queued, follow_up) = (event("hello", 0), event("next", 5));
    store.enqueue(queued.clone()).await.unwrap();
    let claimed = store.claim("me", Timestamp(0), LEASE, 1).await.unwrap().remove(0);
    let release = |claim, follow_up| store.release_with(queued.request_id, claim, Release::Done, follow_up);
    assert!(!release(claimed.claim + 1, follow_up.clone()).await.unwrap());
    check_counts(&store, "next", (0, 0, 0, 0)).await;
    // The id is taken, so the event cannot be appended, and what is claimed stays claimed.
    let taken = QueuedEvent { request_id: follow_up.request_id, ..event("other", 0) };
    store.enqueue(taken).await.unwrap();
    assert!(matches!(release(claimed.claim, follow_up.clone()).await, Err(StoreError::AlreadyExists(_))));
    check_counts(&store, "hello", (1, 0, 0, 1)).await;
    assert!(release(claimed.claim, event("next", 5)).await.unwrap());
    check_counts(&store, "hello", (1, 1, 0, 0)).await;
    check_counts(&store, "next", (1, 0, 0, 1)).await;
}

#[tokio::test]
async fn an_event_after_the_newest_became_a_dead_letter_is_accepted() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let give_up = || Release::DeadLetter { condition: "RetriesExhausted".to_owned(), error: "{}".to_owned() };
    let mut events = Vec::new();
    for at in 0..3 {
        let queued = QueuedEvent { payload: format!("[{at}]").into(), ..event("hello", at) };
        store.enqueue(queued.clone()).await.unwrap();
        let claimed = store.claim("me", Timestamp(at), LEASE, 1).await.unwrap().remove(0);
        let (claim, follow_up) = (claimed.claim, event("sink", 1_000));
        assert!(store.release_with(queued.request_id, claim, give_up(), follow_up).await.unwrap());
        events.push(queued);
    }
    check_counts(&store, "hello", (3, 0, 3, 0)).await;
    check_counts(&store, "sink", (3, 0, 0, 3)).await;
    let letters = store.dead_letters(&scope(), &name("hello"), 10).await.unwrap();
    for queued in &events {
        let letter = letters.iter().find(|letter| letter.event.request_id == queued.request_id).unwrap();
        assert_eq!(letter.event.payload, queued.payload);
    }
}

async fn check_counts(store: &Arc<dyn Store>, function: &str, expected: (u64, u64, u64, u64)) {
    let counts = store.event_counts(&scope(), &name(function)).await.unwrap();
    let found = (counts.accepted, counts.done, counts.dead_lettered, counts.pending);
    assert_eq!(found, expected, "accepted, done, dead-lettered, pending");
    assert_eq!(counts.accepted, counts.done + counts.dead_lettered + counts.pending);
}

#[tokio::test]
async fn an_event_goes_from_waiting_over_retries_to_done_or_to_the_dead_letters() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let (first, second) = (event("hello", 100), event("hello", 200));
    store.enqueue(first.clone()).await.unwrap();
    store.enqueue(second.clone()).await.unwrap();
    assert!(matches!(store.enqueue(first.clone()).await, Err(StoreError::AlreadyExists(_))));
    check_counts(&store, "hello", (2, 0, 0, 2)).await;
    assert_eq!(store.next_due().await.unwrap(), Some(Timestamp(100)));
    assert!(store.claim("me", Timestamp(99), LEASE, 10).await.unwrap().is_empty());

    let claimed = store.claim("me", Timestamp(100), LEASE, 10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].event, first);
    assert_eq!(store.next_due().await.unwrap(), Some(Timestamp(200)));
    let retry = Release::Retry { not_before: Timestamp(60_000), counted: true };
    assert!(store.release(first.request_id, claimed[0].claim, retry.clone()).await.unwrap());
    assert!(!store.release(first.request_id, claimed[0].claim, retry).await.unwrap(), "settled twice");

    let claimed = store.claim("me", Timestamp(60_000), LEASE, 10).await.unwrap();
    let ids: Vec<RequestId> = claimed.iter().map(|claimed| claimed.event.request_id).collect();
    assert_eq!(ids, [second.request_id, first.request_id]);
    assert_eq!(claimed[1].event.attempts, 1);
    assert!(store.release(second.request_id, claimed[0].claim, Release::Done).await.unwrap());
    let dead = Release::DeadLetter { condition: "RetriesExhausted".to_owned(), error: "{}".to_owned() };
    assert!(store.release(first.request_id, claimed[1].claim, dead).await.unwrap());
    check_counts(&store, "hello", (2, 1, 1, 0)).await;
    assert_eq!(store.next_due().await.unwrap(), None);
    let letters = store.dead_letters(&scope(), &name("hello"), 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].condition.as_str(), letters[0].error.as_str()), ("RetriesExhausted", "{}"));
    assert_eq!(letters[0].event.payload, first.payload);
    assert_eq!(letters[0].event.request_id, first.request_id);
}

#[tokio::test]
async fn a_claim_whose_lease_ended_is_fenced_off_and_costs_no_retry() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let queued = event("hello", 0);
    store.enqueue(queued.clone()).await.unwrap();
    let lost = store.claim("slow", Timestamp(0), LEASE, 1).await.unwrap().remove(0);
    assert!(store.claim("other", Timestamp(59_999), LEASE, 1).await.unwrap().is_empty());
    assert!(store.extend(queued.request_id, lost.claim, Timestamp(100_000)).await.unwrap());
    assert!(store.claim("other", Timestamp(60_000), LEASE, 1).await.unwrap().is_empty());
    let taken = store.claim("other", Timestamp(100_000), LEASE, 1).await.unwrap().remove(0);
    assert_eq!(taken.event.attempts, 0);
    assert_ne!(taken.claim, lost.claim);
    assert!(!store.extend(queued.request_id, lost.claim, Timestamp(200_000)).await.unwrap());
    assert!(!store.release(queued.request_id, lost.claim, Release::Done).await.unwrap());
    check_counts(&store, "hello", (1, 0, 0, 1)).await;
    assert!(store.release(queued.request_id, taken.claim, Release::Done).await.unwrap());
    check_counts(&store, "hello", (1, 1, 0, 0)).await;
}

#[tokio::test]
async fn claims_take_turns_between_functions() {
    let (_directory, opened) = engine();
    let store = opened.store;
    for at in 0..50 {
        store.enqueue(event("flood", at)).await.unwrap();
    }
    for function in ["one", "two"] {
        for _ in 0..2 {
            store.enqueue(event(function, 1_000)).await.unwrap();
        }
    }
    let mut served = Vec::new();
    for _ in 0..6 {
        let claimed = store.claim("me", Timestamp(1_000), LEASE, 1).await.unwrap();
        served.push(claimed[0].event.function.to_string());
    }
    assert_eq!(served, ["flood", "one", "two", "flood", "one", "two"]);
    let claimed = store.claim("me", Timestamp(1_000), LEASE, 1_000).await.unwrap();
    assert_eq!(claimed.len(), 48, "what is left over goes to whoever has more");
}

#[tokio::test]
async fn a_claim_keeps_its_bounds_and_passes_over_who_has_none() {
    let (_directory, opened) = engine();
    let store = &opened.store;
    for number in 0..6 {
        for function in ["busy", "blocked", "new"] {
            store.enqueue(event(function, number)).await.unwrap();
        }
    }
    let of = |events, of_one_function, named: &[(&str, usize)]| ClaimBounds {
        events,
        of_one_function,
        of_function: named.iter().map(|(function, room)| ((scope(), name(function)), *room)).collect(),
    };
    let claim = async |bounds: &ClaimBounds| {
        let claimed = store.claim_within("me", Timestamp(10), LEASE, bounds).await.unwrap();
        let mut functions: Vec<_> =
            claimed.iter().map(|claimed| claimed.event.function.as_str().to_owned()).collect();
        functions.sort();
        functions.join(" ")
    };
    let bounds = of(9, 3, &[("blocked", 0), ("busy", 1)]);
    assert_eq!(claim(&bounds).await, "busy new new new");
    assert_eq!(claim(&of(9, 0, &[("busy", 2)])).await, "busy busy");
    assert_eq!(claim(&of(1, 9, &[("blocked", 0)])).await, "new", "who was served longest ago");
    assert_eq!(claim(&of(0, 9, &[])).await, "");
    // What may not be claimed is nothing to wake up for: next is the end of a lease of another.
    let due = store.next_due_within(&of(9, 9, &[("blocked", 0), ("new", 0)])).await.unwrap();
    assert_eq!(due, Some(Timestamp(3)));
    let due = store.next_due_within(&of(9, 0, &[("new", 1)])).await.unwrap();
    assert_eq!(due, Some(Timestamp(4)));
    assert_eq!(store.next_due_within(&of(9, 0, &[])).await.unwrap(), None);
    assert_eq!(claim(&of(9, 9, &[])).await, "blocked blocked blocked blocked busy busy busy new new");
    check_counts(store, "blocked", (6, 0, 0, 6)).await;
}

#[tokio::test]
async fn a_node_that_starts_again_gives_back_its_own_claims_only() {
    let (_directory, opened) = engine();
    let store = &opened.store;
    for _ in 0..4 {
        store.enqueue(event("hello", 5)).await.unwrap();
    }
    let now = Timestamp(1_000);
    let mine = store.claim("node/1", now, LEASE, 2).await.unwrap();
    let others = store.claim("node2/1", now, LEASE, 1).await.unwrap().remove(0);
    assert_eq!(store.give_back_claims("nobody", now, LEASE).await.unwrap(), 0);
    assert_eq!(store.give_back_claims("node", Timestamp(1_500), LEASE).await.unwrap(), 2);
    assert_eq!(store.give_back_claims("node", Timestamp(1_500), LEASE).await.unwrap(), 0);
    assert_eq!(store.next_due().await.unwrap(), Some(Timestamp(5)));
    let again = store.claim("node/2", Timestamp(1_500), LEASE, 9).await.unwrap();
    assert_eq!(again.len(), 3);
    for claimed in &mine {
        assert!(!store.release(claimed.event.request_id, claimed.claim, Release::Done).await.unwrap());
        let again = again.iter().find(|again| again.event.request_id == claimed.event.request_id).unwrap();
        assert_eq!((again.event.attempts, again.claim), (0, claimed.claim + 1));
    }
    assert!(store.release(others.event.request_id, others.claim, Release::Done).await.unwrap());
    check_counts(store, "hello", (4, 1, 0, 3)).await;
}

#[tokio::test]
async fn a_function_created_again_never_sees_the_events_of_its_predecessor() {
    let (_directory, opened) = engine();
    let store = opened.store;
    store.put_version(function("hello"), Expect::Absent).await.unwrap();
    let (running, waiting, later) = (event("hello", 0), event("hello", 1), event("hello", 900_000));
    for queued in [&running, &waiting, &later] {
        store.enqueue((*queued).clone()).await.unwrap();
    }
    let claimed = store.claim("me", Timestamp(0), LEASE, 1).await.unwrap().remove(0);
    store.delete_function(&scope(), &name("hello")).await.unwrap();
    store.put_version(function("hello"), Expect::Absent).await.unwrap();
    let own = event("hello", 2);
    store.enqueue(own.clone()).await.unwrap();
    let found = store.claim("me", Timestamp(10), LEASE, 10).await.unwrap();
    assert_eq!(found.iter().map(|claimed| claimed.event.request_id).collect::<Vec<_>>(), [own.request_id]);
    check_counts(&store, "hello", (4, 0, 2, 2)).await;
    assert!(store.release(running.request_id, claimed.claim, Release::Done).await.unwrap());
    check_counts(&store, "hello", (4, 1, 2, 1)).await;
    let letters = store.dead_letters(&scope(), &name("hello"), 10).await.unwrap();
    assert!(letters.iter().all(|letter| letter.condition == "FunctionDeleted"));
    assert_eq!(letters.len(), 2);
}

#[tokio::test]
async fn a_change_wakes_whom_it_concerns_and_an_empty_claim_nobody() {
    let (_directory, opened) = engine();
    let (mut functions, mut events) = (opened.store.watch(), opened.store.watch_events());
    opened.store.enqueue(event("hello", 0)).await.unwrap();
    events.changed().await.unwrap();
    opened.store.claim("me", Timestamp(0), LEASE, 10).await.unwrap();
    events.mark_unchanged();
    assert!(opened.store.claim("me", Timestamp(0), LEASE, 10).await.unwrap().is_empty());
    opened.store.get_version(&scope(), &name("none"), VersionNumber::Latest).await.unwrap();
    // A later write proves that the empty claim's commit is over.
    opened.store.delete_function(&scope(), &name("none")).await.unwrap();
    assert!(!events.has_changed().unwrap());
    assert!(!functions.has_changed().unwrap(), "events come by the thousand");
    opened.store.put_version(function("new"), Expect::Absent).await.unwrap();
    functions.changed().await.unwrap();
    events.changed().await.unwrap();
}

#[tokio::test]
async fn a_refused_write_costs_the_others_of_its_batch_nothing() {
    let (_directory, opened) = engine();
    let store = opened.store;
    let puts = (0..200).map(|number| {
        let store = store.clone();
        // Every name twice: one of each pair is refused.
        let version = function(&format!("f-{}", number / 2));
        tokio::spawn(async move { store.put_version(version, Expect::Absent).await })
    });
    let mut refused = 0;
    for put in puts.collect::<Vec<_>>() {
        match put.await.unwrap() {
            Ok(()) => {}
            Err(StoreError::AlreadyExists(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, 100);
    assert_eq!(store.list_functions(&scope(), None, 1_000).await.unwrap().len(), 100);
}

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let (directory, opened) = engine();
    opened.store.put_version(function("hello"), Expect::Absent).await.unwrap();
    opened.store.enqueue(event("hello", 5)).await.unwrap();
    opened.ledger.append(report("hello", system_clock()().0, OutcomeStatus::Success));
    opened.logs.append(&scope(), "/aws/lambda/hello", "s", vec![(Timestamp(1), "line\n".to_owned())]);
    let digest = opened.code.put(zip_of(&[("a", b"b")])).await.unwrap();
    let locked = open(Options::new(directory.path()));
    let Err(StoreError::Locked(text)) = locked else { panic!("opened twice") };
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    drop(opened);

    let opened = open(Options::new(directory.path())).unwrap();
    assert_eq!(opened.store.list_functions(&scope(), None, 10).await.unwrap().len(), 1);
    assert_eq!(opened.store.next_due().await.unwrap(), Some(Timestamp(5)));
    assert_eq!(opened.ledger.recent(&scope(), "hello", 10).await.unwrap().len(), 1);
    assert_eq!(opened.logs.streams(&scope(), "/aws/lambda/hello").await.unwrap()[0].name, "s");
    assert!(opened.code.get(&digest).await.unwrap().is_some());
}
