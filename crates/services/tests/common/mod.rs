//! What the tests of the object store share.
#![allow(dead_code)] // Each test program uses its part.
#![allow(clippy::unwrap_used)] // A helper that fails is a failed test.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lamplight_model::Scope;
use lamplight_services::objects::*;
use lamplight_store::{DataDirectory, system_clock};
use md5::{Digest as _, Md5};
use std::path::{Path, PathBuf};

/// Opens the object store of a data directory.
pub fn open(directory: &Path, bounds: Bounds) -> ObjectStore {
    ObjectStore::open(&DataDirectory::take(directory).unwrap(), bounds, system_clock()).unwrap()
}

/// Its bucket, made when absent.
pub async fn bucket(store: &ObjectStore) -> Bucket {
    match store.bucket("bucket").await {
        Ok(bucket) => bucket,
        Err(_) => store.create_bucket(&Scope::default(), "bucket").await.unwrap(),
    }
}

/// A body in pieces.
pub fn body(bytes: &[u8]) -> Body {
    let pieces: Vec<_> = bytes.chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Box::pin(stream::iter(pieces))
}

pub async fn put(
    store: &ObjectStore,
    bucket: &Bucket,
    key: &str,
    bytes: &[u8],
) -> Result<Object, ObjectError> {
    let (description, conditions) = (Description::default(), WriteConditions::default());
    store.put(bucket, key, description, conditions, Integrity::default(), body(bytes)).await
}

pub async fn get(store: &ObjectStore, bucket: &Bucket, key: &str) -> Option<(Object, Vec<u8>)> {
    match store.open_object(bucket, key).await {
        Ok(open) => {
            let object = open.object.clone();
            let pieces: Vec<_> = open.read(0..object.size).collect().await;
            let pieces: Vec<Bytes> = pieces.into_iter().map(Result::unwrap).collect();
            Some((object, pieces.concat()))
        }
        Err(ObjectError::NoSuchKey) => None,
        Err(error) => panic!("{error}"),
    }
}

pub async fn delete(store: &ObjectStore, bucket: &Bucket, key: &str) {
    for result in store.delete(bucket, vec![(key.to_owned(), WriteConditions::default())]).await.unwrap() {
        result.unwrap();
    }
}

pub fn digest(bytes: &[u8]) -> String {
    checksum::hexadecimal(&Md5::digest(bytes))
}

/// Every file of content or on its way in.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory.join("objects")).unwrap().chain(shards(directory)) {
        let path = entry.unwrap().path();
        if path.is_file() {
            found.push(path);
        }
    }
    for entry in std::fs::read_dir(directory.join("objects/incoming")).unwrap() {
        found.push(entry.unwrap().path());
    }
    found
}

fn shards(directory: &Path) -> impl Iterator<Item = std::io::Result<std::fs::DirEntry>> {
    let shards = std::fs::read_dir(directory.join("objects/content")).unwrap();
    shards.flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap())
}
