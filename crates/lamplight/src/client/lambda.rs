//! The operations the commands need, in the words of the Lambda and CloudWatch Logs APIs.

use super::Client;
use crate::failure::{Failure, closest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Path of the functions.
pub const FUNCTIONS: &str = "/2015-03-31/functions";
/// How long a new or changed function may take to become usable.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Time between two looks at a function that is settling.
const SETTLE_POLL: Duration = Duration::from_millis(50);
/// Functions looked at for "did you mean".
const SUGGESTION_FUNCTIONS: usize = 1_000;

/// The answer of an invocation.
#[derive(Debug)]
pub struct Invoked {
    /// 200, 202 or 204.
    pub status: u16,
    /// The function's answer or its error document.
    pub payload: Bytes,
    /// `X-Amz-Function-Error`: the function failed.
    pub function_error: Option<String>,
    /// `X-Amz-Executed-Version`.
    pub executed_version: Option<String>,
    /// The end of the log, when asked for.
    pub log: Option<String>,
    /// The request id, which the log lines carry too.
    pub request_id: Option<String>,
}

/// One log event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Unique within the group.
    pub event_id: String,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The stream: one per instance.
    pub stream: String,
    /// The text.
    pub message: String,
}

/// A page of log events.
#[derive(Debug, Default)]
pub struct Logs {
    /// In order of time.
    pub lines: Vec<LogLine>,
    /// There is more.
    pub next_token: Option<String>,
}

