//! Values of a request, as parameter mappings and identity sources name them. Pure.

use crate::incoming::Incoming;
use lamplight_model::rest_api::Source;
use serde_json::Value;
use std::collections::BTreeMap;

/// What values can be taken from.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// The request.
    pub incoming: &'a Incoming,
    /// What variables of the path stand for.
    pub path_parameters: &'a BTreeMap<String, String>,
    /// Variables of the stage.
    pub stage_variables: &'a BTreeMap<String, String>,
    /// `requestContext`.
    pub context: &'a Value,
}

impl Values<'_> {
    /// All values of a source, in their order. `None` when there is none, or when one is no text.
    pub fn of(&self, source: Source<'_>) -> Option<Vec<String>> {
        let values: Vec<String> = match source {
            Source::Static(text) => vec![text.to_owned()],
            Source::Path(name) => vec![self.path_parameters.get(name)?.clone()],
            Source::StageVariable(name) => vec![self.stage_variables.get(name)?.clone()],
            Source::QueryString(name) => vec![self.query(name).pop()?],
            Source::MultiValueQueryString(name) => self.query(name),
            Source::Header(name) => vec![self.headers(name)?.pop()?],
            Source::MultiValueHeader(name) => self.headers(name)?,
            Source::Context(name) => match self.context.pointer(&format!("/{}", name.replace('.', "/")))? {
                Value::String(text) => vec![text.clone()],
                Value::Null => return None,
                other => vec![other.to_string()],
            },
        };
        (!values.is_empty()).then_some(values)
    }

    fn query(&self, name: &str) -> Vec<String> {
        let query = form_urlencoded::parse(self.incoming.raw_query.as_bytes());
        query.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
    }

    fn headers(&self, name: &str) -> Option<Vec<String>> {
        let values = self.incoming.headers.get_all(name).iter();
        values.map(|value| value.to_str().ok().map(str::to_owned)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_sources() {
        let mut headers = http::HeaderMap::new();
        for value in ["1", "2"] {
            headers.append("x-two", http::HeaderValue::from_static(value));
        }
        headers.append("x-bytes", http::HeaderValue::from_bytes(b"\xff").unwrap());
        let incoming = Incoming::of_test(headers, "q=a%20b&q=c");
        let variables = BTreeMap::from([("id".to_owned(), "7".to_owned())]);
        let context = json!({"identity": {"sourceIp": "127.0.0.1", "user": null}, "requestTimeEpoch": 5});
        let values = Values {
            incoming: &incoming,
            path_parameters: &variables,
            stage_variables: &BTreeMap::new(),
            context: &context,
        };
        for (source, expected) in [
            ("'text'", &["text"][..]),
            ("method.request.path.id", &["7"]),
            ("method.request.path.other", &[]),
            ("method.request.querystring.q", &["c"]),
            ("method.request.multivaluequerystring.q", &["a b", "c"]),
            ("method.request.header.X-Two", &["2"]),
            ("method.request.multivalueheader.X-Two", &["1", "2"]),
            ("method.request.header.x-bytes", &[]),
            ("method.request.header.absent", &[]),
            ("stageVariables.id", &[]),
            ("context.identity.sourceIp", &["127.0.0.1"]),
            ("context.identity.user", &[]),
            ("context.requestTimeEpoch", &["5"]),
        ] {
            let got = values.of(Source::parse(source).unwrap()).unwrap_or_default();
            assert_eq!(got, expected, "{source}");
        }
    }
}
