//! Parameter mapping: which value of a request or an answer goes where.
//!
//! Source: API Gateway developer guide, "Parameter mapping source reference for REST APIs in API Gateway".

use super::static_text;

/// Headers that say where a message ends and who it is for: no value is mapped to them, or one request could be sent for two.
pub const HEADERS_OF_FRAMING: [&str; 6] =
    ["connection", "content-length", "te", "trailer", "transfer-encoding", "upgrade"];

/// Where a value goes of what an integration gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// `{name}` in the URL.
    Path(&'a str),
    /// A parameter of the query string.
    QueryString(&'a str),
    /// A header.
    Header(&'a str),
}

impl<'a> Destination<'a> {
    /// From `integration.request.path.<name>`, `.querystring.` or `.header.`; `None` for anything else.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (place, name) = text.strip_prefix("integration.request.")?.split_once('.')?;
        match place {
            _ if name.is_empty() => None,
            "path" => Some(Self::Path(name)),
            "querystring" => Some(Self::QueryString(name)),
            "header" => Some(Self::Header(name)),
            _ => None,
        }
    }
}

/// Where a value of a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// `'text'`.
    Static(&'a str),
    /// A variable of the path.
    Path(&'a str),
    /// A parameter of the query string; of several values the last one.
    QueryString(&'a str),
    /// All its values.
    MultiValueQueryString(&'a str),
    /// A header; of several values the last one.
    Header(&'a str),
    /// All its values.
    MultiValueHeader(&'a str),
    /// A member of `requestContext`, with dots between the levels.
    Context(&'a str),
    /// A variable of the stage.
    StageVariable(&'a str),
}

impl<'a> Source<'a> {
    /// From an expression; `None` for what is none and for the body, which is not looked into.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(text) = static_text(text) {
            return Some(Self::Static(text));
        }
        let (root, rest) = text.split_once('.')?;
        match root {
            _ if rest.is_empty() => None,
            "context" => Some(Self::Context(rest)),
            "stageVariables" => Some(Self::StageVariable(rest)),
            "method" => {
                let (place, name) = rest.strip_prefix("request.")?.split_once('.')?;
                match place {
                    _ if name.is_empty() => None,
                    "path" => Some(Self::Path(name)),
                    "querystring" => Some(Self::QueryString(name)),
                    "multivaluequerystring" => Some(Self::MultiValueQueryString(name)),
                    "header" => Some(Self::Header(name)),
                    "multivalueheader" => Some(Self::MultiValueHeader(name)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The request parameter that the method must declare for this; `None` for what needs no declaration.
    pub fn declared(&self) -> Option<String> {
        match self {
            Self::Path(name) => Some(format!("method.request.path.{name}")),
            Self::QueryString(name) | Self::MultiValueQueryString(name) => {
                Some(format!("method.request.querystring.{name}"))
            }
            Self::Header(name) | Self::MultiValueHeader(name) => {
                Some(format!("method.request.header.{name}"))
            }
            Self::Static(_) | Self::Context(_) | Self::StageVariable(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        assert_eq!(Destination::parse("integration.request.path.id"), Some(Destination::Path("id")));
        assert_eq!(Destination::parse("integration.request.header.X.Y"), Some(Destination::Header("X.Y")));
        for wrong in ["integration.request.path.", "integration.request.body.x", "method.request.path.id", ""]
        {
            assert_eq!(Destination::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Source::parse("'a.b'"), Some(Source::Static("a.b")));
        assert_eq!(Source::parse("method.request.querystring.a.b"), Some(Source::QueryString("a.b")));
        assert_eq!(Source::parse("context.identity.sourceIp"), Some(Source::Context("identity.sourceIp")));
        assert_eq!(Source::parse("stageVariables.a"), Some(Source::StageVariable("a")));
        for wrong in
            ["method.request.body", "method.request.body.$.a", "method.request.header.", "text", "context."]
        {
            assert_eq!(Source::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_a_method_must_declare() {
        let declared = |text| Source::parse(text).unwrap().declared();
        let header = Some("method.request.header.a".to_owned());
        assert_eq!(declared("method.request.multivalueheader.a"), header);
        assert_eq!(declared("method.request.header.a"), header);
        assert_eq!(declared("'a'"), None);
    }
}
