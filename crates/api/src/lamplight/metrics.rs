//! `/lamplight/v1/metrics`: the counters in Prometheus's text format, version 0.0.4.
//!
//! No label names a function: series are bounded by ways of start, runtimes and phases. What single functions and
//! calls did is in the usage and in the records.

use lamplight_invoke::MetricsSnapshot;
use lamplight_invoke::starts::{Histogram, START_BOUNDS_US};
use lamplight_invoke::workers::InstanceCounts;
use lamplight_model::StartKind;
use lamplight_services::metrics::Totals;
use std::fmt::{Display, Write as _};

/// `Content-Type` of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole page.
pub fn text(metrics: &MetricsSnapshot, instances: &InstanceCounts, totals: &Totals) -> String {
    let mut page = Page::default();
    let sum = |of: fn(&lamplight_invoke::FunctionMetrics) -> u64| -> u64 {
        metrics.functions.iter().map(|row| of(&row.metrics)).sum()
    };
    for (name, help, value) in [
        ("invocations", "Finished runs of functions.", sum(|row| row.invocations)),
        ("errors", "Finished runs that ended in anything but success.", sum(|row| row.errors)),
        ("timeouts", "Finished runs that ended at their deadline.", sum(|row| row.timeouts)),
        ("throttles", "Calls refused with TooManyRequestsException.", sum(|row| row.throttles)),
        (
            "platform_errors",
            "Calls that got a platform error instead of a run.",
            sum(|row| row.platform_errors),
        ),
        ("dead_letters", "Events given up.", sum(|row| row.dead_letters)),
        (
            "destination_delivery_failures",
            "Records of ended events whose destination is gone.",
            sum(|row| row.destination_delivery_failures),
        ),
        ("billed_milliseconds", "Billed duration of all runs.", sum(|row| row.billed_ms)),
    ] {
        page.family(&format!("{name}_total"), "counter", help);
        page.sample(&format!("{name}_total"), &[], value);
    }
    page.family("concurrent_invocations", "gauge", "Invocations that run now.");
    page.sample("concurrent_invocations", &[], metrics.concurrent);
    page.family("events_in_flight", "gauge", "Asynchronous events being worked on now.");
    page.sample("events_in_flight", &[], metrics.asynchronous_in_flight);
    doors(&mut page, totals);
    starts(&mut page, metrics);
    gauges(&mut page, instances);
    page.0
}

/// Namespaces and names of metrics.
type Names = &'static [(&'static str, &'static str)];

/// Requests of function URLs and of APIs. What CloudWatch has two names for is one here.
fn doors(page: &mut Page, totals: &Totals) {
    const URL: &str = "AWS/Lambda";
    const API: &str = "AWS/ApiGateway";
    let sum = |of: Names| -> f64 {
        // An empty sum of floating point numbers is -0.
        totals.iter().filter(|(name, _)| of.contains(name)).fold(0.0, |all, (_, total)| all + total.sum)
    };
    let rows: [(&str, &str, Names); 8] = [
        ("url_requests", "Requests of function URLs.", &[(URL, "UrlRequestCount")]),
        ("url_client_errors", "Requests of function URLs answered with 4xx.", &[(URL, "Url4xxCount")]),
        ("url_server_errors", "Requests of function URLs answered with 5xx.", &[(URL, "Url5xxCount")]),
        ("url_milliseconds", "Time until function URLs answered.", &[(URL, "UrlRequestLatency")]),
        ("api_requests", "Requests of HTTP and REST APIs.", &[(API, "Count")]),
        ("api_client_errors", "Requests of APIs answered with 4xx.", &[(API, "4xx"), (API, "4XXError")]),
        ("api_server_errors", "Requests of APIs answered with 5xx.", &[(API, "5xx"), (API, "5XXError")]),
        ("api_milliseconds", "Time until APIs answered.", &[(API, "Latency")]),
    ];
    for (name, help, of) in rows {
        page.family(&format!("{name}_total"), "counter", help);
        page.sample(&format!("{name}_total"), &[], sum(of));
    }
}

fn starts(page: &mut Page, metrics: &MetricsSnapshot) {
    page.family("starts_total", "counter", "Runs by the way their instance came to be.");
    for row in &metrics.starts {
        page.sample("starts_total", &[("start", word(row.start)), ("runtime", &row.runtime)], row.runs);
    }
    let cold = || metrics.starts.iter().filter(|row| row.start != StartKind::Warm && row.whole.count() > 0);
    page.family("cold_start_seconds", "histogram", "Cold starts, from the call to the ready instance.");
    for row in cold() {
        let labels = [("start", word(row.start)), ("runtime", row.runtime.as_str())];
        page.histogram("cold_start_seconds", &labels, &row.whole);
    }
    page.family("cold_start_phase_seconds", "histogram", "Cold starts by phase.");
    for row in cold() {
        for (phase, histogram) in &row.phases {
            let labels = [("start", word(row.start)), ("runtime", row.runtime.as_str()), ("phase", phase)];
            page.histogram("cold_start_phase_seconds", &labels, histogram);
        }
    }
}

