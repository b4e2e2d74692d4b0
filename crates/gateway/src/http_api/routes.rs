//! Which route takes a request.
//!
//! Source: API Gateway developer guide, "Routes for HTTP APIs": a full match first, then a greedy variable, then `$default`; of
//! several, the most specific one. Of two with the same path, the one that names the method comes before `ANY`.

use lamplight_model::http_api::{PathPart, Route, RouteKey, Texts};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::cmp::Reverse;

/// The routes of a definition, ready to choose from.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Most specific first, so that the first one that fits is it.
    routes: Vec<Compiled>,
    /// Id of the route `$default`.
    default: Option<String>,
}

#[derive(Debug)]
struct Compiled {
    route_id: String,
    method: Option<String>,
    parts: Vec<PathPart>,
}

/// A route and what its variables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Id of the route.
    pub route_id: String,
    /// Decoded values of path variables.
    pub path_parameters: Texts,
}

/// The path holds percent-encoded bytes that are no UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undecodable;

impl RouteTable {
    /// Of the routes of an API. A key that cannot be read takes nothing.
    pub fn new<'a>(routes: impl IntoIterator<Item = &'a Route>) -> Self {
        let mut table = Self::default();
        for route in routes {
            match RouteKey::parse(&route.route_key) {
                Ok(RouteKey::Default) => table.default = Some(route.route_id.clone()),
                Ok(RouteKey::Path { method, parts }) => {
                    table.routes.push(Compiled { route_id: route.route_id.clone(), method, parts });
                }
                Err(_) => {}
            }
        }
        table.routes.sort_by_cached_key(|route| Reverse(route.rank()));
        table
    }

    /// The route of a request, `path` percent-encoded as it came. `None` when none takes it.
    pub fn choose(&self, method: &str, path: &str) -> Result<Option<Choice>, Undecodable> {
        let segments: Vec<Cow<'_, str>> =
            path.strip_prefix('/').unwrap_or(path).split('/').map(decoded).collect::<Result<_, _>>()?;
        let found = self.routes.iter().find_map(|route| {
            let fits = route.method.as_deref().is_none_or(|own| own == method);
            let path_parameters = fits.then(|| parameters(&route.parts, &segments)).flatten()?;
            Some(Choice { route_id: route.route_id.clone(), path_parameters })
        });
        let default = || {
            let route_id = self.default.clone()?;
            Some(Choice { route_id, path_parameters: Texts::new() })
        };
        Ok(found.or_else(default))
    }
}

impl Compiled {
    /// Greater is more specific: no greedy variable, then texts before variables from the left, then a method.
    fn rank(&self) -> (bool, Vec<u8>, bool) {
        let part = |part: &PathPart| match part {
            PathPart::Text(_) => 2,
            PathPart::Variable(_) => 1,
            PathPart::Greedy(_) => 0,
        };
        let greedy = matches!(self.parts.last(), Some(PathPart::Greedy(_)));
        (!greedy, self.parts.iter().map(part).collect(), self.method.is_some())
    }
}

