//! Where a run is on its node: told by whoever runs it, as it goes, and read by whoever asks where the request is.

use crate::timestamp::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};

/// How far a run has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RunStage {
    /// There is no instance for it yet: it waits for one that is free, or for room to start one.
    #[default]
    Queued,
    /// This instance is being started for it.
    Starting(RunInstance),
    /// This instance has it, until it is free for the next.
    Running(RunInstance),
}

impl RunStage {
    /// The instance, once there is one.
    pub fn instance(&self) -> Option<&RunInstance> {
        match self {
            Self::Queued => None,
            Self::Starting(instance) | Self::Running(instance) => Some(instance),
        }
    }
}

/// The instance of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInstance {
    /// As in the report of the run, and at the end of the log stream's name.
    pub id: Arc<str>,
    /// Where its lines go.
    pub log_stream: Arc<str>,
    /// Since when it is at the run in this stage.
    pub since: Timestamp,
}

/// The stage of one run, shared between who runs it and who asks.
#[derive(Debug, Clone, Default)]
pub struct RunPlace(Arc<Mutex<RunStage>>);

impl RunPlace {
    /// Says how far the run has come.
    pub fn tell(&self, stage: RunStage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// How far it has come.
    pub fn stage(&self) -> RunStage {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this is the place of the same run.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_one_run_is_no_others() {
        let (one, other) = (RunPlace::default(), RunPlace::default());
        let asks = one.clone();
        let instance = RunInstance { id: "i".into(), log_stream: "s/[1]i".into(), since: Timestamp(1) };
        one.tell(RunStage::Starting(instance.clone()));
        assert_eq!(asks.stage().instance(), Some(&instance));
        assert_eq!(other.stage(), RunStage::Queued);
        assert!(asks.is(&one) && !asks.is(&other));
    }
}
