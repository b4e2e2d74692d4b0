//! Buckets on the wire. Regions as in S3: a name is taken everywhere, and a bucket is found from any region.

use crate::http::Context;
use crate::http::page;
use crate::s3::convert::{limit, owner_id, time_of};
use crate::s3::error::{invalid_argument, not_implemented, of, refusal};
use http::StatusCode;
use lamplight_model::{Region, Scope};
use lamplight_services::objects::{Bucket, ObjectError, ObjectStore};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Result};
use std::sync::Arc;

/// Buckets of one page. Source: ListBuckets, "MaxBuckets".
const BUCKETS: i32 = 10_000;

/// The head of the request, which `handle` put there.
pub(super) fn context<T>(request: &S3Request<T>) -> S3Result<Arc<Context>> {
    request
        .extensions
        .get::<Arc<Context>>()
        .cloned()
        .ok_or_else(|| S3Error::new(s3s::S3ErrorCode::InternalError))
}

/// The bucket, if it is of the caller's account.
pub(super) async fn bucket(store: &ObjectStore, context: &Context, name: &str) -> S3Result<Bucket> {
    let bucket = store.bucket(name).await.map_err(of)?;
    if bucket.scope.account != context.scope.account {
        return Err(refusal(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied"));
    }
    Ok(bucket)
}

pub async fn create_bucket(
    store: &ObjectStore,
    request: S3Request<CreateBucketInput>,
) -> S3Result<CreateBucketOutput> {
    let context = context(&request)?;
    let input = request.input;
    if input.object_lock_enabled_for_bucket == Some(true) {
        return Err(not_implemented("Lamplight does not support object lock yet."));
    }
    let enforced = |ownership: &ObjectOwnership| ownership.as_str() == ObjectOwnership::BUCKET_OWNER_ENFORCED;
    if !input.object_ownership.as_ref().is_none_or(enforced) {
        return Err(not_implemented("Lamplight supports no object ownership but BucketOwnerEnforced yet."));
    }
    let grants = [
        &input.grant_full_control,
        &input.grant_read,
        &input.grant_read_acp,
        &input.grant_write,
        &input.grant_write_acp,
    ];
    let private = input.acl.as_ref().is_none_or(|acl| acl.as_str() == BucketCannedACL::PRIVATE);
    if !private || grants.iter().any(|grant| grant.is_some()) {
        return Err(refusal(
            StatusCode::BAD_REQUEST,
            "InvalidBucketAclWithObjectOwnership",
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
        ));
    }
    let configuration = input.create_bucket_configuration.unwrap_or_default();
    if configuration.bucket.is_some() || configuration.location.is_some() {
        return Err(not_implemented("Lamplight does not support directory buckets."));
    }
    let constraint = configuration.location_constraint.as_ref().map(BucketLocationConstraint::as_str);
    let region = region_of(&context.scope.region, constraint)?;
    let scope = Scope { account: context.scope.account.clone(), region };
    match store.create_bucket(&scope, &input.bucket).await {
        // For old clients, S3 lets the owner create a bucket again in this region only.
        Err(ObjectError::BucketAlreadyOwnedByYou) if scope.region == Region::default() => {
            let present = store.bucket(&input.bucket).await.map_err(of)?;
            if present.scope != scope {
                return Err(of(ObjectError::BucketAlreadyOwnedByYou));
            }
        }
        created => {
            created.map_err(of)?;
        }
    }
    Ok(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) })
}

/// The region a bucket is created in. Source: CreateBucket, "LocationConstraint", and its error codes.
fn region_of(endpoint: &Region, constraint: Option<&str>) -> S3Result<Region> {
    let illegal =
        |message: String| refusal(StatusCode::BAD_REQUEST, "IllegalLocationConstraintException", message);
    let invalid = || {
        refusal(
            StatusCode::BAD_REQUEST,
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid",
        )
    };
    let anywhere = *endpoint == Region::default();
    match constraint.filter(|constraint| !constraint.is_empty()) {
        None if anywhere => Ok(endpoint.clone()),
        None => Err(illegal(
            "The unspecified location constraint is incompatible for the region specific endpoint this request was \
             sent to."
                .to_owned(),
        )),
        Some(Region::DEFAULT) if anywhere => Err(invalid()),
        Some(named) => {
            let region = Region::parse(if named == "EU" { "eu-west-1" } else { named }).ok_or_else(invalid)?;
            if !anywhere && region != *endpoint {
                return Err(illegal(format!(
                    "The {named} location constraint is incompatible for the region specific endpoint this request \
                     was sent to."
                )));
            }
            Ok(region)
        }
    }
}

