//! Methods that want a key: which key it is, the usage plan that lets it in, and how often.
//!
//! Buckets and quotas are counted on this node, since the server began. On AWS, too, they are "applied on a best-effort basis".
//! Source: API Gateway developer guide, "Usage plans and API keys for REST APIs".

use super::{Exchange, Kind, Reached};
use crate::Response;
use crate::http_api::throttle::Throttles;
use crate::remembered::Remembered;
use http::StatusCode;
use lamplight_model::rest_api::{
    ApiKey, KEY_KIND, KEY_VALUE_KIND, KeyOfValue, MethodSetting, Quota, Routed, Throttle, USAGE_PLAN_KIND,
    UsagePlan, key_of_value,
};
use lamplight_model::{Scope, Timestamp};
use lamplight_store::{Store, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Where clients say their key.
const HEADER: &str = "x-api-key";
/// Quotas that are counted; all are forgotten when there are more.
const QUOTAS: usize = 100_000;

/// What a key may do at a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The key's id.
    pub key_id: String,
    /// The key.
    pub value: String,
    plan_id: String,
    throttle: Option<Throttle>,
    /// Bounds of single methods.
    methods: BTreeMap<String, Throttle>,
    quota: Option<Quota>,
}

impl Grant {
    /// The name by which a method of a resource is counted: the one of its `names` (the request's, the resource's, which may be
    /// `ANY`) that has bounds.
    fn method(&self, path: &str, names: [&str; 2]) -> String {
        let [of_request, of_resource] = names.map(|name| format!("{path}/{name}"));
        match self.methods.contains_key(&of_request) {
            true => of_request,
            false => of_resource,
        }
    }
}

/// Why a key does not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    TooManyRequests,
    QuotaExceeded,
}

/// What is known of keys and how much they were used.
#[derive(Debug, Default)]
pub struct Usage {
    grants: Remembered<String, Option<Arc<Grant>>>,
    throttles: Throttles,
    of_stages: Throttles,
    quotas: Quotas,
}

impl Usage {
    /// What the key of this value may do at a stage; `None` when it is none, does not count, or has no plan for the stage.
    async fn grant(
        &self,
        store: &dyn Store,
        scope: &Scope,
        (api_id, stage): (&str, &str),
        value: &str,
    ) -> Result<Option<Arc<Grant>>, StoreError> {
        let digest = key_of_value(value);
        // Names of stages have no slash: no two places look alike.
        let place = format!("{api_id}/{stage}/{digest}");
        let read = async { Ok(read(store, scope, (api_id, stage), value, &digest).await?.map(Arc::new)) };
        self.grants.get(store, place.as_str(), read).await
    }

    /// Takes one request of a method out of what is granted.
    fn take(&self, grant: &Grant, stage: &str, method: &str, now: Timestamp) -> Result<(), Refused> {
        let own = grant.methods.get(method);
        let bucket = match own {
            Some(_) => format!("{}/{}/{stage}/{method}", grant.plan_id, grant.key_id),
            None => format!("{}/{}", grant.plan_id, grant.key_id),
        };
        if let Some(throttle) = own.or(grant.throttle.as_ref())
            && !self.throttles.take(&bucket, throttle.rate_limit, throttle.burst_limit.into(), now)
        {
            return Err(Refused::TooManyRequests);
        }
        match &grant.quota {
            Some(quota) if !self.quotas.take((&grant.plan_id, &grant.key_id), quota, now) => {
                Err(Refused::QuotaExceeded)
            }
            _ => Ok(()),
        }
    }
}

async fn read(
    store: &dyn Store,
    scope: &Scope,
    (api_id, stage): (&str, &str),
    value: &str,
    digest: &str,
) -> Result<Option<Grant>, StoreError> {
    let Some(document) = store.get_document(scope, KEY_VALUE_KIND, digest).await? else { return Ok(None) };
    let named: KeyOfValue = document.parse()?;
    let Some(document) = store.get_document(scope, KEY_KIND, &named.id).await? else { return Ok(None) };
    let key: ApiKey = document.parse()?;
    if !key.enabled || key.value != value {
        return Ok(None);
    }
    for id in &key.usage_plans {
        let Some(document) = store.get_document(scope, USAGE_PLAN_KIND, id).await? else { continue };
        let plan: UsagePlan = document.parse()?;
        if let Some(of_stage) = plan.stage(api_id, stage) {
            return Ok(Some(Grant {
                key_id: key.id,
                value: key.value,
                methods: of_stage.throttle.clone(),
                plan_id: plan.id,
                throttle: plan.throttle,
                quota: plan.quota,
            }));
        }
    }
    Ok(None)
}

