//! API keys and usage plans: who may call methods that want a key, and how often.
//!
//! Source: API Gateway developer guide, "Usage plans and API keys for REST APIs"; API reference, "UsagePlan".

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Kind of the documents of keys, which are sealed; the key is the key's id.
pub const KEY_KIND: &str = "sealed/rest-api-key";
/// Kind of the documents that name the key of a value; the key is the value's SHA-256, in hexadecimal digits.
pub const KEY_VALUE_KIND: &str = "rest-api/key-value";
/// Key of the document that names the key of a value.
pub fn key_of_value(value: &str) -> String {
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(value) {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// Kind of the documents of usage plans; the key is the plan's id.
pub const USAGE_PLAN_KIND: &str = "rest-api/usage-plan";
/// Milliseconds of a day.
const DAY_MILLISECONDS: i64 = 86_400_000;

/// A key of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Its id.
    pub id: String,
    /// What clients send in `x-api-key`.
    pub value: String,
    /// Its name; not unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of another service. Stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it counts.
    pub enabled: bool,
    /// When it was made.
    pub created_date: Timestamp,
    /// When it was changed last.
    pub last_updated_date: Timestamp,
    /// `<api>/<stage>`. As on AWS it lets nobody in: usage plans do.
    #[serde(default)]
    pub stage_keys: Vec<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Ids of the usage plans it is in.
    #[serde(default)]
    pub usage_plans: Vec<String>,
}

/// The document that names the key of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyOfValue {
    /// The key's id.
    pub id: String,
}

/// Stages, and how often keys may call their methods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsagePlan {
    /// Its id.
    pub id: String,
    /// Its name; not unique.
    pub name: String,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Stages it is for.
    #[serde(default)]
    pub api_stages: Vec<ApiStage>,
    /// Requests a second of each key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// Requests of each key in a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Of another service. Stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_code: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl UsagePlan {
    /// What it says of a stage; `None` when it is not for that.
    pub fn stage(&self, api_id: &str, stage: &str) -> Option<&ApiStage> {
        self.api_stages.iter().find(|one| one.api_id == api_id && one.stage == stage)
    }
}

/// A stage of a usage plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiStage {
    /// Id of the API.
    pub api_id: String,
    /// Name of the stage.
    pub stage: String,
    /// Bounds of single methods, by `<resource path>/<METHOD>`, in the place of the plan's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub throttle: BTreeMap<String, Throttle>,
}

/// A bucket of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Throttle {
    /// What it holds.
    pub burst_limit: u32,
    /// What it gains a second.
    pub rate_limit: f64,
}

/// Requests in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// How many.
    pub limit: u64,
    /// Day of the week (0: Sunday) or month (0: the first) on which the period begins.
    #[serde(default)]
    pub offset: u8,
    /// How long.
    pub period: Period,
}

/// How long a quota is for. Times are UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// Seven days.
    Week,
    /// A month.
    Month,
}

impl Period {
    /// The greatest `offset`.
    pub fn greatest_offset(self) -> u8 {
        match self {
            Self::Day => 0,
            Self::Week => 6,
            Self::Month => 27,
        }
    }
}

impl Quota {
    /// A number of the period that a moment is in: another one in another period.
    pub fn period_at(&self, now: Timestamp) -> i64 {
        let day = now.as_millis().div_euclid(DAY_MILLISECONDS);
        let offset = i64::from(self.offset);
        match self.period {
            Period::Day => day,
            // The epoch began on a Thursday, four days after a Sunday.
            Period::Week => (day + 4 - offset).div_euclid(7),
            Period::Month => {
                let date = time::OffsetDateTime::UNIX_EPOCH.saturating_add(time::Duration::days(day)).date();
                let month = i64::from(date.year()) * 12 + i64::from(u8::from(date.month()));
                if i64::from(date.day()) <= offset { month - 1 } else { month }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_on_their_day() {
        // 2026-11-22 is a Sunday.
        let at = |day: u8, hour: u8| {
            let date = time::Date::from_calendar_date(2026, time::Month::November, day).unwrap();
            let moment = date.with_hms(hour, 0, 0).unwrap().assume_utc();
            Timestamp(moment.unix_timestamp() * 1_000)
        };
        let check = |period: Period, offset: u8, before: (u8, u8), after: (u8, u8), differ: bool| {
            let quota = Quota { limit: 1, offset, period };
            let (first, second) =
                (quota.period_at(at(before.0, before.1)), quota.period_at(at(after.0, after.1)));
            assert_eq!(first != second, differ, "{period:?} {offset} {before:?} {after:?}");
        };
        check(Period::Day, 0, (21, 23), (22, 0), true);
        check(Period::Day, 0, (22, 0), (22, 23), false);
        check(Period::Week, 0, (21, 23), (22, 0), true);
        check(Period::Week, 0, (22, 0), (28, 23), false);
        check(Period::Week, 1, (22, 23), (23, 0), true);
        check(Period::Week, 1, (21, 0), (22, 23), false);
        check(Period::Month, 0, (1, 0), (30, 23), false);
        check(Period::Month, 9, (9, 23), (10, 0), true);
        check(Period::Month, 9, (10, 0), (30, 23), false);
    }

    #[test]
    fn keys_of_values() {
        assert_eq!(key_of_value(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
