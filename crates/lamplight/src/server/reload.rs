//! SIGHUP: reads the configuration again and takes over what a running server can; says what changed and what waits.

use super::telemetry::FilterSwitch;
use super::wiring::Server;
use crate::config::{Config, Reader, changes, take_over};
use crate::failure::Failure;

/// What a reload compares with and changes.
pub struct Reload {
    read: Reader,
    /// What is in force.
    current: Config,
    filter: FilterSwitch,
}

impl Reload {
    /// `current` is what the server was started with.
    pub fn new(read: Reader, current: Config, filter: FilterSwitch) -> Self {
        Self { read, current, filter }
    }

    /// Does it. A configuration that is wrong changes nothing.
    pub fn run(&mut self, server: &Server) {
        match self.try_run(server) {
            Ok((taken_over, waiting)) => tracing::info!(taken_over, waiting, "read the configuration again"),
            Err(failure) => tracing::error!(
                why = failure.why.as_deref().unwrap_or_default(),
                "the configuration is not taken over, nothing changed: {}",
                failure.what
            ),
        }
    }

    /// Gives the number of changes that are in force now, and of those that wait for a restart.
    fn try_run(&mut self, server: &Server) -> Result<(usize, usize), Failure> {
        let read = (self.read)()?;
        read.check()?;
        super::telemetry::check(&read)?;
        let changes = changes(&self.current, &read)?;
        let next = take_over(&self.current, &changes)?;
        server.apply(&next)?;
        if next.log != self.current.log {
            (self.filter)(&next.log)?;
        }
        self.current = next;
        for change in &changes {
            let (key, from, to) = (&change.key, &change.from, &change.to);
            if change.live {
                tracing::info!(%key, %from, %to, "changed");
            } else {
                tracing::warn!(%key, %from, %to, "changed in the configuration, and needs a restart");
            }
        }
        let taken_over = changes.iter().filter(|change| change.live).count();
        Ok((taken_over, changes.len() - taken_over))
    }
}
