//! Brings functions from `Pending` to `Active`, and updates from `InProgress` to `Successful`.
//!
//! The front door writes a function down with an unfinished lifecycle; this task, woken by the store's watch and
//! at start for what a crash left behind, makes the code present and writes the result back.
//!
//! The revision id stays the same in these writes. AWS gives a new one (its `RevisionId` changes when the state
//! does); here that would make a caller's own create-then-update, or the pool's idea of which instances are
//! current, fail by a race the caller cannot see.

use crate::invoker::ErrorChain;
use lamplight_model::function::{FunctionState, Lifecycle, UpdateStatus};
use lamplight_model::{FunctionName, FunctionVersion, Scope, VersionNumber};
use lamplight_store::{CodeStore, Expect, Store, StoreError};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Told of every version that is about to be `Active`: the node gets ready for its first call. Gives a warning when the
/// interpreter of its runtime is absent on this host.
pub type GetReady = Arc<dyn Fn(&FunctionVersion) -> Option<String> + Send + Sync>;

/// Functions whose code is made present at the same time.
const PARALLEL_FUNCTIONS: usize = 8;
/// Delays between tries while storage refuses.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

type Key = (Scope, FunctionName, VersionNumber);

/// Converges all functions until `stop`. One such task per node; spawn it.
pub async fn converge_functions(
    store: Arc<dyn Store>,
    code: Arc<dyn CodeStore>,
    get_ready: GetReady,
    stop: CancellationToken,
) {
    let mut changes = store.watch();
    let mut working: JoinSet<Key> = JoinSet::new();
    let mut keys: HashSet<Key> = HashSet::new();
    let mut retry_delay = RETRY_DELAYS.0;
    loop {
        changes.borrow_and_update();
        let unfinished = match store.unfinished_functions().await {
            Ok(unfinished) => {
                retry_delay = RETRY_DELAYS.0;
                unfinished
            }
            Err(error) => {
                warn!(error = %ErrorChain(&error), "failed to read unfinished functions, trying again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(retry_delay) => {}
                }
                retry_delay = (retry_delay * 2).min(RETRY_DELAYS.1);
                continue;
            }
        };
        let mut left_out = false;
        for version in unfinished {
            let key = (version.scope.clone(), version.name.clone(), version.version);
            if keys.contains(&key) {
                continue;
            }
            if keys.len() >= PARALLEL_FUNCTIONS {
                left_out = true;
                break;
            }
            keys.insert(key.clone());
            let (store, code) = (Arc::clone(&store), Arc::clone(&code));
            let get_ready = Arc::clone(&get_ready);
            working.spawn(async move {
                converge(&*store, &*code, &get_ready, &key).await;
                key
            });
        }
        tokio::select! {
            () = stop.cancelled() => return,
            // With all places taken a change brings nothing that could be begun.
            changed = changes.changed(), if !left_out => if changed.is_err() { return },
            Some(ended) = working.join_next() => match ended {
                Ok(key) => { keys.remove(&key); }
                Err(panic) => {
                    // Which one it was is unknown; beginning one twice is harmless, forgetting one is not.
                    error!(error = %panic, "the convergence of a function broke off");
                    keys.clear();
                }
            },
        }
    }
}

/// Works on one version until it is finished, whoever finishes it.
async fn converge(
    store: &dyn Store,
    code: &dyn CodeStore,
    get_ready: &GetReady,
    (scope, name, number): &Key,
) {
    let (mut delay, longest) = RETRY_DELAYS;
    loop {
        let failure = match store.get_version(scope, name, *number).await {
            Ok(Some(version)) if is_unfinished(&version.lifecycle) => {
                match finish(store, code, get_ready, &version).await {
                    Ok(()) => return,
                    // Changed while the code was made present: look at what it is now.
                    Err(StoreError::RevisionMismatch(_)) => continue,
                    Err(error) => error,
                }
            }
            Ok(_) => return,
            Err(error) => error,
        };
        warn!(function = %name, version = %number, error = %ErrorChain(&failure), "failed to finish a function, trying again");
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(longest);
    }
}

async fn finish(
    store: &dyn Store,
    code: &dyn CodeStore,
    get_ready: &GetReady,
    version: &Arc<FunctionVersion>,
) -> Result<(), StoreError> {
    let mut unpacked = Ok(());
    for package in version.packages() {
        match code.unpacked(package).await {
            Ok(_) => {}
            // The package is gone for good; anything else may pass, so it is tried again.
            Err(StoreError::NotFound(what)) => {
                unpacked = Err(format!("The code package is missing: {what} does not exist."));
            }
            Err(error) => return Err(error),
        }
    }
    let mut finished = FunctionVersion::clone(version);
    finished.lifecycle = finished_lifecycle(&version.lifecycle, unpacked, get_ready(version));
    let lifecycle = finished.lifecycle.clone();
    store.put_version(finished, Expect::Revision(version.revision_id.clone())).await?;
    // Read once, so that the first call finds it in memory. Whatever goes wrong here goes wrong again there.
    let _ = store.get_version(&version.scope, &version.name, version.version).await;
    info!(
        function = %version.name, version = %version.version, state = ?lifecycle.state,
        reason = lifecycle.state_reason.as_deref(), "finished a function"
    );
    Ok(())
}

/// Whether there is still something to do.
pub fn is_unfinished(lifecycle: &Lifecycle) -> bool {
    lifecycle.state == FunctionState::Pending
        || lifecycle.last_update_status == Some(UpdateStatus::InProgress)
}

/// The lifecycle after the code was made present, or could not be.
///
/// `warning` becomes `StateReason` of a function that is `Active`: it can be invoked once its interpreter is
/// there, and `Failed` would need an update to leave.
fn finished_lifecycle(
    before: &Lifecycle,
    unpacked: Result<(), String>,
    warning: Option<String>,
) -> Lifecycle {
    match unpacked {
        Ok(()) => Lifecycle {
            state: FunctionState::Active,
            state_reason: warning,
            state_reason_code: None,
            last_update_status: Some(UpdateStatus::Successful),
            last_update_status_reason: None,
            last_update_status_reason_code: None,
        },
        Err(reason) => {
            let code = "InternalError".to_owned();
            let state_failed = before.state == FunctionState::Pending;
            Lifecycle {
                state: if state_failed { FunctionState::Failed } else { before.state },
                state_reason: if state_failed { Some(reason.clone()) } else { before.state_reason.clone() },
                state_reason_code: if state_failed {
                    Some(code.clone())
                } else {
                    before.state_reason_code.clone()
                },
                last_update_status: Some(UpdateStatus::Failed),
                last_update_status_reason: Some(reason),
                last_update_status_reason_code: Some(code),
            }
        }
    }
}
