//! The server's configuration: defaults, file, environment, flags, in this order, later ones win.
//!
//! `serve`, `quickstart` and `runtime` read it. Keys nobody knows are refused, in the file and among the
//! `LAMPLIGHT_*` variables: a misspelt limit must not be silently without effect.

mod gateway;
mod layers;
mod places;
mod reload;

pub use gateway::Gateway;
pub use layers::{Layers, load};
pub use places::{configuration_file, default_data_directory, is_root};
pub use reload::{changes, take_over};

use crate::failure::Failure;
use lamplight_model::PriceBook;
use lamplight_model::gateway_url::is_host_name;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Reads the configuration anew, from the same places as at the start.
pub type Reader = Box<dyn Fn() -> Result<Config, Failure>>;

/// Everything an operator can set. Field names are the keys of `config.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the API listens; a loopback address until there is authentication.
    pub listen: SocketAddr,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Host header names that are served beside the loopback ones.
    pub hosts: Vec<String>,
    /// Filter of the server's own log, e.g. `info` or `lamplight_pool=debug,info`.
    pub log: String,
    /// Whether the server's own log is JSON.
    pub log_json: bool,
    /// On SIGTERM, how long running invocations may take to finish, seconds.
    pub drain_seconds: u64,
    /// First of the 65,536 host user ids of this server; 0 derives it from the data directory.
    pub first_uid: u32,
    /// Instances of this node.
    pub instances: Instances,
    /// Streamed answers.
    pub streaming: Streaming,
    /// The way out of instances.
    pub network: Networking,
    /// How long and how much is kept.
    pub keep: Keep,
    /// The object store.
    pub objects: Objects,
    /// The queues.
    pub queues: Queues,
    /// Function URLs and APIs.
    pub gateway: Gateway,
    /// Export to an OpenTelemetry collector.
    pub otel: Otel,
    /// The price book.
    pub prices: PriceBook,
}

/// Instances of this node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instances {
    /// Most instances at once.
    pub most: usize,
    /// Most invocations at once, per region.
    pub concurrency: usize,
    /// Synchronous invocations a second for each of `concurrency`, and for each a function has reserved; 0: no bound.
    pub calls_per_second_each: u64,
    /// New instances that calls of one function may start in ten seconds; 0: no bound.
    pub starts_per_ten_seconds: u64,
    /// Memory all instances together may use, MiB; 0 is 80 % of the host's.
    pub memory_mib: u64,
    /// How long an idle instance is kept at most, seconds; when memory is short, those worth least go before.
    pub keep_alive_seconds: u64,
    /// Sandboxes kept ready to be filled.
    pub ready: usize,
    /// Most interpreters kept waiting for a function, of all kinds together; 0 starts every instance from nothing.
    pub blanks: usize,
    /// Whether Python interpreters are forked from a prepared one. Forked ones share the layout of their memory and the
    /// secret of their hashes with each other, for up to an hour.
    pub zygotes: bool,
    /// Most function versions kept imported, whose instances are forked after their imports when these take long (Python);
    /// the least recently used gives way. 0: every instance imports for itself.
    pub version_zygotes: usize,
    /// Whether what the file trees of a runtime have in common is made once and copied; otherwise each is built from the beginning,
    /// which looks the same inside and takes longer.
    pub templates: bool,
    /// Whether functions that do not say so reach the public internet.
    pub egress: bool,
}

/// Streamed answers (InvokeWithResponseStream). The defaults are AWS Lambda's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Streaming {
    /// Largest streamed answer, KiB; one that is longer ends with `Function.ResponseSizeTooLarge`.
    pub most_kib: usize,
    /// What passes of an answer as fast as its caller reads, KiB.
    pub unhindered_kib: usize,
    /// How fast the rest of it passes, KiB a second; 0 is as fast as its caller reads.
    pub kib_per_second: usize,
}

/// The way out of instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Networking {
    /// Whether functions may ask for the public internet (tag `lamplight:egress`). Loads packet filter rules and
    /// lets the host forward the instances' packets.
    pub egress: bool,
    /// What such functions reach although it is not public or is this host's: networks, addresses or TCP ports
    /// of them, e.g. `192.168.7.0/24`, `192.168.7.5:5432`.
    pub allowed: Vec<String>,
    /// Networks they do not reach although they are public.
    pub refused: Vec<String>,
}

/// How long and how much is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// Function logs, days.
    pub log_days: u64,
    /// Logs of one group, MiB; the oldest go first.
    pub log_mib_per_group: u64,
    /// All logs together, MiB.
    pub log_mib: u64,
    /// Records of single invocations, days.
    pub ledger_days: u64,
    /// Records of single invocations, number.
    pub ledger_records: u64,
    /// Events that were given up, and the stories of events, days.
    pub dead_letter_days: u64,
    /// All stored ZIPs together, MiB.
    pub code_mib: u64,
}

