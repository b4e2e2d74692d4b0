//! Route keys: `GET /pets/{id}`, `ANY /{proxy+}`, `$default`.
//!
//! Source: API Gateway developer guide, "Routes for HTTP APIs".

use super::DEFAULT;

/// What a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteKey {
    /// What no other route takes.
    Default,
    /// A method and a path.
    Path {
        /// `None` is `ANY`.
        method: Option<String>,
        /// Segments; `/` is one that is empty.
        parts: Vec<PathPart>,
    },
}

/// One segment of a route's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPart {
    /// As it stands.
    Text(String),
    /// `{name}`: any one segment.
    Variable(String),
    /// `{name+}`: all that is left; only at the end.
    Greedy(String),
}

/// Why a text is no route key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteKeyError {
    /// Neither `$default` nor a method and a path.
    #[error(
        "The provided route key is not formatted properly for HTTP protocol. Format should be \"<HTTP METHOD> /<RESOURCE PATH>\" or \"$default\""
    )]
    Format,
    /// A greedy variable that is not the end, braces that are no variable, or a name twice.
    #[error(
        "Resource's path part only allow valid characters or a greedy path variable at the end, each variable once."
    )]
    Variable,
}

/// Methods of route keys. Source: developer guide; `ANY` besides.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

impl RouteKey {
    /// Reads a route key.
    pub fn parse(text: &str) -> Result<Self, RouteKeyError> {
        if text == DEFAULT {
            return Ok(Self::Default);
        }
        let (method, path) = text.split_once(' ').ok_or(RouteKeyError::Format)?;
        let method = match method {
            "ANY" => None,
            method if METHODS.contains(&method) => Some(method.to_owned()),
            _ => return Err(RouteKeyError::Format),
        };
        let path = path.strip_prefix('/').ok_or(RouteKeyError::Format)?;
        if path.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return Err(RouteKeyError::Format);
        }
        let parts = path.split('/').map(PathPart::parse).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&str> = parts.iter().filter_map(PathPart::name).collect();
        let twice = names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
        let greedy_before_the_end =
            parts.iter().rev().skip(1).any(|part| matches!(part, PathPart::Greedy(_)));
        if twice || greedy_before_the_end {
            return Err(RouteKeyError::Variable);
        }
        Ok(Self::Path { method, parts })
    }
}

impl PathPart {
    fn parse(text: &str) -> Result<Self, RouteKeyError> {
        let Some(inside) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            return if text.contains(['{', '}']) {
                Err(RouteKeyError::Variable)
            } else {
                Ok(Self::Text(text.to_owned()))
            };
        };
        let (name, greedy) = match inside.strip_suffix('+') {
            Some(name) => (name, true),
            None => (inside, false),
        };
        let valid = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:$".contains(&byte));
        match (valid, greedy) {
            (false, _) => Err(RouteKeyError::Variable),
            (true, true) => Ok(Self::Greedy(name.to_owned())),
            (true, false) => Ok(Self::Variable(name.to_owned())),
        }
    }

    /// The name of a variable.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Variable(name) | Self::Greedy(name) => Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        let text = |text: &str| PathPart::Text(text.to_owned());
        assert_eq!(RouteKey::parse("$default"), Ok(RouteKey::Default));
        assert_eq!(
            RouteKey::parse("GET /pets/{id}"),
            Ok(RouteKey::Path {
                method: Some("GET".to_owned()),
                parts: vec![text("pets"), PathPart::Variable("id".to_owned())]
            })
        );
        assert_eq!(
            RouteKey::parse("ANY /{proxy+}"),
            Ok(RouteKey::Path { method: None, parts: vec![PathPart::Greedy("proxy".to_owned())] })
        );
        assert_eq!(RouteKey::parse("ANY /"), Ok(RouteKey::Path { method: None, parts: vec![text("")] }));
    }

    #[test]
    fn what_is_no_key() {
        for wrong in ["", "GET", "/pets", "get /pets", "TRACE /pets", "GET pets", "GET  /pets", "$connect"] {
            assert_eq!(RouteKey::parse(wrong), Err(RouteKeyError::Format), "{wrong}");
        }
        for wrong in ["GET /{proxy+}/x", "GET /{}", "GET /{+}", "GET /a{b}", "GET /{a}/{a}", "GET /{a"] {
            assert_eq!(RouteKey::parse(wrong), Err(RouteKeyError::Variable), "{wrong}");
        }
    }
}
