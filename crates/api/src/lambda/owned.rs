//! Configurations that are kept beside a function, a version or an alias, as the front door uses them.
//!
//! `find` is how every operation here asks whether a qualifier exists. What is stored goes with its function (see
//! `lamplight_store::function_documents`).

use crate::http::{ApiError, Context, page};
use crate::lambda::functions::marker;
use crate::lambda::reference::Target;
use crate::state::ApiState;
use lamplight_model::function::FunctionMarks;
use lamplight_model::{FunctionVersion, Qualifier};
use lamplight_store::function_documents::{self, Owner};
use lamplight_store::{Expect, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// How often a change of marks is tried again when something else changed them meanwhile.
const ATTEMPTS: usize = 8;

/// 404 in the words that most of these operations have.
pub fn absent() -> ApiError {
    ApiError::not_found("The resource you requested does not exist.")
}

/// What a function that keeps tenants apart cannot have: nobody says there whose event it is. AWS's text is not published.
/// Source: Lambda developer guide, "Tenant isolation", limitations.
pub fn not_for_tenants(what: &str) -> ApiError {
    ApiError::invalid_parameter(format!(
        "{what} is not supported for functions enabled with tenancy configuration."
    ))
}

/// The version that is meant, through an alias, too; `None` when there is no such function, version or alias.
pub async fn find(state: &ApiState, target: &Target) -> Result<Option<Arc<FunctionVersion>>, ApiError> {
    match target.load(state).await {
        Ok(version) => Ok(Some(version)),
        Err(error) if error.code == "ResourceNotFoundException" => Ok(None),
        Err(error) => Err(error),
    }
}

/// As `find`. Fails with `ResourceNotFoundException`, for an alias in the words of the operations on aliases.
pub async fn existing(state: &ApiState, target: &Target) -> Result<Arc<FunctionVersion>, ApiError> {
    match (find(state, target).await?, &target.qualifier) {
        (Some(version), _) => Ok(version),
        (None, Some(Qualifier::Alias(_))) => {
            let function = Target { qualifier: None, ..target.clone() };
            function.load(state).await?;
            Err(ApiError::not_found(format!("Cannot find alias arn: {}", target.arn())))
        }
        (None, _) => Err(target.not_found()),
    }
}

/// The revision of the alias that was named, else that of the version that was found.
pub async fn revision(
    state: &ApiState,
    target: &Target,
    found: &FunctionVersion,
) -> Result<String, ApiError> {
    if let Some(Qualifier::Alias(name)) = &target.qualifier
        && let Some(alias) = state.store.get_alias(&target.scope, &target.name, name).await?
    {
        return Ok(alias.revision_id.clone());
    }
    Ok(found.revision_id.clone())
}

fn owner(target: &Target) -> Owner<'_> {
    Owner { scope: &target.scope, function: &target.name, qualifier: target.qualifier.as_ref() }
}

/// What is stored of this kind for a target.
pub async fn get<T: DeserializeOwned>(
    state: &ApiState,
    kind: &str,
    target: &Target,
) -> Result<Option<T>, ApiError> {
    Ok(function_documents::get(&*state.store, kind, owner(target)).await?)
}

/// Stores in the place of what is there.
pub async fn put<T: Serialize>(
    state: &ApiState,
    kind: &str,
    target: &Target,
    content: &T,
) -> Result<(), ApiError> {
    Ok(function_documents::put(&*state.store, kind, owner(target), content, Expect::Anything).await?)
}

/// Takes away what is stored. `false` when there was nothing.
pub async fn delete(state: &ApiState, kind: &str, target: &Target) -> Result<bool, ApiError> {
    Ok(function_documents::delete(&*state.store, kind, owner(target)).await?)
}

/// One page of what is stored for a function and its qualifiers, and the `NextMarker`.
pub async fn page<T: DeserializeOwned>(
    state: &ApiState,
    context: &Context,
    kind: &str,
    target: &Target,
    limit: usize,
) -> Result<(Vec<(Qualifier, T)>, Option<String>), ApiError> {
    let after: Option<Qualifier> = marker(context, kind)?;
    // One more than asked for says whether there is a next page.
    let (scope, name) = (&target.scope, &target.name);
    let rows = function_documents::list(&*state.store, kind, scope, name, after.as_ref(), limit + 1);
    let mut rows = rows.await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(qualifier, _)| page::token(kind, qualifier));
    Ok((rows, next))
}

/// Changes the marks of a function: its tags, its code-signing configuration.
///
/// Fails with `ResourceNotFoundException`, with what `change` fails with, and with `ResourceConflictException` when others
/// changed them at every try.
pub async fn change_marks(
    state: &ApiState,
    target: &Target,
    change: impl Fn(&mut FunctionMarks) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    for _ in 0..ATTEMPTS {
        let seen = target.load(state).await?.marks();
        let mut marks = seen.clone();
        change(&mut marks)?;
        match state.store.put_marks(&target.scope, &target.name, seen, marks).await {
            Ok(()) => return Ok(()),
            Err(StoreError::RevisionMismatch(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(ApiError::conflict("The function is being changed by other requests. Try again."))
}
