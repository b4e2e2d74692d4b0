//! Which resource a path means: fixed segments before `{name}` before `{name+}`.

use super::{Definition, Resource, is_greedy, is_variable};
use percent_encoding::percent_decode_str;
use std::collections::{BTreeMap, HashMap};

/// A resource that was found, with what its variables stand for.
#[derive(Debug, PartialEq, Eq)]
pub struct Routed<'a> {
    /// The resource.
    pub resource: &'a Resource,
    /// The method's name in the resource: the request's, or `ANY`.
    pub method: &'a str,
    /// The path as it was understood: percent-decoded, with a slash before it and none behind. Policies are asked about this one.
    pub path: String,
    /// Variables, percent-decoded; without the slash a path may end in.
    pub path_parameters: BTreeMap<String, String>,
}

/// The resource and method of a request; `path` as it came, without the stage. `None` when there is none: a resource without
/// the method is as good as no resource, and the next best one is looked at.
pub fn route<'a>(definition: &'a Definition, method: &str, path: &str) -> Option<Routed<'a>> {
    let mut children: HashMap<&str, Vec<&Resource>> = HashMap::new();
    let mut root = None;
    for resource in definition.resources.values() {
        match &resource.parent_id {
            Some(parent) => children.entry(parent).or_default().push(resource),
            None => root = Some(resource),
        }
    }
    // A slash at the end says nothing.
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let segments: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
    let understood = format!("/{}", percent_decode_str(path).decode_utf8_lossy());
    let mut parameters = Vec::new();
    let (resource, method) = descend(&children, root?, &segments, method, &mut parameters)?;
    Some(Routed {
        resource,
        method,
        path: understood,
        path_parameters: parameters
            .into_iter()
            .map(|(name, value)| {
                (name.to_owned(), percent_decode_str(&value).decode_utf8_lossy().into_owned())
            })
            .collect(),
    })
}

type Children<'a> = HashMap<&'a str, Vec<&'a Resource>>;

/// Depth is bounded by the depth of the resources, not by the path.
fn descend<'a>(
    children: &Children<'a>,
    at: &'a Resource,
    segments: &[&str],
    method: &str,
    parameters: &mut Vec<(&'a str, String)>,
) -> Option<(&'a Resource, &'a str)> {
    let Some((first, rest)) = segments.split_first() else {
        return served(at, method).map(|method| (at, method));
    };
    let below = children.get(at.id.as_str()).map(Vec::as_slice).unwrap_or_default();
    let part = |resource: &'a Resource| resource.path_part.as_deref().unwrap_or_default();
    let fixed = below.iter().filter(|child| !is_variable(part(child)) && part(child) == *first);
    let variable = below.iter().filter(|child| is_variable(part(child)) && !is_greedy(part(child)));
    for child in fixed.chain(variable) {
        let part = part(child);
        let before = parameters.len();
        if is_variable(part) {
            // A variable stands for something.
            if first.is_empty() {
                continue;
            }
            parameters.push((&part[1..part.len() - 1], (*first).to_owned()));
        }
        if let Some(found) = descend(children, child, rest, method, parameters) {
            return Some(found);
        }
        parameters.truncate(before);
    }
    let child = below.iter().find(|child| is_greedy(part(child)))?;
    let method = served(child, method)?;
    let part = part(child);
    parameters.push((&part[1..part.len() - 2], segments.join("/")));
    Some((child, method))
}

/// The name of the method that answers.
fn served<'a>(resource: &'a Resource, method: &str) -> Option<&'a str> {
    let methods = &resource.resource_methods;
    let own = methods.get_key_value(method).filter(|_| method != "ANY");
    own.or_else(|| methods.get_key_value("ANY")).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::tests::definition;
    use super::*;

    fn check(paths: &[&str], path: &str, expected: Option<(&str, &str)>) {
        let definition = definition(paths);
        let got = route(&definition, "GET", path);
        let got = got.map(|routed| {
            let parameters: Vec<String> =
                routed.path_parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            (routed.resource.path.clone(), parameters.join("&"))
        });
        let expected = expected.map(|(resource, parameters)| (resource.to_owned(), parameters.to_owned()));
        assert_eq!(got, expected, "{path} in {paths:?}");
    }

    #[test]
    fn fixed_before_variable_before_greedy() {
        let all = ["/pets", "/pets/new", "/pets/{id}", "/pets/{id}/toys", "/{proxy+}"];
        check(&all, "/pets", Some(("/pets", "")));
        check(&all, "/pets/", Some(("/pets", "")));
        check(&all, "/pets/new", Some(("/pets/new", "")));
        check(&all, "/pets/7", Some(("/pets/{id}", "id=7")));
        check(&all, "/pets/7/toys", Some(("/pets/{id}/toys", "id=7")));
        check(&all, "/pets/7/8", Some(("/{proxy+}", "proxy=pets/7/8")));
        check(&all, "/other/", Some(("/{proxy+}", "proxy=other")));
        check(&all, "/", None);
        check(&["/"], "/", Some(("/", "")));
        check(&["/"], "/x", None);
        check(&["/pets/{id}"], "/pets", None);
        // A fixed segment that leads nowhere does not hide a variable.
        check(&["/a/b", "/{x}/c"], "/a/c", Some(("/{x}/c", "x=a")));
        // Nor does a resource without the method.
        check(&["/a/b/c", "/a/{x}"], "/a/b", Some(("/a/{x}", "x=b")));
    }

    #[test]
    fn variables_are_decoded_and_never_empty() {
        check(&["/{x}"], "/a%20b%2Fc", Some(("/{x}", "x=a b/c")));
        check(&["/{x}"], "/%ff", Some(("/{x}", "x=\u{fffd}")));
        check(&["/{x}/y"], "//y", None);
        check(&["/{proxy+}"], "/a//b", Some(("/{proxy+}", "proxy=a//b")));
        check(&["/{proxy+}"], "/a/../../b", Some(("/{proxy+}", "proxy=a/../../b")));
    }

    #[test]
    fn one_path_for_all_ways_to_write_it() {
        let definition = definition(&["/", "/pets/{id}", "/{proxy+}"]);
        for (path, expected) in [
            ("/pets/secret", "/pets/secret"),
            ("/pets/%73ecret", "/pets/secret"),
            ("/pets/secret/", "/pets/secret"),
            ("/%70ets/secret", "/pets/secret"),
            ("/pets%2Fsecret", "/pets/secret"),
            ("/a//b", "/a//b"),
            ("/", "/"),
        ] {
            assert_eq!(route(&definition, "GET", path).unwrap().path, expected, "{path}");
        }
    }

    #[test]
    fn any_takes_what_is_left() {
        let mut definition = definition(&["/a"]);
        let resource = definition.resources.get_mut("/a").unwrap();
        resource.resource_methods.insert("ANY".to_owned(), super::super::Method::new("ANY", "NONE"));
        assert_eq!(route(&definition, "GET", "/a").unwrap().method, "GET");
        assert_eq!(route(&definition, "PUT", "/a").unwrap().method, "ANY");
        assert_eq!(route(&definition, "ANY", "/a").unwrap().method, "ANY");
    }
}
