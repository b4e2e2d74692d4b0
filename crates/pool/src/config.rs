//! The bounds of the pool, each with its reason.

use crate::blanks::BlanksConfig;
use crate::policy::{BlankBounds, Budget, VersionZygoteBounds};
use lamplight_model::rate::Rate;
use lamplight_runtime::StreamLimits;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// Memory an instance counts for before its version has been measured, bytes. An idle Python instance uses
/// about 10 MiB, Node about 30; 200 first calls must fit 80 % of a host of 8 GiB (32 MiB each).
pub const UNSEEN_CLAIM_BYTES: u64 = 24 * MIB;

/// Bounds of one node's pool.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// How long an instance stays idle at most. While the node has room nobody is better off for its end, so this is
    /// long; when room is short, the instances worth least go first, however young.
    pub keep_alive: Duration,
    /// Step in which the times without calls are counted that calls are predicted from.
    pub histogram_bin: Duration,
    /// How long after its last call an instance is frozen. A freeze and thaw costs as much as a warm round
    /// trip, so instances under steady load are not frozen between calls.
    pub freeze_after: Duration,
    /// How long after its last call a frozen instance's memory is reclaimed, while memory is wanted on the node. Not at
    /// once: what was reclaimed has to be read again when it is called.
    pub reclaim_after: Duration,
    /// Limit of the init phase; exceeded, init runs again inside the first invocation.
    pub init_limit: Duration,
    /// What all instances may take together.
    pub budget: Budget,
    /// New instances that calls of one function may start, in so much time; more calls are refused with
    /// `TooManyRequestsException`. What is started without a call does not count.
    pub starts_of_a_function: Rate,
    /// Calls that may wait for room; more are refused with `TooManyRequestsException`.
    pub waiting_calls: usize,
    /// How long a call may wait for room.
    pub waiting_time: Duration,
    /// Sandboxes being built at once: more only contend for the processors and the kernel's mount lock.
    pub concurrent_builds: usize,
    /// Interpreters that wait for a function.
    pub blanks: BlanksConfig,
    /// Whether blanks may be forked from a prepared interpreter instead of starting one each.
    pub zygotes: bool,
    /// Interpreters that have imported one version's handler and fork its instances; none without `zygotes`.
    pub version_zygotes: VersionZygoteBounds,
    /// How long a package may be compiled in the background, for later starts. Zero: none is. The program that does it stops
    /// by itself after 40 s and keeps what it has.
    pub compile_limit: Duration,
    /// `/tmp` volumes of poisoned instances kept for the next instance of their version, on the whole node.
    pub carried_volumes: usize,
    /// How long such a volume is kept.
    pub carried_for: Duration,
    /// Step of billed durations, milliseconds (the price book's).
    pub billing_granularity_ms: u64,
    /// How large a streamed answer may be, and how fast it may pass.
    pub stream: StreamLimits,
    /// Whether functions that do not say reach the public internet.
    pub egress_by_default: bool,
    /// Processes and threads of one instance.
    pub processes: u32,
    /// Open files of one process. Lambda: 1024.
    pub open_files: u32,
}

impl PoolConfig {
    /// Defaults for a host with so many bytes of memory: 80 % of it for instances.
    pub fn for_host(memory_bytes: u64) -> Self {
        Self {
            keep_alive: Duration::from_secs(3_600),
            histogram_bin: crate::policy::HISTOGRAM_BIN,
            freeze_after: Duration::from_millis(100),
            reclaim_after: Duration::from_secs(30),
            init_limit: Duration::from_secs(lamplight_model::limits::INIT_SECONDS),
            budget: Budget {
                memory_bytes: memory_bytes / 10 * 8,
                instances: lamplight_model::limits::ACCOUNT_CONCURRENCY,
            },
            starts_of_a_function: Rate {
                count: lamplight_model::limits::STARTS_PER_TEN_SECONDS,
                per: Duration::from_secs(10),
            },
            waiting_calls: 1_000,
            waiting_time: Duration::from_secs(10),
            concurrent_builds: 8,
            blanks: BlanksConfig {
                kind: BlankBounds { least: 2, most: 16, unused_after: Duration::from_secs(3_600) },
                most: 32,
            },
            zygotes: true,
            version_zygotes: VersionZygoteBounds {
                most: 16,
                least_init: Duration::from_millis(10),
                unused_after: Duration::from_secs(3_600),
                settled: Duration::from_secs(60),
            },
            compile_limit: Duration::from_secs(60),
            carried_volumes: 32,
            carried_for: Duration::from_secs(600),
            billing_granularity_ms: 1,
            stream: StreamLimits::default(),
            egress_by_default: false,
            processes: 1_024,
            open_files: 1_024,
        }
    }
}
