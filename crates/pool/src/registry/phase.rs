//! The words the registry counts with: where an instance is in its life, and what happened so far.

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being built or in its init phase.
    Starting,
    /// Running an invocation.
    Running,
    /// Waiting for one.
    Idle,
    /// Being killed; its room is not free yet.
    Stopping,
}

/// Instances by phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PhaseCounts {
    /// Being built or in init.
    pub starting: usize,
    /// Running an invocation.
    pub running: usize,
    /// Waiting for one.
    pub idle: usize,
    /// Being killed.
    pub stopping: usize,
}

impl PhaseCounts {
    pub(super) fn of(&mut self, phase: Phase) -> &mut usize {
        match phase {
            Phase::Starting => &mut self.starting,
            Phase::Running => &mut self.running,
            Phase::Idle => &mut self.idle,
            Phase::Stopping => &mut self.stopping,
        }
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.starting + self.running + self.idle + self.stopping
    }
}

/// Counts since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Rooms granted for a start.
    pub starts: u64,
    /// Calls served by an idle instance.
    pub reuses: u64,
    /// Idle instances stopped to make room.
    pub evictions: u64,
    /// Instances started ahead of a predicted call.
    pub prewarms: u64,
    /// Idle instances whose memory was given back to the host while memory was wanted.
    pub reclaims: u64,
    /// Idle instances stopped after the keep-alive.
    pub expirations: u64,
    /// Instances stopped because their version was changed or deleted.
    pub retirements: u64,
    /// Idle instances found dead.
    pub deaths_while_idle: u64,
    /// Calls that had to wait for room.
    pub waits: u64,
    /// Calls refused for lack of room.
    pub refusals: u64,
}