/// What the variables are when the segments fit; a variable takes one segment that is not empty, a greedy one all that are left.
fn parameters(parts: &[PathPart], segments: &[Cow<'_, str>]) -> Option<Texts> {
    let mut found = Texts::new();
    for (at, part) in parts.iter().enumerate() {
        let segment = segments.get(at)?;
        match part {
            PathPart::Text(text) if text == segment => {}
            PathPart::Variable(name) if !segment.is_empty() => {
                found.insert(name.clone(), segment.to_string());
            }
            PathPart::Greedy(name) if !segment.is_empty() => {
                found.insert(name.clone(), segments[at..].join("/"));
                return Some(found);
            }
            _ => return None,
        }
    }
    (parts.len() == segments.len()).then_some(found)
}

/// A percent-encoded text, decoded. What is no percent-encoding stays as it is.
pub fn decoded(text: &str) -> Result<Cow<'_, str>, Undecodable> {
    percent_decode_str(text).decode_utf8().map_err(|_| Undecodable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(keys: &[&str]) -> RouteTable {
        let routes: Vec<Route> = keys
            .iter()
            .map(|key| Route {
                route_id: (*key).to_owned(),
                route_key: (*key).to_owned(),
                ..Route::default()
            })
            .collect();
        RouteTable::new(&routes)
    }

    fn check(keys: &[&str], method: &str, path: &str, expected: Option<(&str, &[(&str, &str)])>) {
        let chosen = table(keys).choose(method, path).unwrap();
        let expected = expected.map(|(key, parameters)| Choice {
            route_id: key.to_owned(),
            path_parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        });
        assert_eq!(chosen, expected, "{method} {path} among {keys:?}");
    }

    #[test]
    fn the_table_of_the_developer_guide() {
        let keys =
            ["GET /pets/dog/1", "GET /pets/dog/{id}", "GET /pets/{proxy+}", "ANY /{proxy+}", "$default"];
        check(&keys, "GET", "/pets/dog/1", Some(("GET /pets/dog/1", &[])));
        check(&keys, "GET", "/pets/dog/2", Some(("GET /pets/dog/{id}", &[("id", "2")])));
        check(&keys, "GET", "/pets/cat/1", Some(("GET /pets/{proxy+}", &[("proxy", "cat/1")])));
        check(&keys, "POST", "/test/5", Some(("ANY /{proxy+}", &[("proxy", "test/5")])));
        check(&keys, "GET", "/", Some(("$default", &[])));
    }

    #[test]
    fn what_comes_before_what() {
        check(&["ANY /a", "GET /a"], "GET", "/a", Some(("GET /a", &[])));
        check(&["ANY /a", "GET /a"], "POST", "/a", Some(("ANY /a", &[])));
        // A full match comes before a greedy one, whatever their methods.
        check(&["GET /a/{p+}", "ANY /{x}/b"], "GET", "/a/b", Some(("ANY /{x}/b", &[("x", "a")])));
        check(&["GET /{x}/b", "GET /a/{y}"], "GET", "/a/b", Some(("GET /a/{y}", &[("y", "b")])));
        check(&["GET /{p+}", "GET /a/{p+}"], "GET", "/a/b", Some(("GET /a/{p+}", &[("p", "b")])));
        check(&["POST /a/b", "ANY /{p+}"], "GET", "/a/b", Some(("ANY /{p+}", &[("p", "a/b")])));
    }

    #[test]
    fn what_fits_nothing() {
        check(&["GET /a"], "GET", "/a/", None);
        check(&["GET /a"], "GET", "/A", None);
        check(&["GET /a/{x}"], "GET", "/a/", None);
        check(&["GET /{p+}"], "GET", "/", None);
        check(&["GET /a"], "get", "/a", None);
        check(&[], "GET", "/", None);
        check(&["GET /"], "GET", "/", Some(("GET /", &[])));
    }

    #[test]
    fn variables_are_decoded() {
        check(&["GET /{x}"], "GET", "/a%2Fb%20c", Some(("GET /{x}", &[("x", "a/b c")])));
        check(&["GET /{p+}"], "GET", "/%C3%A9/b%2F/", Some(("GET /{p+}", &[("p", "é/b//")])));
        check(&["GET /a b"], "GET", "/x", None);
        check(&["GET /caf\u{e9}"], "GET", "/caf%C3%A9", Some(("GET /caf\u{e9}", &[])));
        check(&["GET /{x}"], "GET", "/100%", Some(("GET /{x}", &[("x", "100%")])));
        assert_eq!(table(&["GET /{x}"]).choose("GET", "/%FF"), Err(Undecodable));
    }

    fn key() -> impl Strategy<Value = String> {
        let method = prop_oneof![Just("ANY"), Just("GET"), Just("POST")];
        let part = prop_oneof![Just("a"), Just("b"), Just("{v}")];
        let end = prop_oneof![Just(""), Just("/{p+}"), Just("/a"), Just("/{w}")];
        (method, part, end).prop_map(|(method, part, end)| format!("{method} /{part}{end}"))
    }

    proptest! {
        /// The order in which routes were made decides nothing, what is chosen fits, and nothing that fits is more specific.
        #[test]
        fn the_choice_is_the_most_specific_one(
            keys in proptest::collection::btree_set(key(), 0..8),
            path in "(/[abc]){1,3}",
            method in prop_oneof![Just("GET"), Just("POST"), Just("PUT")],
        ) {
            let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let chosen = table(&keys).choose(method, &path).unwrap();
            keys.reverse();
            let again = table(&keys).choose(method, &path).unwrap();
            let segments: Vec<Cow<'_, str>> = path[1..].split('/').map(Cow::from).collect();
            let fitting: Vec<Compiled> = keys
                .iter()
                .filter_map(|key| match RouteKey::parse(key) {
                    Ok(RouteKey::Path { method, parts }) => Some(Compiled { route_id: (*key).to_owned(), method, parts }),
                    _ => None,
                })
                .filter(|route| route.method.as_deref().is_none_or(|own| own == method))
                .filter(|route| parameters(&route.parts, &segments).is_some())
                .collect();
            let best = fitting.iter().max_by_key(|route| route.rank());
            prop_assert_eq!(chosen.is_some(), best.is_some());
            if let (Some(chosen), Some(again), Some(best)) = (chosen, again, best) {
                let rank = |id: &str| fitting.iter().find(|route| route.route_id == id).map(Compiled::rank);
                prop_assert_eq!(rank(&chosen.route_id), Some(best.rank()));
                prop_assert_eq!(rank(&again.route_id), Some(best.rank()));
            }
        }

        /// Nothing that comes in makes it fail.
        #[test]
        fn any_path_is_answered(path in ".*") {
            let _ = table(&["GET /{a}/x", "ANY /{p+}", "$default"]).choose("GET", &path);
        }
    }
}