/// Bounds that a stage sets for a method of a resource (named as for `Grant::method`), a second and at once: the method's, or those of
/// all. Those that AWS's accounts have by default are none here, as are negative ones.
fn bounds(settings: &BTreeMap<String, MethodSetting>, path: &str, names: [&str; 2]) -> Option<(f64, u64)> {
    let path = if path == "/" { path } else { path.trim_start_matches('/') };
    let of_method = names.map(|name| format!("{path}/{name}"));
    let found = of_method.iter().find_map(|name| settings.get(name)).or_else(|| settings.get("*/*"))?;
    let (rate, burst) = (found.throttling_rate_limit, found.throttling_burst_limit);
    let default = MethodSetting::default();
    let is_default = (rate, burst) == (default.throttling_rate_limit, default.throttling_burst_limit);
    let burst = u64::try_from(burst).ok()?;
    (!is_default && rate >= 0.0).then_some((rate, burst))
}

/// Requests of keys in the present period of their plans.
#[derive(Debug, Default)]
struct Quotas(Mutex<HashMap<(String, String), (i64, u64)>>);

impl Quotas {
    /// Takes one request of a plan's key. `false`: there is none left in this period.
    fn take(&self, (plan, key): (&str, &str), quota: &Quota, now: Timestamp) -> bool {
        let period = quota.period_at(now);
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (plan.to_owned(), key.to_owned());
        if counted.len() >= QUOTAS && !counted.contains_key(&name) {
            counted.clear();
        }
        let (of_period, used) = counted.entry(name).or_insert((period, 0));
        if *of_period != period {
            (*of_period, *used) = (period, 0);
        }
        let is_left = *used < quota.limit;
        if is_left {
            *used += 1;
        }
        is_left
    }
}

