//! Answers as S3 gives them: a request id on each, and on errors S3's text and what it was about.
//!
//! s3s prints an error's code and, when it knows one, its text; the document is printed again here.

use crate::http::xml::{element, escape};
use crate::http::{Context, Response, reply};
use crate::s3::addressing;
use crate::s3::error::{DETAIL, text};
use axum::body::Body;
use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use s3s::{HttpResponse, S3Error};
use std::fmt::Write as _;

/// Longest error document of s3s, bytes.
const ERROR_BYTES: usize = 64 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const HOST_ID: HeaderName = HeaderName::from_static("x-amz-id-2");

/// What a request was about, as errors repeat it.
#[derive(Debug)]
pub struct Asked {
    request_id: String,
    host_id: String,
    resource: String,
    bucket: String,
    key: String,
    upload: String,
    range: String,
}

impl Asked {
    /// From the head.
    pub fn of(context: &Context) -> Self {
        let path = percent_encoding::percent_decode_str(&context.path).decode_utf8_lossy().into_owned();
        let path_style =
            path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
        let (bucket, key) = match addressing::parse(&context.authority).and_then(|host| host.bucket) {
            Some(bucket) => (bucket, path.strip_prefix('/').unwrap_or_default()),
            None => path_style,
        };
        let id = context.request_id.to_string();
        Self {
            host_id: base64::engine::general_purpose::STANDARD.encode(&id),
            request_id: id,
            resource: if key.is_empty() { format!("/{bucket}") } else { format!("/{bucket}/{key}") },
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            upload: context.parameter("uploadId").unwrap_or_default().to_owned(),
            range: context.header("range").unwrap_or_default().to_owned(),
        }
    }
}

/// The answer to a request that s3s did not see.
pub fn error(asked: &Asked, error: S3Error) -> Response {
    let status = error.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = error.headers().cloned().unwrap_or_default();
    print(asked, status, headers, error.code().as_str(), error.message().unwrap_or_default())
}

/// What s3s answered, completed.
pub async fn finish(asked: &Asked, response: HttpResponse) -> Response {
    let (parts, body) = response.into_parts();
    if parts.status.is_success() {
        let mut response = Response::from_parts(parts, Body::new(body));
        identify(asked, response.headers_mut());
        return response;
    }
    let document = match http_body_util::Limited::new(body, ERROR_BYTES).collect().await {
        Ok(document) => document.to_bytes(),
        Err(error) => {
            tracing::error!(error, "failed to read an error of S3");
            bytes::Bytes::new()
        }
    };
    let document = String::from_utf8_lossy(&document);
    let (code, message) = (between(&document, "Code"), between(&document, "Message"));
    print(asked, parts.status, parts.headers, &code, &message)
}

fn print(asked: &Asked, status: StatusCode, mut headers: HeaderMap, code: &str, message: &str) -> Response {
    let mut details = String::new();
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(DETAIL)).cloned().collect();
    for name in names {
        if let Some(value) = headers.remove(&name) {
            let element_name =
                DETAILS.iter().find(|known| name.as_str()[DETAIL.len()..].eq_ignore_ascii_case(known));
            if let (Some(element_name), Ok(value)) = (element_name, value.to_str()) {
                details.push_str(&element(element_name, value));
            }
        }
    }
    match code {
        "NoSuchBucket"
        | "BucketNotEmpty"
        | "BucketAlreadyOwnedByYou"
        | "BucketAlreadyExists"
        | "InvalidBucketName" => details.push_str(&element("BucketName", &asked.bucket)),
        "NoSuchKey" => details.push_str(&element("Key", &asked.key)),
        "NoSuchUpload" | "EntityTooSmall" | "InvalidPart" => {
            details.push_str(&element("UploadId", &asked.upload));
        }
        "InvalidRange" => details.push_str(&element("RangeRequested", &asked.range)),
        _ => {}
    }
    let unserved;
    let message = match message.strip_suffix(" is not implemented yet") {
        // As this server says it of other services.
        Some(operation) => {
            unserved = format!("Lamplight does not support s3:{operation} yet.");
            &unserved
        }
        None if message.is_empty() => text(code).unwrap_or(code),
        None => message,
    };
    let mut document = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
    for (name, value) in [("Code", code), ("Message", message)] {
        document.push_str(&element(name, value));
    }
    document.push_str(&details);
    let _ = write!(document, "<Resource>{}</Resource>", escape(&asked.resource));
    document.push_str(&element("RequestId", &asked.request_id));
    document.push_str(&element("HostId", &asked.host_id));
    document.push_str("</Error>");
    let mut response = if status == StatusCode::NOT_MODIFIED {
        reply::empty(status)
    } else {
        reply::with_body(status, "application/xml", document)
    };
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        headers.remove(name);
    }
    response.headers_mut().extend(headers);
    identify(asked, response.headers_mut());
    response
}

/// Elements that refusals carry as headers, whose names have lost their case.
const DETAILS: &[&str] = &[
    "ActualObjectSize",
    "Condition",
    "MaxSizeAllowed",
    "MinSizeAllowed",
    "ProposedSize",
    "PartNumber",
    "ArgumentName",
    "ArgumentValue",
];

fn identify(asked: &Asked, headers: &mut HeaderMap) {
    // An HTML object, opened in a browser, would be of the same origin as the API and could call it. This makes it a page
    // of no origin, which the guard refuses.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    for (name, value) in [(REQUEST_ID, &asked.request_id), (HOST_ID, &asked.host_id)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

/// The text of an element that has no children, unescaped.
fn between(document: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let found =
        document.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map(|(found, _)| found);
    let text = found.unwrap_or_default();
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}
