//! Requests of the three protocols as one kind of value, and answers in each.
//!
//! Numbers of the query protocol are text, times are seconds or RFC 3339 text: whoever reads a member says what it wants.
//! Source: Smithy RPC v2 CBOR, AWS JSON 1.0 and AWS query protocol specifications.

use super::{REQUEST_BYTES, invalid, invalid_value, missing};
use crate::http::xml::element;
use crate::http::{ApiError, Context, Response, reply};
use ::http::{HeaderName, HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ciborium::Value as Cbor;
use flate2::read::GzDecoder;
use lamplight_model::{RequestId, Timestamp};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Read as _;

/// First part of `X-Amz-Target`, and the service's name in paths of RPC v2.
pub const TARGET: &str = "GraniteServiceVersion20100801";
/// API version in requests of the query protocol.
pub const VERSION: &str = "2010-08-01";
const NAMESPACE: &str = "http://monitoring.amazonaws.com/doc/2010-08-01/";
/// CBOR's tag of a time in seconds since the epoch.
const EPOCH_TAG: u64 = 1;
/// How deep a request may be nested; the deepest of ours has six levels.
const DEPTH: usize = 32;
/// The error of the query protocol, for clients of the others that were made for it.
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");
const SMITHY_PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");

/// How a request came and its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Smithy RPC v2 CBOR.
    Cbor,
    /// AWS JSON 1.0.
    Json,
    /// AWS query.
    Query,
}

/// The operation of a path of RPC v2 of this service.
pub fn operation_of_path(path: &str) -> Option<&str> {
    path.strip_prefix("/service/")?.strip_prefix(TARGET)?.strip_prefix("/operation/")
}

/// The members of a request.
pub(super) fn read(protocol: Protocol, context: &Context, body: &Bytes) -> Result<Input, ApiError> {
    let unpacked;
    let body = match context.header("content-encoding") {
        // A form was unpacked to find out what it is.
        Some("gzip") if protocol != Protocol::Query => {
            unpacked = unpack(body)?;
            unpacked.as_slice()
        }
        _ => body.as_ref(),
    };
    let unreadable = |what: &str| ApiError::serialization(format!("The request is no {what} object."));
    let value = match protocol {
        Protocol::Cbor if body.is_empty() => Value::Object(Map::new()),
        Protocol::Cbor => {
            let value: Cbor = ciborium::de::from_reader_with_recursion_limit(body, DEPTH)
                .map_err(|_| unreadable("CBOR"))?;
            of_cbor(value).ok_or_else(|| unreadable("CBOR"))?
        }
        Protocol::Json if body.is_empty() => Value::Object(Map::new()),
        Protocol::Json => serde_json::from_slice(body).map_err(|_| unreadable("JSON"))?,
        Protocol::Query => {
            let mut parameters = context.query.clone();
            parameters.extend(form_urlencoded::parse(body).into_owned());
            of_query(&parameters)
        }
    };
    match value {
        Value::Object(members) => Ok(Input { path: String::new(), members }),
        _ => Err(ApiError::serialization("The request is no object.")),
    }
}

/// What a client packed with gzip, as they do with large PutMetricData requests. Bounded.
pub fn unpack(body: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut unpacked = Vec::new();
    let most = u64::try_from(REQUEST_BYTES).unwrap_or(u64::MAX);
    GzDecoder::new(body)
        .take(most + 1)
        .read_to_end(&mut unpacked)
        .map_err(|_| ApiError::serialization("The request's body is not compressed with gzip."))?;
    if unpacked.len() > REQUEST_BYTES {
        return Err(ApiError::entity_too_large(format!(
            "The unpacked request is larger than {REQUEST_BYTES} bytes."
        )));
    }
    Ok(unpacked)
}

/// CBOR as JSON values; times become their seconds. `None` for what no request of ours holds.
fn of_cbor(value: Cbor) -> Option<Value> {
    Some(match value {
        Cbor::Null => Value::Null,
        Cbor::Bool(value) => value.into(),
        Cbor::Text(text) => text.into(),
        Cbor::Integer(number) => {
            i64::try_from(number).map_or_else(|_| i128::from(number).to_string().into(), Value::from)
        }
        // What JSON has no number for is kept as text, and refused by name where a number is wanted.
        Cbor::Float(number) => {
            serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
        }
        Cbor::Tag(_, inner) => of_cbor(*inner)?,
        Cbor::Array(list) => list.into_iter().map(of_cbor).collect::<Option<Vec<_>>>()?.into(),
        Cbor::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                map.insert(key.into_text().ok()?, of_cbor(value)?);
            }
            Value::Object(map)
        }
        _ => return None,
    })
}

