//! Code packages: what is taken, what is refused and with which words, and that nothing ever escapes.

#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

mod common;

use bytes::Bytes;
use common::*;
use lamplight_model::{CodeDigest, ErrorCode, Timestamp};
use lamplight_store::*;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const NOT_A_ZIP: &str = "Could not unzip uploaded file. Please check your file, then try to upload again.";

fn store() -> (tempfile::TempDir, Opened) {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(Options::new(directory.path())).unwrap();
    (directory, opened)
}

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    content: &'a [u8],
}

/// A ZIP whose names and modes are written as given, whatever they are: each entry under a placeholder of the
/// same length, replaced in the bytes afterwards (the writer refuses what we want to test).
fn raw_zip(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let placeholder = |at: usize, length: usize| format!("{:Q>length$}", format!("Z{at}"));
    for (at, entry) in entries.iter().enumerate() {
        assert!(entry.name.len() >= 3, "names must leave room for the placeholder");
        let options = SimpleFileOptions::default().unix_permissions(0o7654);
        writer.start_file(placeholder(at, entry.name.len()), options).unwrap();
        writer.write_all(entry.content).unwrap();
    }
    let mut bytes = writer.finish().unwrap().into_inner();
    for (at, entry) in entries.iter().enumerate() {
        let from = placeholder(at, entry.name.len());
        while let Some(position) = bytes.windows(from.len()).position(|window| window == from.as_bytes()) {
            bytes[position..position + from.len()].copy_from_slice(entry.name.as_bytes());
            // In the central record the external attributes end eight bytes before the name.
            if position >= 46 && bytes[position - 46..].starts_with(b"PK\x01\x02") {
                bytes[position - 8..position - 4].copy_from_slice(&(entry.mode << 16).to_le_bytes());
            }
        }
    }
    bytes
}

async fn check_refused(zip: Vec<u8>, expected: &str) {
    let (directory, opened) = store();
    let error = opened.code.put(Bytes::from(zip)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidParameterValueException);
    assert!(error.message.contains(expected), "{}", error.message);
    for part in ["zip", "unpacked", "temporary"] {
        let left = std::fs::read_dir(directory.path().join("code").join(part)).unwrap().count();
        assert_eq!(left, 0, "{part} holds something after a refusal");
    }
}

#[tokio::test]
async fn what_is_no_zip_is_refused_with_the_words_of_aws() {
    for bytes in [&b""[..], b"hello", b"PK\x05\x06", &[0; 4096]] {
        let (_directory, opened) = store();
        let error = opened.code.put(Bytes::copy_from_slice(bytes)).await.unwrap_err();
        assert_eq!(error.message, NOT_A_ZIP);
    }
    let whole = zip_of(&[("app.py", b"x"), ("b.py", b"y")]);
    check_refused(whole[..whole.len() - 10].to_vec(), NOT_A_ZIP).await;
}

#[tokio::test]
async fn paths_that_leave_the_package_are_refused() {
    let check = async |name: &str, expected: &str| {
        check_refused(raw_zip(&[Entry { name, mode: 0o100644, content: b"x" }]), expected).await;
    };
    check("/etc/evil", "absolute path").await;
    check("../evil", "leaves the package").await;
    check("a/../../evil", "leaves the package").await;
    check("a/..", "leaves the package").await;
    check("a\\..\\evil", "backslash").await;
    check("a\0b", "NUL").await;
    check(&"x".repeat(256), "too long").await;
    check(&"x/".repeat(2_000), "too long").await;
}

#[tokio::test]
async fn entries_that_are_no_files_or_come_twice_are_refused() {
    for mode in [0o020644, 0o060644, 0o010644, 0o140644] {
        check_refused(raw_zip(&[Entry { name: "device", mode, content: b"" }]), "is a device").await;
    }
    let file = |name| Entry { name, mode: 0o100644, content: b"x" };
    check_refused(raw_zip(&[file("same"), file("same")]), "two entries of one name").await;
    check_refused(raw_zip(&[file("same"), file("./same")]), "twice").await;
    check_refused(raw_zip(&[file("file"), file("file/below")]), "beneath a file").await;
    check_refused(raw_zip(&[file("file/below"), file("file")]), "twice").await;
}

