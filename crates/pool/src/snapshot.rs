//! What the pool looks like at one moment, for `doctor`, metrics and tests.

use crate::instance::Instance;
use crate::provisioned::ProvisionedCounts;
use crate::registry::{Counters, PhaseCounts, Registry};
use lamplight_model::{CodeDigest, FunctionName, Scope, VersionNumber};

/// The state and the counts of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Every version with an instance, ordered by first use.
    pub versions: Vec<VersionSnapshot>,
    /// All instances by phase.
    pub instances: PhaseCounts,
    /// Idle instances whose processes stand still.
    pub frozen: usize,
    /// Interpreters that wait for a function.
    pub blanks: usize,
    /// Interpreters that have imported a version's handler, and fork its instances.
    pub version_zygotes: usize,
    /// Versions whose imports take long and that have none all the same: their instances cannot share them.
    pub unfit_versions: usize,
    /// Provisioned instances; they are among `instances`, too.
    pub provisioned: ProvisionedCounts,
    /// Packages compiled since the start of the process.
    pub compiled_packages: u64,
    /// Packages that could not be compiled.
    pub uncompiled_packages: u64,
    /// Memory all instances count for, bytes.
    pub claimed_bytes: u64,
    /// Calls waiting for room.
    pub waiting_calls: usize,
    /// Counts since the start of the process.
    pub counters: Counters,
}

/// The instances of one version (of one revision of it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionSnapshot {
    /// Where the function lives.
    pub scope: Scope,
    /// Its name.
    pub name: FunctionName,
    /// The version.
    pub version: VersionNumber,
    /// Which revision of it.
    pub revision_id: String,
    /// The packages its instances have mounted: the function's and its layers'.
    pub packages: Vec<CodeDigest>,
    /// Instances by phase.
    pub instances: PhaseCounts,
    /// Idle ones that stand still.
    pub frozen: usize,
}

impl Snapshot {
    pub(crate) fn of(registry: &Registry<Instance>) -> Self {
        let (counters, used, waiting_calls) = registry.totals();
        let mut snapshot =
            Self { claimed_bytes: used.memory_bytes, waiting_calls, counters, ..Self::default() };
        for (version, instances, frozen) in registry.versions() {
            snapshot.instances.starting += instances.starting;
            snapshot.instances.running += instances.running;
            snapshot.instances.idle += instances.idle;
            snapshot.instances.stopping += instances.stopping;
            snapshot.frozen += frozen;
            if instances.total() > 0 {
                snapshot.versions.push(VersionSnapshot {
                    scope: version.scope.clone(),
                    name: version.name.clone(),
                    version: version.version,
                    revision_id: version.revision_id.clone(),
                    packages: version.packages().cloned().collect(),
                    instances,
                    frozen,
                });
            }
        }
        snapshot
    }
}
