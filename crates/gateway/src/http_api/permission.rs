//! What function policies and policies of callers name of an HTTP API.

use lamplight_model::Scope;
use lamplight_model::http_api::Route;

/// The ARN of a route as policies name it: `arn:aws:execute-api:<region>:<account>:<api>/<stage>/<method>/<path>`, or
/// `…/<stage>/$default`.
pub fn route_arn(scope: &Scope, api_id: &str, stage: &str, route: &Route) -> String {
    let key = match route.route_key.split_once(' ') {
        Some(("ANY", path)) => format!("*{path}"),
        Some((method, path)) => format!("{method}{path}"),
        None => route.route_key.clone(),
    };
    scope.arn("execute-api", &format!("{api_id}/{stage}/{key}"))
}

/// The ARN of an authorizer as policies name it.
pub fn authorizer_arn(scope: &Scope, api_id: &str, authorizer_id: &str) -> String {
    scope.arn("execute-api", &format!("{api_id}/authorizers/{authorizer_id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_the_route() {
        for (route_key, expected) in [
            ("GET /pets/{id}", "abc/dev/GET/pets/{id}"),
            ("ANY /pets", "abc/dev/*/pets"),
            ("GET /", "abc/dev/GET/"),
            ("$default", "abc/dev/$default"),
        ] {
            let route = Route { route_key: route_key.to_owned(), ..Route::default() };
            let arn = route_arn(&Scope::default(), "abc", "dev", &route);
            assert_eq!(arn, format!("arn:aws:execute-api:us-east-1:000000000000:{expected}"));
        }
    }
}