#[tokio::test]
async fn links_may_stay_inside_and_nothing_else() {
    let link = |name, content| Entry { name, mode: 0o120777, content };
    let file = |name| Entry { name, mode: 0o100644, content: b"x" };
    check_refused(raw_zip(&[link("link", b"/etc/passwd")]), "absolute").await;
    check_refused(raw_zip(&[link("link", b"../outside")]), "leaves the package").await;
    check_refused(raw_zip(&[link("link", b"")]), "or to none").await;
    check_refused(raw_zip(&[link("loop", b"loop")]), "leaves the package").await;
    check_refused(raw_zip(&[link("link", &[b'a'; 5_000])]), "too long").await;
    check_refused(raw_zip(&[link("link", b"dir"), file("link/evil")]), "beneath a file or a link").await;
    // Lexically `d/e/up/..` is `d/e`; the kernel goes to the package's root and one further.
    let by_steps = [file("d/e/file"), link("d/e/up", b"../.."), link("out", b"d/e/up/..")];
    check_refused(raw_zip(&by_steps), "leaves the package").await;

    let (directory, opened) = store();
    let good = [
        file("d/e/file"),
        link("d/e/up", b"../.."),
        link("near", b"d/e/up/d/e/file"),
        link("dangling", b"no"),
    ];
    let digest = opened.code.put(raw_zip(&good).into()).await.unwrap();
    let tree = directory.path().join("code/unpacked").join(opened.code.unpacked(&digest).await.unwrap());
    assert_eq!(std::fs::read(tree.join("near")).unwrap(), b"x");
}

#[tokio::test]
async fn a_bomb_is_refused_before_it_fills_anything() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("zeros", SimpleFileOptions::default()).unwrap();
    let block = vec![0u8; 1 << 20];
    for _ in 0..251 {
        writer.write_all(&block).unwrap();
    }
    let mut bytes = writer.finish().unwrap().into_inner();
    let text = "Unzipped size must be smaller than 262144000 bytes";
    check_refused(bytes.clone(), text).await;
    // The same with a lie about its size: only reading finds out.
    let central = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes[central + 24..central + 28].copy_from_slice(&100u32.to_le_bytes());
    let (directory, opened) = store();
    assert!(opened.code.put(bytes.into()).await.is_err());
    assert!(files_below(&directory.path().join("code")).is_empty());
}

#[tokio::test]
async fn millions_of_entries_are_refused_before_they_are_indexed() {
    let record = {
        let zip = zip_of(&[("a", b"")]);
        let start = zip.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        zip[start..start + 47].to_vec()
    };
    check_refused(record.repeat(100_001), "more than 100000").await;
}

