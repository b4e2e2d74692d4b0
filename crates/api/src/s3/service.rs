//! The operations that are served, by the names s3s gives them. All others are `NotImplemented`, by name.

use crate::s3::access::{Authorize, NoSignatures};
use crate::s3::addressing::Hosts;
use crate::s3::{buckets, listing, multipart, objects};
use lamplight_services::objects::ObjectStore;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Request, S3Response, S3Result};
use std::sync::Arc;

/// Largest XML body, bytes: ten thousand parts with checksums, or a thousand keys to delete.
const XML_BYTES: usize = 4 * 1024 * 1024;

/// The front door of the object store; a clone is cheap.
#[derive(Clone)]
pub struct S3(S3Service);

impl S3 {
    /// Over this store.
    pub fn new(store: ObjectStore) -> Self {
        let mut config = S3Config::default();
        config.xml_max_body_size = XML_BYTES;
        let mut builder = S3ServiceBuilder::new(Operations(store));
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        builder.set_auth(NoSignatures);
        builder.set_access(Authorize);
        builder.set_host(Hosts);
        Self(builder.build())
    }

    /// Answers one request whose extensions hold its `Context` and `Payload`.
    pub(crate) async fn call(&self, request: s3s::HttpRequest) -> Result<s3s::HttpResponse, s3s::HttpError> {
        self.0.call(request).await
    }
}

struct Operations(ObjectStore);

/// Each operation is a function of its module.
macro_rules! operations {
    ($($module:ident::$name:ident($input:ty) -> $output:ty;)*) => {
        #[async_trait::async_trait]
        impl s3s::S3 for Operations {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                $module::$name(&self.0, request).await.map(S3Response::new)
            })*
        }
    };
}

operations! {
    buckets::create_bucket(CreateBucketInput) -> CreateBucketOutput;
    buckets::head_bucket(HeadBucketInput) -> HeadBucketOutput;
    buckets::list_buckets(ListBucketsInput) -> ListBucketsOutput;
    buckets::get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    buckets::delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    objects::put_object(PutObjectInput) -> PutObjectOutput;
    objects::get_object(GetObjectInput) -> GetObjectOutput;
    objects::head_object(HeadObjectInput) -> HeadObjectOutput;
    objects::copy_object(CopyObjectInput) -> CopyObjectOutput;
    objects::delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    objects::delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    objects::put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput;
    objects::get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput;
    objects::delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput;
    listing::list_objects(ListObjectsInput) -> ListObjectsOutput;
    listing::list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
    listing::list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput;
    multipart::create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    multipart::upload_part(UploadPartInput) -> UploadPartOutput;
    multipart::upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    multipart::list_parts(ListPartsInput) -> ListPartsOutput;
    multipart::complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    multipart::abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
}