/// `name` as one segment of a path.
pub fn segment(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

impl Client {
    /// The configuration of a function; `None` when there is no such function.
    pub async fn find_configuration(&self, name: &str) -> Result<Option<Value>, Failure> {
        let path = format!("{FUNCTIONS}/{}/configuration", segment(name));
        let answer = self.send_json(Method::GET, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND && self.refusal(&answer).code.is_some() {
            return Ok(None);
        }
        self.read_json(answer).map(Some)
    }

    /// `GetFunction`; an absent one is an error with "did you mean".
    pub async fn get_function(&self, name: &str) -> Result<Value, Failure> {
        let path = format!("{FUNCTIONS}/{}", segment(name));
        let answer = self.send_json(Method::GET, &path, None).await?;
        self.read_about(name, answer).await
    }

    /// `CreateFunction`.
    pub async fn create_function(&self, request: &Value) -> Result<Value, Failure> {
        self.json(Method::POST, FUNCTIONS, Some(request)).await
    }

    /// `UpdateFunctionCode`.
    pub async fn update_code(&self, name: &str, zip: &[u8], publish: bool) -> Result<Value, Failure> {
        let request = json!({ "ZipFile": BASE64.encode(zip), "Publish": publish });
        self.json(Method::PUT, &format!("{FUNCTIONS}/{}/code", segment(name)), Some(&request)).await
    }

    /// `UpdateFunctionConfiguration`.
    pub async fn update_configuration(&self, name: &str, request: &Value) -> Result<Value, Failure> {
        self.json(Method::PUT, &format!("{FUNCTIONS}/{}/configuration", segment(name)), Some(request)).await
    }

    /// `TagResource`-like: sets tags of an existing function by its ARN.
    pub async fn tag(&self, arn: &str, tags: &Value) -> Result<(), Failure> {
        let path = format!("/2017-03-31/tags/{}", segment(arn));
        self.json(Method::POST, &path, Some(&json!({ "Tags": tags }))).await.map(|_| ())
    }

    /// `PublishVersion`.
    pub async fn publish_version(&self, name: &str) -> Result<Value, Failure> {
        self.json(Method::POST, &format!("{FUNCTIONS}/{}/versions", segment(name)), Some(&json!({}))).await
    }

    /// Waits until a function is `Active` and its last update is done. Gives the configuration back.
    pub async fn wait_until_settled(&self, name: &str) -> Result<Value, Failure> {
        let started = tokio::time::Instant::now();
        loop {
            let Some(configuration) = self.find_configuration(name).await? else {
                return Err(Failure::usage(format!("the function {name} was deleted meanwhile")));
            };
            let field = |key: &str| configuration.get(key).and_then(Value::as_str).unwrap_or_default();
            if field("State") == "Failed" || field("LastUpdateStatus") == "Failed" {
                let why = [field("StateReason"), field("LastUpdateStatusReason")].join(" ");
                return Err(Failure::usage(format!("the function {name} could not be made ready"))
                    .because(why.trim()));
            }
            if field("State") == "Active" && field("LastUpdateStatus") != "InProgress" {
                return Ok(configuration);
            }
            if started.elapsed() > SETTLE_TIMEOUT {
                return Err(Failure::usage(format!("the function {name} is still {}", field("State")))
                    .because(format!("it was waited for {} seconds", SETTLE_TIMEOUT.as_secs()))
                    .then(format!("lamplight get {name}")));
            }
            tokio::time::sleep(SETTLE_POLL).await;
        }
    }

    /// All functions of the region, in name order.
    pub async fn list_functions(&self) -> Result<Vec<Value>, Failure> {
        self.pages(&format!("{FUNCTIONS}/"), "Functions").await
    }

    /// `ListAliases`: all of one function.
    pub async fn list_aliases(&self, name: &str) -> Result<Vec<Value>, Failure> {
        self.pages(&format!("{FUNCTIONS}/{}/aliases", segment(name)), "Aliases").await
    }

    /// What is in `member` of all pages of a list.
    async fn pages(&self, path: &str, member: &str) -> Result<Vec<Value>, Failure> {
        let mut rows = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let path = match &marker {
                Some(marker) => format!("{path}?Marker={}", segment(marker)),
                None => path.to_owned(),
            };
            let page = self.json(Method::GET, &path, None).await?;
            rows.extend(page.get(member).and_then(Value::as_array).cloned().unwrap_or_default());
            marker =
                page.get("NextMarker").and_then(Value::as_str).filter(|m| !m.is_empty()).map(str::to_owned);
            if marker.is_none() {
                return Ok(rows);
            }
        }
    }

    /// `DeleteFunction`, of one version when a qualifier is given.
    pub async fn delete_function(&self, name: &str, qualifier: Option<&str>) -> Result<(), Failure> {
        let mut path = format!("{FUNCTIONS}/{}", segment(name));
        if let Some(qualifier) = qualifier {
            path.push_str(&format!("?Qualifier={}", segment(qualifier)));
        }
        let answer = self.send_json(Method::DELETE, &path, None).await?;
        self.read_about(name, answer).await.map(|_| ())
    }

    /// `Invoke`. `kind` is `RequestResponse`, `Event` or `DryRun`.
    pub async fn invoke(
        &self,
        name: &str,
        qualifier: Option<&str>,
        kind: &str,
        log_tail: bool,
        client_context: Option<&str>,
        payload: Bytes,
    ) -> Result<Invoked, Failure> {
        let mut path = format!("{FUNCTIONS}/{}/invocations", segment(name));
        if let Some(qualifier) = qualifier {
            path.push_str(&format!("?Qualifier={}", segment(qualifier)));
        }
        let mut headers =
            vec![("content-type", "application/json".to_owned()), ("x-amz-invocation-type", kind.to_owned())];
        if log_tail {
            headers.push(("x-amz-log-type", "Tail".to_owned()));
        }
        if let Some(context) = client_context {
            headers.push(("x-amz-client-context", BASE64.encode(context)));
        }
        let answer = self.send(Method::POST, &path, &headers, payload).await?;
        if !answer.status.is_success() {
            return Err(self.explain(name, answer).await);
        }
        let header =
            |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let log = header("x-amz-log-result")
            .and_then(|encoded| BASE64.decode(encoded).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Invoked {
            status: answer.status.as_u16(),
            function_error: header("x-amz-function-error"),
            executed_version: header("x-amz-executed-version"),
            request_id: header("x-amzn-requestid"),
            log,
            payload: answer.body,
        })
    }

    /// `FilterLogEvents`. An absent group is an empty page.
    pub async fn filter_log_events(
        &self,
        group: &str,
        from_ms: i64,
        pattern: Option<&str>,
        token: Option<&str>,
    ) -> Result<Logs, Failure> {
        let mut request = json!({ "logGroupName": group, "startTime": from_ms, "interleaved": true });
        if let Some(pattern) = pattern {
            request["filterPattern"] = json!(pattern);
        }
        if let Some(token) = token {
            request["nextToken"] = json!(token);
        }
        let headers = [
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", "Logs_20140328.FilterLogEvents".to_owned()),
        ];
        let answer = self.send(Method::POST, "/", &headers, Bytes::from(request.to_string())).await?;
        if answer.status.is_client_error()
            && self.refusal(&answer).code.as_deref() == Some("ResourceNotFoundException")
        {
            return Ok(Logs::default());
        }
        let page = self.read_json(answer)?;
        let lines = page.get("events").and_then(Value::as_array).map(|events| {
            let text = |event: &Value, key: &str| {
                event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            events
                .iter()
                .map(|event| LogLine {
                    event_id: text(event, "eventId"),
                    timestamp: event.get("timestamp").and_then(Value::as_i64).unwrap_or_default(),
                    stream: text(event, "logStreamName"),
                    message: text(event, "message"),
                })
                .collect()
        });
        let next_token = page.get("nextToken").and_then(Value::as_str).map(str::to_owned);
        Ok(Logs { lines: lines.unwrap_or_default(), next_token })
    }

    /// Reads an answer about one function; "not found" is explained.
    async fn read_about(&self, name: &str, answer: super::Answer) -> Result<Value, Failure> {
        if answer.status.is_success() {
            return self.read_json(answer);
        }
        Err(self.explain(name, answer).await)
    }

    async fn explain(&self, name: &str, answer: super::Answer) -> Failure {
        let refusal = self.refusal(&answer);
        match refusal.code.as_deref() {
            Some("ResourceNotFoundException") => self.no_such_function(name).await,
            Some("InvalidRuntimeException") => {
                refusal.into_failure().then("lamplight runtime list").then("lamplight doctor")
            }
            Some("InvalidRequestContentException") => refusal
                .into_failure()
                .then("quote the JSON for the shell: lamplight invoke NAME '{\"key\": \"value\"}'"),
            _ => refusal.into_failure(),
        }
    }

    /// "There is no function X", with the nearest name and the region that was looked in.
    pub async fn no_such_function(&self, name: &str) -> Failure {
        let plain = lamplight_model::FunctionReference::parse(name)
            .map_or_else(|| name.to_owned(), |reference| reference.name.as_str().to_owned());
        let failure = Failure::usage(format!("there is no function {name} in {}", self.region()));
        let functions = self.list_functions().await.unwrap_or_default();
        let names: Vec<&str> = functions
            .iter()
            .filter_map(|function| function.get("FunctionName").and_then(Value::as_str))
            .take(SUGGESTION_FUNCTIONS)
            .collect();
        if names.contains(&plain.as_str()) {
            return failure
                .because("the function is there, but not this version of it")
                .then(format!("lamplight get {plain}"));
        }
        let failure = match closest(&plain, names.iter().copied()) {
            Some(candidate) => failure.then(format!("did you mean {candidate}?")),
            None => failure,
        };
        if names.is_empty() {
            failure
                .then(format!("lamplight deploy PATH --name {plain}"))
                .then("functions of other regions: --region NAME")
        } else {
            failure.then("lamplight list")
        }
    }
}