pub async fn head_bucket(
    store: &ObjectStore,
    request: S3Request<HeadBucketInput>,
) -> S3Result<HeadBucketOutput> {
    let context = context(&request)?;
    let bucket = bucket(store, &context, &request.input.bucket).await?;
    let region = bucket.scope.region.as_str().to_owned();
    Ok(HeadBucketOutput {
        bucket_region: Some(region),
        access_point_alias: Some(false),
        ..HeadBucketOutput::default()
    })
}

pub async fn list_buckets(
    store: &ObjectStore,
    request: S3Request<ListBucketsInput>,
) -> S3Result<ListBucketsOutput> {
    const LIST: &str = "buckets";
    let context = context(&request)?;
    let input = request.input;
    let (_, limit) = limit(input.max_buckets, "max-buckets", BUCKETS)?;
    let after: String = match &input.continuation_token {
        None => String::new(),
        Some(token) => page::key(LIST, token)
            .ok_or_else(|| invalid_argument("The continuation token provided is incorrect"))?,
    };
    let prefix = input.prefix.clone().unwrap_or_default();
    let account = &context.scope.account;
    let mut found = store.list_buckets(account, &prefix, &after, limit + 1).await.map_err(of)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| page::token(LIST, &last.name));
    let wanted = |bucket: &lamplight_services::objects::Bucket| {
        input.bucket_region.as_ref().is_none_or(|region| region.as_str() == bucket.scope.region.as_str())
    };
    let rows = found.iter().filter(|bucket| wanted(bucket)).map(|bucket| s3s::dto::Bucket {
        name: Some(bucket.name.clone()),
        creation_date: Some(time_of(bucket.created)),
        bucket_region: Some(bucket.scope.region.as_str().to_owned()),
    });
    Ok(ListBucketsOutput {
        buckets: Some(rows.collect()),
        owner: Some(Owner { id: Some(owner_id(account.as_str())), display_name: None }),
        continuation_token: next,
        prefix: input.prefix,
    })
}

pub async fn get_bucket_location(
    store: &ObjectStore,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<GetBucketLocationOutput> {
    let context = context(&request)?;
    let bucket = bucket(store, &context, &request.input.bucket).await?;
    // S3's first region has no name here.
    let region = Some(bucket.scope.region).filter(|region| *region != Region::default());
    Ok(GetBucketLocationOutput {
        location_constraint: region.map(|region| BucketLocationConstraint::from(region.as_str().to_owned())),
    })
}

pub async fn delete_bucket(
    store: &ObjectStore,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<DeleteBucketOutput> {
    let context = context(&request)?;
    let bucket = bucket(store, &context, &request.input.bucket).await?;
    store.delete_bucket(&bucket).await.map_err(of)?;
    Ok(DeleteBucketOutput {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_of_new_buckets() {
        let check = |endpoint: &str, constraint: Option<&str>, expected: &str| {
            let endpoint = Region::parse(endpoint).unwrap();
            let got = match region_of(&endpoint, constraint) {
                Ok(region) => region.as_str().to_owned(),
                Err(error) => error.code().as_str().to_owned(),
            };
            assert_eq!(got, expected, "{constraint:?}");
        };
        check("us-east-1", None, "us-east-1");
        check("us-east-1", Some(""), "us-east-1");
        check("us-east-1", Some("EU"), "eu-west-1");
        check("us-east-1", Some("eu-north-1"), "eu-north-1");
        check("us-east-1", Some("us-east-1"), "InvalidLocationConstraint");
        check("us-east-1", Some("not a region"), "InvalidLocationConstraint");
        check("eu-west-1", None, "IllegalLocationConstraintException");
        check("eu-west-1", Some("eu-west-1"), "eu-west-1");
        check("eu-west-1", Some("eu-north-1"), "IllegalLocationConstraintException");
    }
}