impl Exchange<'_> {
    /// Takes one request out of what the stage lets through to a method. Fails with the answer.
    pub(super) fn use_stage(&self, routed: &Routed<'_>, reached: &Reached<'_>) -> Result<(), Box<Response>> {
        let (stage, path) = (&self.served.stage, &routed.resource.path);
        let names = [self.incoming.method.as_str(), routed.method];
        let Some((rate, burst)) = bounds(&stage.method_settings, path, names) else { return Ok(()) };
        let bucket = format!("{}/{}/{}{path}", self.api.id, stage.stage_name, routed.method);
        match self.gateway.rest_api_usage.of_stages.take(&bucket, rate, burst, self.incoming.time) {
            true => Ok(()),
            false => Err(Box::new(self.throttled(reached))),
        }
    }

    /// What the request's key may do; takes one request of that. Fails with the answer.
    pub(super) async fn use_key(
        &self,
        routed: &Routed<'_>,
        reached: &Reached<'_>,
    ) -> Result<Arc<Grant>, Box<Response>> {
        let header = self.incoming.headers.get(HEADER).and_then(|value| value.to_str().ok());
        let named = reached.authorized.named_key.as_deref();
        let value = if self.api.keys_by_authorizer { named } else { header };
        let (usage, store) = (&self.gateway.rest_api_usage, &*self.gateway.parts.store);
        let stage = &self.served.stage.stage_name;
        let grant = match value.filter(|value| !value.is_empty()) {
            Some(value) => usage.grant(store, &self.api.scope, (&self.api.id, stage), value).await,
            None => Ok(None),
        };
        let grant = match grant {
            Ok(Some(grant)) => grant,
            Ok(None) => {
                let (status, message) = (StatusCode::FORBIDDEN, Some("Forbidden"));
                return Err(Box::new(self.say(Kind::InvalidApiKey, status, message, reached)));
            }
            Err(error) => {
                let request_id = self.incoming.request_id;
                tracing::error!(%request_id, error = &error as &dyn std::error::Error, "failed to find a key");
                return Err(Box::new(self.failed(Kind::ApiConfigurationError, reached)));
            }
        };
        let method = grant.method(&routed.resource.path, [self.incoming.method.as_str(), routed.method]);
        let place = format!("{}/{stage}", self.api.id);
        match usage.take(&grant, &place, &method, self.incoming.time) {
            Ok(()) => Ok(grant),
            Err(Refused::TooManyRequests) => Err(Box::new(self.throttled(reached))),
            Err(Refused::QuotaExceeded) => {
                let (status, message) = (StatusCode::TOO_MANY_REQUESTS, Some("Limit Exceeded"));
                Err(Box::new(self.say(Kind::QuotaExceeded, status, message, reached)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_model::rest_api::Period;

    fn grant() -> Grant {
        Grant {
            key_id: "k".to_owned(),
            value: "v".to_owned(),
            plan_id: "p".to_owned(),
            throttle: Some(Throttle { burst_limit: 2, rate_limit: 1.0 }),
            methods: BTreeMap::from([("/pets/GET".to_owned(), Throttle { burst_limit: 1, rate_limit: 0.0 })]),
            quota: Some(Quota { limit: 4, offset: 0, period: Period::Day }),
        }
    }

    #[test]
    fn a_burst_a_rate_and_a_quota() {
        let (usage, grant) = (Usage::default(), grant());
        let take =
            |method: &str, seconds: i64| usage.take(&grant, "abc/dev", method, Timestamp(seconds * 1_000));
        assert_eq!([take("/a/GET", 0), take("/b/GET", 0)], [Ok(()), Ok(())]);
        assert_eq!(take("/a/GET", 0), Err(Refused::TooManyRequests));
        // A method with bounds of its own has a bucket of its own.
        assert_eq!([take("/pets/GET", 0), take("/pets/GET", 9)], [Ok(()), Err(Refused::TooManyRequests)]);
        assert_eq!([take("/a/GET", 5), take("/a/GET", 6)], [Ok(()), Err(Refused::QuotaExceeded)]);
        assert_eq!(take("/a/GET", 86_400), Ok(()), "the next day");
    }

    #[test]
    fn bounds_of_stages() {
        let setting = |rate: f64, burst: i64| MethodSetting {
            throttling_rate_limit: rate,
            throttling_burst_limit: burst,
            ..MethodSetting::default()
        };
        let mut settings = BTreeMap::from([
            ("pets/{id}/GET".to_owned(), setting(1.0, 2)),
            ("pets/{id}/ANY".to_owned(), setting(3.0, 4)),
            ("//GET".to_owned(), setting(5.0, 6)),
            // Of something else.
            ("logged/GET".to_owned(), MethodSetting::default()),
            ("unbounded/GET".to_owned(), setting(-1.0, -1)),
        ]);
        let check = |settings: &BTreeMap<_, _>, path: &str, name: &str, expected: Option<(f64, u64)>| {
            assert_eq!(bounds(settings, path, [name, "ANY"]), expected, "{path} {name}");
        };
        check(&settings, "/pets/{id}", "GET", Some((1.0, 2)));
        check(&settings, "/pets/{id}", "PUT", Some((3.0, 4)));
        check(&settings, "/", "GET", Some((5.0, 6)));
        check(&settings, "/", "PUT", None);
        settings.insert("*/*".to_owned(), setting(0.0, 0));
        check(&settings, "/", "PUT", Some((0.0, 0)));
        check(&settings, "/logged", "GET", None);
        check(&settings, "/unbounded", "GET", None);
    }

    #[test]
    fn bounds_of_any_method_count_for_each() {
        let mut grant = grant();
        grant.methods.insert("/pets/ANY".to_owned(), Throttle { burst_limit: 1, rate_limit: 0.0 });
        assert_eq!(grant.method("/pets", ["GET", "ANY"]), "/pets/GET");
        assert_eq!(grant.method("/pets", ["POST", "ANY"]), "/pets/ANY");
        assert_eq!(grant.method("/pets", ["PUT", "PUT"]), "/pets/PUT");
        let usage = Usage::default();
        let take = |name: &str| {
            let method = grant.method("/pets", [name, "ANY"]);
            usage.take(&grant, "abc/dev", &method, Timestamp(0))
        };
        assert_eq!([take("POST"), take("PUT")], [Ok(()), Err(Refused::TooManyRequests)]);
    }

    #[tokio::test]
    async fn a_key_counts_where_its_plan_does() {
        use lamplight_store::{Document, Expect};
        use serde_json::json;
        let directory = tempfile::tempdir().unwrap();
        let store = lamplight_store::open(lamplight_store::Options::new(directory.path())).unwrap().store;
        let scope = Scope::default();
        let put = async |kind: &str, key: &str, value: serde_json::Value| {
            let document = Document { key: key.to_owned(), value };
            store.put_document(&scope, kind, document, Expect::Anything).await.unwrap();
        };
        let key = |enabled: bool| {
            json!({"id": "k", "value": "a key", "enabled": enabled, "createdDate": 0, "lastUpdatedDate": 0,
                "usagePlans": ["gone", "p"]})
        };
        put(KEY_VALUE_KIND, &key_of_value("a key"), json!({"id": "k"})).await;
        put(KEY_KIND, "k", key(true)).await;
        put(
            USAGE_PLAN_KIND,
            "p",
            json!({"id": "p", "name": "p", "apiStages": [{"apiId": "abc", "stage": "dev"}]}),
        )
        .await;
        let usage = Usage::default();
        let found = async |place: (&str, &str), value: &str| {
            usage.grant(&*store, &scope, place, value).await.unwrap().map(|grant| grant.key_id.clone())
        };
        assert_eq!(found(("abc", "dev"), "a key").await.as_deref(), Some("k"));
        assert_eq!(found(("abc", "prod"), "a key").await, None);
        assert_eq!(found(("other", "dev"), "a key").await, None);
        assert_eq!(found(("abc", "dev"), "another").await, None);
        put(KEY_KIND, "k", key(false)).await;
        assert_eq!(found(("abc", "dev"), "a key").await, None, "it is disabled");
    }
}
