//! Who polls a mapping: a lease in the store, so that two processes on one store poll each mapping once.
//!
//! A process that comes back under its name has its leases at once; another one when they have run out.

use lamplight_model::{Scope, Timestamp};
use lamplight_store::{Document, Expect, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Kind of the documents that hold leases; their keys are those of the mappings.
const KIND: &str = "event-source-mapping-claim";
/// How long a lease lasts.
pub const LEASE: Duration = Duration::from_secs(120);
/// After which time it is taken again.
pub const RENEWAL: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Claim {
    owner: String,
    lease_until: Timestamp,
    revision_id: String,
}

/// Whether `owner` may take a mapping that is claimed so.
fn is_free(claim: &Claim, owner: &str, now: Timestamp) -> bool {
    claim.owner == owner || claim.lease_until <= now
}

/// Takes a mapping, or goes on having it. `None`: another has it; else until when.
pub async fn take(
    store: &dyn Store,
    scope: &Scope,
    uuid: &str,
    owner: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let failed = |error| StoreError::Failed {
        doing: format!("failed to read the claim of mapping {uuid}"),
        source: Box::new(error),
    };
    let expect = match store.get_document(scope, KIND, uuid).await? {
        None => Expect::Absent,
        Some(document) => {
            let claim: Claim = serde_json::from_value(document.value).map_err(failed)?;
            if !is_free(&claim, owner, now) {
                return Ok(None);
            }
            Expect::Revision(claim.revision_id)
        }
    };
    let lease_until = now.plus(LEASE);
    let claim = Claim { owner: owner.to_owned(), lease_until, revision_id: uuid::Uuid::new_v4().to_string() };
    let document = Document { key: uuid.to_owned(), value: serde_json::to_value(claim).map_err(failed)? };
    match store.put_document(scope, KIND, document, expect).await {
        Ok(()) => Ok(Some(lease_until)),
        Err(StoreError::AlreadyExists(_) | StoreError::RevisionMismatch(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives a mapping up: anybody may take it.
pub async fn release(store: &dyn Store, scope: &Scope, uuid: &str) -> Result<(), StoreError> {
    store.delete_document(scope, KIND, uuid).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_store::{Options, open};

    #[tokio::test]
    async fn one_of_two_processes_has_a_mapping() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(Options::new(directory.path())).unwrap().store;
        let scope = Scope::default();
        let take = async |owner: &str, now: i64| {
            take(&*store, &scope, "u", owner, Timestamp(now)).await.unwrap().map(|until| until.0)
        };
        let lease = i64::try_from(LEASE.as_millis()).unwrap();
        assert_eq!(take("a", 0).await, Some(lease));
        assert_eq!(take("b", lease - 1).await, None);
        assert_eq!(take("a", 1_000).await, Some(lease + 1_000), "it goes on having it");
        assert_eq!(take("b", lease).await, None);
        assert_eq!(take("b", lease + 1_000).await, Some(2 * lease + 1_000), "the lease has run out");
        assert_eq!(take("a", lease + 2_000).await, None);
        release(&*store, &scope, "u").await.unwrap();
        assert_eq!(take("a", lease + 2_000).await, Some(2 * lease + 2_000));
    }

    #[test]
    fn who_may_take_a_mapping() {
        let claim = Claim { owner: "a".to_owned(), lease_until: Timestamp(10), revision_id: String::new() };
        assert!(is_free(&claim, "a", Timestamp(0)));
        assert!(!is_free(&claim, "b", Timestamp(9)));
        assert!(is_free(&claim, "b", Timestamp(10)));
    }
}
