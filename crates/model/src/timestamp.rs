//! Points in wall-clock time as whole milliseconds, and the text forms the API prints.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

/// Milliseconds since 1970-01-01T00:00:00Z. Made from a clock by the caller; this crate reads none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From the operating system's clock value (the caller reads the clock).
    pub fn from_system(time: std::time::SystemTime) -> Self {
        match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Err(before) => Self(-i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX)),
        }
    }

    /// Milliseconds since the epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment plus `duration`, saturating.
    pub fn plus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    fn date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// `2026-01-12T15:37:17.000+0000`, the form of `LastModified` in the Lambda API.
    pub fn lambda_format(self) -> String {
        self.date_time()
            .format(format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+0000"
            ))
            .unwrap_or_default()
    }

    /// `2026-01-12T15:37:17+0000`, the form of `LastModified` of a provisioned-concurrency configuration.
    pub fn seconds_format(self) -> String {
        self.date_time()
            .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+0000"))
            .unwrap_or_default()
    }

    /// `2026-01-12T15:37:17.123000Z`, the form of the times of a function URL.
    pub fn microseconds_format(self) -> String {
        self.date_time()
            .format(format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
            ))
            .unwrap_or_default()
    }

    /// `2026-01-12T15:37:17.123Z`, the form of log records.
    pub fn iso_format(self) -> String {
        self.date_time()
            .format(format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
            ))
            .unwrap_or_default()
    }

    /// `2026-01-12T15:37:17Z`, the form of the times of API Gateway.
    pub fn iso_seconds_format(self) -> String {
        self.date_time()
            .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"))
            .unwrap_or_default()
    }

    /// `12/Jan/2026:15:37:17 +0000`, the form of `requestContext.time` in the events of HTTP requests.
    pub fn request_format(self) -> String {
        self.date_time()
            .format(format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000"))
            .unwrap_or_default()
    }

    /// `2026/01/12`, the beginning of a log stream's name.
    pub fn log_stream_date(self) -> String {
        self.date_time().format(format_description!("[year]/[month]/[day]")).unwrap_or_default()
    }

    /// `20260112T153717Z`, the time of a signature.
    pub fn signature_format(self) -> String {
        self.date_time()
            .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
            .unwrap_or_default()
    }

    /// Reads what `signature_format` prints, and nothing else.
    pub fn from_signature_format(text: &str) -> Option<Self> {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let time = time::PrimitiveDateTime::parse(text, format).ok()?.assume_utc();
        let read = Self(time.unix_timestamp().checked_mul(1_000)?);
        (read.signature_format() == text).then_some(read)
    }

    /// `20260112`, the date in a signature scope.
    pub fn compact_date(self) -> String {
        self.date_time().format(format_description!("[year][month][day]")).unwrap_or_default()
    }
}