/// What `A.member.1.B=x` spells out.
#[derive(Default)]
struct Tree {
    text: Option<String>,
    /// Lists keep the order of their numbers.
    inner: BTreeMap<(u64, String), Tree>,
}

fn of_query(parameters: &[(String, String)]) -> Value {
    let mut root = Tree::default();
    for (name, text) in parameters {
        let mut at = &mut root;
        for part in name.split('.').take(DEPTH) {
            let number = part.parse().unwrap_or(0);
            at = at.inner.entry((number, part.to_owned())).or_default();
        }
        at.text = Some(text.clone());
    }
    value_of(root)
}

fn value_of(tree: Tree) -> Value {
    if tree.inner.is_empty() {
        return tree.text.into();
    }
    if tree.inner.len() == 1 && tree.inner.keys().any(|(_, name)| name == "member") {
        let items = tree.inner.into_values().flat_map(|member| member.inner.into_values());
        return items.map(value_of).collect::<Vec<_>>().into();
    }
    Value::Object(tree.inner.into_iter().map(|((_, name), inner)| (name, value_of(inner))).collect())
}

/// One structure of a request, with the path that messages name its members by.
#[derive(Debug)]
pub(super) struct Input {
    path: String,
    members: Map<String, Value>,
}

impl Input {
    /// `MetricData.member.1.Value`, as messages say.
    pub(super) fn name(&self, member: &str) -> String {
        format!("{}{member}", self.path)
    }

    fn get(&self, member: &str) -> Option<&Value> {
        self.members.get(member).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, member: &str) -> bool {
        self.get(member).is_some()
    }

    pub(super) fn text(&self, member: &str) -> Result<Option<String>, ApiError> {
        match self.get(member) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(invalid(&self.name(member), other)),
        }
    }

    /// A text of 1 to `most` characters that must be there.
    pub(super) fn required_text(&self, member: &str, most: usize) -> Result<String, ApiError> {
        let text = self.text(member)?.ok_or_else(|| missing(&self.name(member)))?;
        if text.is_empty() || text.chars().count() > most {
            return Err(invalid_value(format!(
                "The parameter {} must be between 1 and {most} characters long.",
                self.name(member)
            )));
        }
        Ok(text)
    }

    pub(super) fn number(&self, member: &str) -> Result<Option<f64>, ApiError> {
        self.get(member).map(|value| self.number_of(member, value)).transpose()
    }

    fn number_of(&self, member: &str, value: &Value) -> Result<f64, ApiError> {
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite()).ok_or_else(|| match value {
            Value::String(text) => invalid(&self.name(member), text),
            other => invalid(&self.name(member), other),
        })
    }

    pub(super) fn numbers(&self, member: &str) -> Result<Option<Vec<f64>>, ApiError> {
        match self.get(member) {
            None => Ok(None),
            Some(Value::Array(list)) => {
                list.iter().map(|value| self.number_of(member, value)).collect::<Result<_, _>>().map(Some)
            }
            Some(other) => Err(invalid(&self.name(member), other)),
        }
    }

    pub(super) fn integer(&self, member: &str) -> Result<Option<i64>, ApiError> {
        let number = self.number(member)?;
        number
            .map(|number| {
                let whole = number.fract() == 0.0 && number.abs() < 1e15;
                if whole { Ok(number as i64) } else { Err(invalid(&self.name(member), number)) }
            })
            .transpose()
    }

    pub(super) fn boolean(&self, member: &str) -> Result<Option<bool>, ApiError> {
        match self.get(member) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(Value::String(text)) if text == "true" || text == "false" => Ok(Some(text == "true")),
            Some(other) => Err(invalid(&self.name(member), other)),
        }
    }

    /// Seconds since the epoch, or RFC 3339 text.
    pub(super) fn time(&self, member: &str) -> Result<Option<Timestamp>, ApiError> {
        use time::OffsetDateTime;
        use time::format_description::well_known::Rfc3339;
        let Some(value) = self.get(member) else { return Ok(None) };
        let seconds = match value {
            Value::String(text) => match OffsetDateTime::parse(text, &Rfc3339) {
                Ok(time) => Some(time.unix_timestamp_nanos() as f64 / 1e9),
                Err(_) => text.parse().ok(),
            },
            other => other.as_f64(),
        };
        match seconds.filter(|seconds| seconds.abs() < 1e12) {
            Some(seconds) => Ok(Some(Timestamp((seconds * 1_000.0).round() as i64))),
            None => Err(invalid(&self.name(member), value)),
        }
    }

    pub(super) fn texts(&self, member: &str) -> Result<Option<Vec<String>>, ApiError> {
        match self.get(member) {
            None => Ok(None),
            Some(Value::Array(list)) => {
                let texts = list.iter().map(|value| value.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().map(Some).ok_or_else(|| invalid(&self.name(member), "[..]"))
            }
            Some(other) => Err(invalid(&self.name(member), other)),
        }
    }

    pub(super) fn object(&self, member: &str) -> Result<Option<Self>, ApiError> {
        match self.get(member) {
            None => Ok(None),
            Some(Value::Object(members)) => {
                Ok(Some(Self { path: format!("{}.", self.name(member)), members: members.clone() }))
            }
            Some(other) => Err(invalid(&self.name(member), other)),
        }
    }

    pub(super) fn objects(&self, member: &str) -> Result<Option<Vec<Self>>, ApiError> {
        let list = match self.get(member) {
            None => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(invalid(&self.name(member), other)),
        };
        let inner = list.iter().enumerate().map(|(at, value)| match value {
            Value::Object(members) => {
                let path = format!("{}.member.{}.", self.name(member), at + 1);
                Ok(Self { path, members: members.clone() })
            }
            other => Err(invalid(&self.name(member), other)),
        });
        inner.collect::<Result<_, _>>().map(Some)
    }
}

