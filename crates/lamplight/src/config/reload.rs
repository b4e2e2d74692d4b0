//! What a running server takes over from a changed configuration, and what needs a restart.

use super::Config;
use super::layers::{insert, leaves, to_table};
use crate::failure::Failure;
use serde::Deserialize as _;
use toml::{Table, Value};

/// Keys whose new value a running server takes over; all others are read when it starts.
pub const LIVE_KEYS: &[&str] = &[
    "log",
    "hosts",
    "gateway.public_url",
    "gateway.tls.certificates",
    "gateway.tls.keys",
    "gateway.limits.connections",
    "gateway.limits.connections_per_address",
    "gateway.limits.head_kib",
    "gateway.limits.headers",
    "gateway.limits.body_mib",
    "gateway.limits.bodies_mib",
    "gateway.limits.head_seconds",
    "gateway.limits.idle_seconds",
    "gateway.limits.body_bytes_per_second",
    "gateway.limits.request_seconds",
    "gateway.limits.streams",
    "instances.concurrency",
    "instances.calls_per_second_each",
    "instances.starts_per_ten_seconds",
    "instances.keep_alive_seconds",
    "prices.per_request",
    "prices.per_gb_second",
    "prices.currency",
];

/// One key with another value than before.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// `instances.concurrency`.
    pub key: String,
    /// The value until now, as in `config.toml`.
    pub from: Value,
    /// The value from now on, or from the next start on.
    pub to: Value,
    /// Whether a running server takes it over.
    pub live: bool,
}

/// What differs between two configurations, in the order of the keys.
pub fn changes(before: &Config, after: &Config) -> Result<Vec<Change>, Failure> {
    let (before, after) = (to_table(before)?, to_table(after)?);
    let old = leaves(&before, &before);
    let new = leaves(&after, &after);
    let found = old.into_iter().zip(new).filter(|((_, from), (_, to))| from != to);
    Ok(found
        .map(|((key, from), (_, to))| Change { live: LIVE_KEYS.contains(&key.as_str()), key, from, to })
        .collect())
}

/// `before` with the changes that a running server takes over.
pub fn take_over(before: &Config, changes: &[Change]) -> Result<Config, Failure> {
    let mut table = to_table(before)?;
    for change in changes.iter().filter(|change| change.live) {
        insert(&mut table, &change.key, change.to.clone());
    }
    Config::deserialize(Value::Table(Table::from_iter(table)))
        .map_err(|error| Failure::usage("failed to take the configuration over").because(error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_keys_are_taken_over_and_others_wait_for_a_restart() {
        let before = Config::default();
        let mut after = before.clone();
        after.log = "debug".to_owned();
        after.hosts = vec!["a.example".to_owned()];
        after.instances.concurrency = 7;
        after.instances.most = 9;
        after.prices.per_request = 0.5;
        let changes = changes(&before, &after).unwrap();
        let shown: Vec<(&str, bool)> =
            changes.iter().map(|change| (change.key.as_str(), change.live)).collect();
        assert_eq!(
            shown,
            [
                ("hosts", true),
                ("instances.concurrency", true),
                ("instances.most", false),
                ("log", true),
                ("prices.per_request", true)
            ]
        );
        let now = take_over(&before, &changes).unwrap();
        assert_eq!(now.instances.concurrency, 7);
        assert_eq!(now.instances.most, before.instances.most);
        assert_eq!(super::changes(&now, &after).unwrap().len(), 1, "what waits is told again");
    }

    #[test]
    fn every_live_key_is_a_key() {
        let table = to_table(&Config::default()).unwrap();
        let keys: Vec<String> = leaves(&table, &table).into_iter().map(|(key, _)| key).collect();
        for key in LIVE_KEYS {
            assert!(keys.iter().any(|known| known == key), "{key}");
        }
    }
}
