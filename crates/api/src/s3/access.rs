//! `authorize` before every S3 operation, also before those that this release does not serve.

use crate::http::Context;
use crate::s3::error::access_denied;
use s3s::S3Result;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use std::sync::Arc;

/// s3s asks for access only where there is authentication; there are no signatures left for it to look at.
pub struct NoSignatures;

#[async_trait::async_trait]
impl S3Auth for NoSignatures {
    async fn get_secret_key(&self, _access_key: &str) -> S3Result<SecretKey> {
        Err(access_denied("Access Denied"))
    }
}

/// Asks `model::identity::authorize`.
pub struct Authorize;

#[async_trait::async_trait]
impl S3Access for Authorize {
    async fn check(&self, asked: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = asked.s3_op().name().to_owned();
        let resource = match (asked.s3_path().get_bucket_name(), asked.s3_path().get_object_key()) {
            (Some(bucket), Some(key)) => arn(bucket, key),
            (Some(bucket), None) => format!("arn:aws:s3:::{bucket}"),
            _ => "*".to_owned(),
        };
        match asked.extensions_mut().get::<Arc<Context>>() {
            Some(context) => authorize(context, &operation, &resource),
            None => Err(access_denied("Access Denied")),
        }
    }
}

/// Lets the caller do this or refuses with AWS's text.
pub fn authorize(context: &Context, operation: &str, resource: &str) -> S3Result<()> {
    context.authorize("s3", operation, resource).map_err(|denied| access_denied(denied.message))
}

/// The ARN of an object.
pub fn arn(bucket: &str, key: &str) -> String {
    format!("arn:aws:s3:::{bucket}/{key}")
}