fn gauges(page: &mut Page, instances: &InstanceCounts) {
    let InstanceCounts { phases, frozen, blanks, provisioned } = instances;
    page.family("instances", "gauge", "Instances of functions by what they do.");
    for (phase, count) in [
        ("starting", phases.starting),
        ("running", phases.running),
        ("idle", phases.idle),
        ("stopping", phases.stopping),
    ] {
        page.sample("instances", &[("phase", phase)], count);
    }
    page.family("frozen_instances", "gauge", "Idle instances whose processes stand still.");
    page.sample("frozen_instances", &[], frozen);
    page.family("blank_instances", "gauge", "Interpreters that wait and belong to no function yet.");
    page.sample("blank_instances", &[], blanks);
    page.family("provisioned_instances", "gauge", "Provisioned instances: asked for, ready, starting.");
    for (state, count) in
        [("wanted", provisioned.wanted), ("ready", provisioned.ready), ("starting", provisioned.starting)]
    {
        page.sample("provisioned_instances", &[("state", state)], count);
    }
    page.family("provisioned_starts_total", "counter", "Starts of provisioned instances by their result.");
    for (result, count) in [("ready", provisioned.started), ("failed", provisioned.failed)] {
        page.sample("provisioned_starts_total", &[("result", result)], count);
    }
}

fn word(start: StartKind) -> &'static str {
    match start {
        StartKind::Warm => "warm",
        StartKind::FromNothing => "from-nothing",
        StartKind::Blank => "blank",
        StartKind::Zygote => "zygote",
        StartKind::VersionZygote => "version-zygote",
    }
}

/// The page as far as it is written. Every name begins with `lamplight_`.
#[derive(Default)]
struct Page(String);

impl Page {
    // Writing to a string cannot fail.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP lamplight_{name} {help}\n# TYPE lamplight_{name} {kind}");
    }

    /// Label values are words of ours and names of runtimes: nothing in them needs escaping.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "lamplight_{name}");
        if !labels.is_empty() {
            let labels: Vec<String> =
                labels.iter().map(|(label, text)| format!("{label}=\"{text}\"")).collect();
            let _ = write!(self.0, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut below = 0;
        let bounds = START_BOUNDS_US.iter().map(|bound_us| (*bound_us as f64 / 1e6).to_string());
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(histogram.counts) {
            below += count;
            let labels = [labels, &[("le", bound.as_str())]].concat();
            self.sample(&format!("{name}_bucket"), &labels, below);
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum_us as f64 / 1e6);
        self.sample(&format!("{name}_count"), labels, histogram.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_invoke::starts::StartRow;
    use lamplight_services::metrics::Total;

    #[test]
    fn histograms_are_cumulative_and_labelled() {
        let mut whole = Histogram::default();
        whole.counts[1] = 2;
        whole.counts[16] = 1;
        whole.sum_us = 31_000_500;
        let row = StartRow {
            start: StartKind::Blank,
            runtime: "python3.11".to_owned(),
            runs: 3,
            whole,
            phases: vec![("init", whole)],
        };
        let warm = StartRow {
            start: StartKind::Warm,
            whole: Histogram::default(),
            phases: Vec::new(),
            runs: 7,
            ..row.clone()
        };
        let metrics = MetricsSnapshot { starts: vec![row, warm], ..MetricsSnapshot::default() };
        let total = |sum| Total { sum, count: 9 };
        let totals = Totals::from([
            (("AWS/ApiGateway", "4xx"), total(1.0)),
            (("AWS/ApiGateway", "4XXError"), total(2.0)),
            (("AWS/ApiGateway", "5xx"), total(5.0)),
        ]);
        let page = text(&metrics, &InstanceCounts::default(), &totals);
        let expected = [
            "lamplight_url_requests_total 0",
            "lamplight_api_client_errors_total 3",
            "lamplight_starts_total{start=\"blank\",runtime=\"python3.11\"} 3",
            "lamplight_starts_total{start=\"warm\",runtime=\"python3.11\"} 7",
            "# TYPE lamplight_cold_start_seconds histogram",
            "lamplight_cold_start_seconds_bucket{start=\"blank\",runtime=\"python3.11\",le=\"0.0002\"} 0",
            "lamplight_cold_start_seconds_bucket{start=\"blank\",runtime=\"python3.11\",le=\"0.0005\"} 2",
            "lamplight_cold_start_seconds_bucket{start=\"blank\",runtime=\"python3.11\",le=\"30\"} 2",
            "lamplight_cold_start_seconds_bucket{start=\"blank\",runtime=\"python3.11\",le=\"+Inf\"} 3",
            "lamplight_cold_start_seconds_sum{start=\"blank\",runtime=\"python3.11\"} 31.0005",
            "lamplight_cold_start_phase_seconds_count{start=\"blank\",runtime=\"python3.11\",phase=\"init\"} 3",
            "lamplight_provisioned_instances{state=\"ready\"} 0",
            "lamplight_provisioned_starts_total{result=\"failed\"} 0",
        ];
        for line in expected {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!page.contains("cold_start_seconds_bucket{start=\"warm\""), "{page}");
        assert!(page.lines().all(|line| line.starts_with("# ") || line.starts_with("lamplight_")));
    }
}