/// A value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Output {
    Text(String),
    Number(f64),
    /// Seconds since the epoch.
    Time(i64),
    List(Vec<Output>),
    /// Members in order; what is absent is not here.
    Structure(Vec<(&'static str, Output)>),
    /// Names that are data.
    Dictionary(Vec<(String, Output)>),
}

/// An answer. Operations without output have none.
pub(super) fn answer(
    protocol: Protocol,
    operation: &str,
    output: Option<&Output>,
    request_id: RequestId,
) -> Response {
    match protocol {
        Protocol::Query => {
            let result = output.map(xml);
            reply::query_xml(NAMESPACE, operation, result.as_deref(), request_id)
        }
        Protocol::Json => {
            let body = output.map_or_else(String::new, |output| json(output).to_string());
            reply::with_body(StatusCode::OK, "application/x-amz-json-1.0", body)
        }
        // An answer of an operation without output is an empty structure.
        Protocol::Cbor => with_cbor(StatusCode::OK, output.map_or(Cbor::Map(Vec::new()), cbor)),
    }
}

/// An error. Its code is the shape's name; the query protocol says it without its end.
pub(super) fn error(protocol: Protocol, error: &ApiError, request_id: RequestId) -> Response {
    let (code, sender) = (query_code(&error.code), !error.status.is_server_error());
    let mut response = match protocol {
        Protocol::Query => {
            let error = ApiError { code: code.to_owned().into(), ..error.clone() };
            return reply::query_xml_error(NAMESPACE, &error, request_id);
        }
        Protocol::Json => reply::json_1_1_error(error),
        Protocol::Cbor => {
            let text = |text: &str| Cbor::Text(text.to_owned());
            let body = vec![
                (text("__type"), text(&format!("com.amazonaws.cloudwatch#{}", error.code))),
                (text("message"), text(&error.message)),
            ];
            with_cbor(error.status, Cbor::Map(body))
        }
    };
    let kind = if sender { "Sender" } else { "Receiver" };
    if let Ok(value) = HeaderValue::from_str(&format!("{code};{kind}")) {
        response.headers_mut().insert(QUERY_ERROR, value);
    }
    response
}

/// Codes of the query protocol. Source: service model, `error.code` of the shapes.
fn query_code(code: &str) -> &str {
    match code {
        "MissingRequiredParameterException" => "MissingParameter",
        code => code.strip_suffix("Exception").unwrap_or(code),
    }
}

fn with_cbor(status: StatusCode, value: Cbor) -> Response {
    let mut body = Vec::new();
    // Writing to memory does not fail.
    let _ = ciborium::into_writer(&value, &mut body);
    let mut response = reply::with_body(status, "application/cbor", body);
    response.headers_mut().insert(SMITHY_PROTOCOL, HeaderValue::from_static("rpc-v2-cbor"));
    response
}

fn cbor(output: &Output) -> Cbor {
    match output {
        Output::Text(text) => Cbor::Text(text.clone()),
        Output::Number(number) => Cbor::Float(*number),
        Output::Time(seconds) => Cbor::Tag(EPOCH_TAG, Box::new(Cbor::Float(*seconds as f64))),
        Output::List(list) => Cbor::Array(list.iter().map(cbor).collect()),
        Output::Structure(members) => Cbor::Map(
            members.iter().map(|(name, value)| (Cbor::Text((*name).to_owned()), cbor(value))).collect(),
        ),
        Output::Dictionary(entries) => {
            Cbor::Map(entries.iter().map(|(name, value)| (Cbor::Text(name.clone()), cbor(value))).collect())
        }
    }
}

fn json(output: &Output) -> Value {
    match output {
        Output::Text(text) => text.as_str().into(),
        Output::Number(number) => (*number).into(),
        Output::Time(seconds) => (*seconds).into(),
        Output::List(list) => list.iter().map(json).collect::<Vec<_>>().into(),
        Output::Structure(members) => {
            Value::Object(members.iter().map(|(name, value)| ((*name).to_owned(), json(value))).collect())
        }
        Output::Dictionary(entries) => {
            Value::Object(entries.iter().map(|(name, value)| (name.clone(), json(value))).collect())
        }
    }
}

/// The content of an element.
fn xml(output: &Output) -> String {
    let wrapped = |name: &str, inner: String| format!("<{name}>{inner}</{name}>");
    match output {
        Output::Text(text) => {
            // `element` escapes; only its content is wanted.
            let whole = element("x", text);
            whole
                .strip_prefix("<x>")
                .and_then(|rest| rest.strip_suffix("</x>"))
                .unwrap_or_default()
                .to_owned()
        }
        Output::Number(number) => number.to_string(),
        Output::Time(seconds) => Timestamp(seconds * 1_000).iso_format(),
        Output::List(list) => list.iter().map(|value| wrapped("member", xml(value))).collect(),
        Output::Structure(members) => members.iter().map(|(name, value)| wrapped(name, xml(value))).collect(),
        Output::Dictionary(entries) => entries
            .iter()
            .map(|(name, value)| {
                wrapped(
                    "entry",
                    wrapped("key", xml(&Output::Text(name.clone()))) + &wrapped("value", xml(value)),
                )
            })
            .collect(),
    }
}

/// A page token that says where the next page begins.
pub(super) fn token(list: &str, place: usize) -> String {
    STANDARD.encode(format!("{list}/{place}"))
}

/// The place in a token of the same list.
pub(super) fn place_of(list: &str, token: &str) -> Option<usize> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    text.strip_prefix(list)?.strip_prefix('/')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_query_spells_out_lists_and_structures() {
        let parameters = [
            ("Action", "PutMetricData"),
            ("MetricData.member.2.MetricName", "b"),
            ("MetricData.member.1.MetricName", "a"),
            ("MetricData.member.1.Dimensions.member.1.Name", "Host"),
            ("MetricData.member.10.Value", "3"),
            ("Statistics.member.1", "Sum"),
        ];
        let parameters = parameters.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let expected = json!({
            "Action": "PutMetricData",
            "MetricData": [{"Dimensions": [{"Name": "Host"}], "MetricName": "a"}, {"MetricName": "b"}, {"Value": "3"}],
            "Statistics": ["Sum"],
        });
        assert_eq!(of_query(&parameters), expected);
    }

    #[test]
    fn members_are_read_from_every_protocol() {
        let check = |value: Value| {
            let Value::Object(members) = value else { panic!("no object") };
            let input = Input { path: "X.".to_owned(), members };
            assert_eq!(input.number("N").unwrap(), Some(1.5));
            assert_eq!(input.integer("I").unwrap(), Some(60));
            assert_eq!(input.boolean("B").unwrap(), Some(true));
            assert_eq!(input.time("T").unwrap(), Some(Timestamp(1_769_817_600_500)));
            assert_eq!(
                input.number("bad").unwrap_err().message,
                "The value nonsense for parameter X.bad is invalid."
            );
        };
        check(json!({"N": 1.5, "I": 60, "B": true, "T": 1_769_817_600.5, "bad": "nonsense"}));
        check(json!({"N": "1.5", "I": "60", "B": "true", "T": "2026-01-31T00:00:00.5Z", "bad": "nonsense"}));
        let tagged = Cbor::Map(vec![(Cbor::Text("T".into()), Cbor::Tag(1, Box::new(Cbor::Float(2.5))))]);
        assert_eq!(of_cbor(tagged), Some(json!({"T": 2.5})));
        assert_eq!(of_cbor(Cbor::Float(f64::NAN)), Some(json!("NaN")));
    }

    #[test]
    fn an_answer_in_xml_is_escaped_and_lists_have_members() {
        let output = Output::Structure(vec![
            ("Label", Output::Text("a<b".to_owned())),
            ("Points", Output::List(vec![Output::Time(1_769_817_600), Output::Number(0.5)])),
            ("Extended", Output::Dictionary(vec![("p90".to_owned(), Output::Number(2.0))])),
        ]);
        assert_eq!(
            xml(&output),
            "<Label>a&lt;b</Label><Points><member>2026-01-31T00:00:00.000Z</member><member>0.5</member></Points>\
             <Extended><entry><key>p90</key><value>2</value></entry></Extended>"
        );
    }
}