#[tokio::test]
async fn modes_are_normalised_and_content_is_kept() {
    let (directory, opened) = store();
    let zip: Bytes = raw_zip(&[
        Entry { name: "bootstrap", mode: 0o104711, content: b"#!/bin/sh" },
        Entry { name: "./lib//data.txt", mode: 0o100200, content: b"data" },
        Entry { name: "empty/", mode: 0o040000, content: b"" },
    ])
    .into();
    let digest = opened.code.put(zip.clone()).await.unwrap();
    assert_eq!(opened.code.put(zip.clone()).await.unwrap(), digest);
    assert_eq!(opened.code.get(&digest).await.unwrap().unwrap(), zip);
    assert_eq!(opened.code.unpacked(&digest).await.unwrap(), digest.as_str());
    let tree = directory.path().join("code/unpacked").join(digest.as_str());
    let mode = |path: &str| tree.join(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode(""), mode("bootstrap"), mode("lib"), mode("empty")], [0o755; 4]);
    assert_eq!(mode("lib/data.txt"), 0o644);
    assert_eq!(std::fs::read(tree.join("lib/data.txt")).unwrap(), b"data");

    // A tree that was lost comes back from the ZIP; a damaged ZIP does not become code.
    std::fs::remove_dir_all(&tree).unwrap();
    opened.code.unpacked(&digest).await.unwrap();
    assert_eq!(std::fs::read(tree.join("lib/data.txt")).unwrap(), b"data");
    std::fs::remove_dir_all(&tree).unwrap();
    let stored = directory.path().join(format!("code/zip/{}.zip", digest.as_str()));
    std::fs::write(&stored, zip_of(&[("other", b"")])).unwrap();
    assert!(opened.code.unpacked(&digest).await.is_err());
    assert!(matches!(
        opened.code.unpacked(&CodeDigest::from_bytes(&[0; 32])).await,
        Err(StoreError::NotFound(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_package_may_come_many_times_at_once() {
    let (directory, opened) = store();
    let zip = zip_of(&[("app.py", &[b'x'; 100_000]), ("b/c.py", b"y")]);
    let puts: Vec<_> = (0..16)
        .map(|_| {
            let (code, zip) = (opened.code.clone(), zip.clone());
            tokio::spawn(async move { code.put(zip).await })
        })
        .collect();
    for put in puts {
        put.await.unwrap().unwrap();
    }
    assert_eq!(std::fs::read_dir(directory.path().join("code/temporary")).unwrap().count(), 0);
    assert_eq!(files_below(&directory.path().join("code/unpacked")).len(), 2);
}

#[tokio::test]
async fn collection_takes_what_nobody_refers_to_and_is_older_than_an_hour() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(1_800_000_000_000));
    let opened = open_at(directory.path(), &clock);
    let kept = opened.code.put(zip_of(&[("kept", b"")])).await.unwrap();
    let old = opened.code.put(zip_of(&[("old", b"")])).await.unwrap();
    let again = opened.code.put(zip_of(&[("again", b"")])).await.unwrap();
    assert_eq!(opened.code.collect(&[]).await.unwrap(), 0, "all are young");
    clock.fetch_add(3_600_001, Ordering::SeqCst);
    opened.code.put(zip_of(&[("again", b"")])).await.unwrap();
    assert_eq!(opened.code.collect(std::slice::from_ref(&kept)).await.unwrap(), 1);
    assert!(opened.code.get(&old).await.unwrap().is_none());
    assert!(opened.code.unpacked(&old).await.is_err());
    assert!(opened.code.get(&again).await.unwrap().is_some());
    assert!(opened.code.get(&kept).await.unwrap().is_some());
}

#[tokio::test]
async fn a_renewed_package_is_measured_and_young_again() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(1_800_000_000_000));
    let opened = open_at(directory.path(), &clock);
    let zip = zip_of(&[("bootstrap", &[b'x'; 1_000]), ("a/b/c.py", b"yy"), ("empty", b"")]);
    let digest = opened.code.put(zip).await.unwrap();
    let tree = directory.path().join("code/unpacked").join(digest.as_str());
    assert!(opened.code.has_file(&digest, "bootstrap"));
    let mut names = opened.code.file_names(&digest, ".");
    names.sort();
    assert!(names.contains(&"bootstrap".to_owned()) && !names.contains(&"a".to_owned()), "{names:?}");
    assert!(opened.code.file_names(&digest, "missing").is_empty());
    assert!(!opened.code.has_file(&digest, "a") && !opened.code.has_file(&digest, "missing"));
    clock.fetch_add(2 * 3_600_000, Ordering::SeqCst);
    assert_eq!(opened.code.renew(&digest).await.unwrap(), 1_002);
    assert_eq!(opened.code.collect(&[]).await.unwrap(), 0);
    // Also one whose tree was lost.
    std::fs::remove_dir_all(&tree).unwrap();
    clock.fetch_add(2 * 3_600_000, Ordering::SeqCst);
    assert_eq!(opened.code.renew(&digest).await.unwrap(), 1_002);
    assert_eq!(opened.code.collect(&[]).await.unwrap(), 0);
    clock.fetch_add(2 * 3_600_000, Ordering::SeqCst);
    assert_eq!(opened.code.collect(&[]).await.unwrap(), 1);
    assert!(matches!(opened.code.renew(&digest).await, Err(StoreError::NotFound(_))));
    assert!(!opened.code.has_file(&digest, "bootstrap"));
}

