//! What must be done from time to time: old logs, old dead letters, unreferenced code and secrets past their time go, instances of deleted functions stop.

use lamplight_api::ApiState;
use lamplight_model::{Scope, Timestamp};
use lamplight_pool::Pool;
use lamplight_store::{CodeStore, Forgotten, Opened, Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Functions looked at after a start: there are only so many kinds of interpreters to get ready.
const EXPECTED_FUNCTIONS: usize = 256;
/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(3_600);

/// Deletes what is too old or unreferenced, once an hour.
pub async fn collect(
    opened: Opened,
    pool: Arc<Pool>,
    clock: lamplight_store::Clock,
    dead_letters: Duration,
    stop: CancellationToken,
) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        match opened.logs.retain(clock()).await {
            Ok(0) => {}
            Ok(bytes) => tracing::info!(bytes, "deleted old logs"),
            Err(error) => tracing::warn!(%error, "failed to delete old logs"),
        }
        forget_dead_letters(&*opened.store, clock(), dead_letters).await;
        match collect_code(&*opened.store, &*opened.code, &pool).await {
            Ok(0) => {}
            Ok(bytes) => tracing::info!(bytes, "deleted unreferenced code"),
            Err(error) => tracing::warn!(%error, "failed to delete unreferenced code"),
        }
    }
}

/// Forgets events that were given up longer than `kept` ago, and queues of deleted functions.
async fn forget_dead_letters(store: &dyn Store, now: Timestamp, kept: Duration) {
    let kept_ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    let before = Timestamp(now.as_millis().saturating_sub(kept_ms));
    let mut forgotten = Forgotten::default();
    loop {
        match store.forget_dead_letters(before).await {
            Ok(nothing) if nothing == Forgotten::default() => break,
            Ok(more) => {
                forgotten.letters += more.letters;
                forgotten.steps += more.steps;
                forgotten.queues += more.queues;
            }
            Err(error) => {
                tracing::warn!(%error, "failed to forget old dead letters");
                break;
            }
        }
    }
    if forgotten != Forgotten::default() {
        let Forgotten { letters, steps, queues, .. } = forgotten;
        tracing::info!(letters, steps, queues, "forgot events that were given up long ago");
    }
}

/// Takes secrets and sessions whose time is over off the disk, once an hour.
pub async fn forget_expired(state: Arc<ApiState>, stop: CancellationToken) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        match lamplight_api::forget_expired(&state).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "deleted secrets and sessions whose time is over"),
            Err(error) => tracing::warn!(%error, "failed to delete secrets and sessions whose time is over"),
        }
    }
}

/// After a start, gets ready for the first calls of the functions that are there.
pub async fn expect_calls(store: Arc<dyn Store>, pool: Arc<Pool>) {
    match store.list_functions(&Scope::default(), None, EXPECTED_FUNCTIONS).await {
        Ok(functions) => functions.iter().for_each(|version| pool.expect(version)),
        Err(error) => {
            tracing::warn!(%error, "failed to read the functions, their first calls start from nothing")
        }
    }
}

async fn collect_code(store: &dyn Store, code: &dyn CodeStore, pool: &Pool) -> Result<u64, StoreError> {
    // An instance may still run what no version refers to any more. Asked before the store: an instance that
    // starts meanwhile is of a version that the store knows.
    let mounted =
        pool.snapshot().versions.into_iter().flat_map(|version| version.packages).collect::<Vec<_>>();
    let mut referenced = store.referenced_code().await?;
    referenced.extend(mounted);
    code.collect(&referenced).await
}

/// Stops the instances of versions that were deleted and of older revisions, and keeps them from being started ahead.
pub async fn retire_deleted(store: Arc<dyn Store>, pool: Arc<Pool>, stop: CancellationToken) {
    let mut changes = store.watch();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
        let in_use: BTreeSet<_> = pool
            .versions_in_use()
            .into_iter()
            .map(|version| (version.scope.clone(), version.name.clone(), version.version))
            .collect();
        for (scope, name, version) in in_use {
            match store.get_version(&scope, &name, version).await {
                Ok(Some(stored)) => pool.renew(&stored),
                Ok(None) => pool.discard_version(&scope, &name, version),
                Err(error) => tracing::warn!(%error, "failed to look for deleted functions"),
            }
        }
    }
}