/// The object store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    /// All objects and parts of uploads together, MiB.
    pub mib: u64,
    /// One body: an object put at once, or a part of an upload, MiB.
    pub body_mib: u64,
    /// Bodies received at once; more wait.
    pub uploads: usize,
}

/// The queues.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queues {
    /// All messages of all queues together, as the database needs them, MiB.
    pub mib: u64,
}

/// Export to an OpenTelemetry collector, by OTLP over HTTP with JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otel {
    /// Where the collector listens for HTTP, e.g. `http://127.0.0.1:4318`; empty: nothing is exported.
    pub endpoint: String,
    /// Headers of each request, as `name=value`.
    pub headers: Vec<String>,
    /// `service.name`.
    pub service: String,
    /// Whether a span of each run is exported, with the phases of its cold start.
    pub traces: bool,
    /// Whether counters of functions are.
    pub metrics: bool,
    /// Whether lines of functions are.
    pub logs: bool,
    /// Between two exports of counters, seconds.
    pub interval_seconds: u64,
}

impl Default for Otel {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            headers: Vec::new(),
            service: "lamplight".to_owned(),
            traces: true,
            metrics: true,
            logs: true,
            interval_seconds: 60,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9000)),
            data_dir: default_data_directory(),
            hosts: Vec::new(),
            log: "info".to_owned(),
            log_json: false,
            drain_seconds: 30,
            first_uid: 0,
            instances: Instances {
                most: lamplight_model::limits::ACCOUNT_CONCURRENCY,
                concurrency: lamplight_model::limits::ACCOUNT_CONCURRENCY,
                calls_per_second_each: lamplight_model::limits::CALLS_PER_SECOND_AND_CONCURRENCY,
                starts_per_ten_seconds: lamplight_model::limits::STARTS_PER_TEN_SECONDS,
                memory_mib: 0,
                keep_alive_seconds: 3_600,
                ready: 6,
                blanks: 32,
                zygotes: true,
                version_zygotes: 16,
                templates: true,
                egress: false,
            },
            streaming: Streaming {
                most_kib: lamplight_model::limits::STREAM_BYTES >> 10,
                unhindered_kib: lamplight_model::limits::STREAM_UNHINDERED_BYTES >> 10,
                kib_per_second: lamplight_model::limits::STREAM_BYTES_PER_SECOND >> 10,
            },
            network: Networking::default(),
            keep: Keep {
                log_days: 14,
                log_mib_per_group: 256,
                log_mib: 8_192,
                ledger_days: 30,
                ledger_records: 5_000_000,
                dead_letter_days: 14,
                code_mib: 76_800,
            },
            queues: Queues { mib: 65_536 },
            objects: Objects { mib: 1_048_576, body_mib: 5_120, uploads: 128 },
            gateway: Gateway::default(),
            otel: Otel::default(),
            prices: PriceBook::default(),
        }
    }
}

/// A name as `Host` has it, without its port: such names may have underscores, too.
fn is_host(text: &str) -> bool {
    is_host_name(&text.replace('_', "-")) || text.parse::<IpAddr>().is_ok()
}

impl Config {
    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), Failure> {
        if !self.listen.ip().is_loopback() {
            return Err(Failure::usage(format!("refused to listen on {}", self.listen))
                .because("there is no authentication yet, so the API is served on loopback addresses only")
                .then("--listen 127.0.0.1:9000, and for other machines an SSH tunnel: ssh -L 9000:127.0.0.1:9000 HOST"));
        }
        if !self.data_dir.is_absolute() {
            return Err(Failure::usage(format!(
                "the data directory {} is not absolute",
                self.data_dir.display()
            ))
            .then("--data-dir /var/lib/lamplight"));
        }
        for host in &self.hosts {
            // What is none would never be the host of a request, and every request would be refused without a word of why.
            if !is_host(host) {
                return Err(Failure::usage(format!("hosts has \"{host}\""))
                    .because("it is no host name: no scheme, port, path or * belongs there; ids of URLs and buckets stand before it by themselves")
                    .then("an example: hosts = [\"lamplight.example\"]"));
            }
        }
        self.gateway.check()?;
        let positive =
            [("instances.most", self.instances.most), ("instances.concurrency", self.instances.concurrency)];
        for (key, value) in positive {
            if value == 0 {
                return Err(Failure::usage(format!("{key} is 0, so nothing could ever run")));
            }
        }
        if self.objects.uploads == 0 {
            return Err(Failure::usage("objects.uploads is 0, so no object could ever be stored"));
        }
        if !(self.prices.per_gb_second.is_finite() && self.prices.per_request.is_finite()) {
            return Err(Failure::usage("a price is not a number"));
        }
        Ok(())
    }

    /// The configuration as a `config.toml`.
    pub fn to_toml(&self) -> Result<String, Failure> {
        toml::to_string_pretty(self)
            .map_err(|error| Failure::usage("failed to print the configuration").because(error))
    }
}