#[tokio::test]
async fn what_was_compiled_of_a_package_lives_as_long() {
    let clock = Arc::new(AtomicI64::new(1_000_000_000_000));
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path());
    let now = clock.clone();
    options.clock = Arc::new(move || Timestamp(now.load(Ordering::Relaxed)));
    let opened = open(options).unwrap();
    let file = |content: &'static [u8]| {
        Bytes::from(raw_zip(&[Entry { name: "task/app.pyc", mode: 0o100_600, content }]))
    };
    let digest = opened.code.put(file(b"code")).await.unwrap();
    let other = CodeDigest::from_bytes(&[7; 32]);
    assert_eq!(opened.code.compiled(&digest, "python-3.11.7"), None);
    opened.code.put_compiled(&digest, "python-3.11.7", file(b"byte code")).await.unwrap();
    let name = opened.code.compiled(&digest, "python-3.11.7").unwrap();
    let path = directory.path().join("code/unpacked").join(&name);
    assert_eq!(std::fs::read(path.join("task/app.pyc")).unwrap(), b"byte code");
    assert_eq!(opened.code.compiled(&digest, "python-3.12.1"), None);
    assert!(opened.code.put_compiled(&other, "python-3.11.7", file(b"x")).await.is_err(), "no such package");
    assert!(opened.code.put_compiled(&digest, "../../x", file(b"x")).await.is_err(), "no name");
    let escaping = raw_zip(&[Entry { name: "../../../x", mode: 0o100_644, content: b"x" }]);
    assert!(opened.code.put_compiled(&digest, "python-3.12.1", escaping.into()).await.is_err());
    assert_eq!(opened.code.compiled(&digest, "python-3.12.1"), None);
    opened.code.collect(std::slice::from_ref(&digest)).await.unwrap();
    assert!(path.is_dir());
    clock.fetch_add(10_000_000_000, Ordering::Relaxed);
    assert_eq!(opened.code.collect(&[]).await.unwrap(), 1);
    assert!(!path.exists());
}

#[tokio::test]
async fn all_packages_together_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path());
    options.code_bytes = 1_000;
    options.clock = Arc::new(|| Timestamp(0));
    let opened = open(options).unwrap();
    let noise: Vec<u8> = (0..700u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    opened.code.put(zip_of(&[("first", &noise)])).await.unwrap();
    let error = opened.code.put(zip_of(&[("second", &noise)])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::CodeStorageExceededException);
    opened.code.put(zip_of(&[("first", &noise)])).await.unwrap();
}

/// Everything below `root` lies inside it, links included; nothing else appeared beside it.
fn assert_contained(root: &Path) {
    let root = root.canonicalize().unwrap();
    let mut ahead = vec![root.clone()];
    while let Some(directory) = ahead.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            assert!(kind.is_dir() || kind.is_file() || kind.is_symlink(), "{:?}", entry.path());
            if kind.is_dir() {
                ahead.push(entry.path());
            } else if let Ok(target) = entry.path().canonicalize() {
                assert!(target.starts_with(&root), "{:?} -> {target:?}", entry.path());
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(
        if std::env::var_os("LAMPLIGHT_LONG").is_some() { 20_000 } else { 400 }
    ))]

    /// Damaged archives are refused or unpacked inside their directory; the reader never panics.
    #[test]
    fn mutated_archives_never_escape(
        changes in proptest::collection::vec((0usize..100_000, proptest::prelude::any::<u8>()), 0..12),
        cut in proptest::option::of(0usize..2_000),
        swap in proptest::option::of(("[a-z./\\\\]{3,6}", 0usize..6)),
    ) {
        let names = ["app.py", "dir/mod.py", "link", "dir/bin", "../up", "dir/li"];
        let entries: Vec<Entry<'_>> = names.iter().enumerate().filter(|(at, _)| *at != 4).map(|(at, name)| {
            let link = name.contains("li");
            Entry { name, mode: if link { 0o120777 } else { 0o100755 }, content: if link { b"dir/mod.py" } else { &b"0123456789"[..at] } }
        }).collect();
        let mut bytes = raw_zip(&entries);
        if let Some((text, at)) = swap {
            let from = names[at].as_bytes();
            let length = from.len().min(text.len());
            while let Some(position) = bytes.windows(from.len()).position(|window| window == from) {
                bytes[position..position + length].copy_from_slice(&text.as_bytes()[..length]);
                if bytes[position..].starts_with(from) { break; }
            }
        }
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut);
        }
        let outer = tempfile::tempdir().unwrap();
        let target = outer.path().join("package");
        std::fs::create_dir(&target).unwrap();
        let _ = lamplight_store::code::package::unpack(&bytes, &target);
        assert_contained(&target);
        assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1);
    }
}
