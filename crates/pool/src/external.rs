//! External extensions of one instance: the processes beside its runtime, and how an instance that has extensions ends.
//!
//! Which files of a version's layers are extensions is decided here; the sandbox starts them, the conversation speaks with
//! them. Source: AWS Lambda developer guide, "Using the Lambda Extensions API"; the texts as public issues show them.

use crate::instance::OwnedTask;
use crate::log::{Journal, Output, Source};
use lamplight_runtime::ShutdownReason;
use lamplight_runtime::extensions::{Failure, MOST};
use lamplight_sandbox::CompanionEnd;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Where layers bring them.
pub const DIRECTORY: &str = "extensions";
/// How long the news of an extension's end may take after it has said that it cannot go on.
const LAST_STEP: Duration = Duration::from_secs(1);

/// Why an extension ended the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionEnd {
    /// `errorType`.
    pub error_type: String,
    /// For the caller and the log.
    pub text: String,
}

impl ExtensionEnd {
    /// A process that ended, or was never one.
    fn of(end: &CompanionEnd) -> Self {
        let (error_type, text) = match end {
            CompanionEnd::NotStarted(reason) => ("Extension.LaunchError", reason.clone()),
            CompanionEnd::Exited { .. } => ("Extension.Crash", exit_text(end)),
        };
        Self { error_type: error_type.to_owned(), text }
    }

    /// More files than extensions are allowed.
    pub fn too_many() -> Self {
        Self {
            error_type: "Extension.TooManyExtensions".to_owned(),
            text: format!("Extension limit ({MOST}) reached"),
        }
    }
}

/// `exit code 1` is AWS's; the words for a signal are those for runtimes.
fn exit_text(end: &CompanionEnd) -> String {
    match end {
        CompanionEnd::Exited { status: Some(status), .. } => format!("exit code {status}"),
        CompanionEnd::Exited { signal: Some(signal), .. } => {
            format!("signal: {}", crate::documents::signal_text(*signal))
        }
        CompanionEnd::Exited { .. } => "exit code unknown".to_owned(),
        CompanionEnd::NotStarted(reason) => reason.clone(),
    }
}

/// The names of the extensions that layers bring, each once, in the order in which they are started.
pub fn names(layers: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    layers.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect()
}

/// What an extension's environment does not have of its function's.
/// Source: "Using the Lambda Extensions API", "Environment variables". The paths of modules are the runtime's own, too.
const RUNTIMES_OWN: &[&str] = &[
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "NODE_PATH",
    "PYTHONPATH",
];

/// The environment of extensions, made from that of their function.
pub fn environment(function: Vec<(String, String)>) -> Vec<(String, String)> {
    let own = |name: &str| name.starts_with('_') || RUNTIMES_OWN.contains(&name);
    function.into_iter().filter(|(name, _)| !own(name)).collect()
}

/// The processes beside a runtime.
pub struct External {
    names: Vec<String>,
    ends: watch::Receiver<Vec<Option<CompanionEnd>>>,
    output: Option<(Arc<Output>, OwnedTask)>,
}

impl External {
    /// `names` in the order of the specification. Reads what they print.
    pub fn new(
        names: Vec<String>,
        ends: watch::Receiver<Vec<Option<CompanionEnd>>>,
        output: Option<OwnedFd>,
        journal: &Arc<Journal>,
    ) -> std::io::Result<Self> {
        let output = match output {
            Some(pipe) => {
                let output = Output::new(pipe, Source::Extension, journal.clone())?;
                let pump = OwnedTask::from(tokio::spawn(output.clone().pump()));
                Some((output, pump))
            }
            None => None,
        };
        Ok(Self { names, ends, output })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Writes what they printed so far to the journal.
    pub fn drain_log(&self) {
        if let Some((output, _)) = &self.output {
            output.drain();
        }
    }

    /// Whether one has ended.
    pub fn has_ended(&self) -> bool {
        self.ends.borrow().iter().any(Option::is_some)
    }

    /// Resolves when one has ended, which none may while its instance is to live. Never without any.
    pub async fn first_end(&self) -> ExtensionEnd {
        if self.names.is_empty() {
            return std::future::pending().await;
        }
        let mut ends = self.ends.clone();
        let first = |ends: &[Option<CompanionEnd>]| ends.iter().flatten().next().map(ExtensionEnd::of);
        if let Ok(ends) = ends.wait_for(|ends| first(ends).is_some()).await
            && let Some(end) = first(&ends)
        {
            return end;
        }
        std::future::pending().await
    }

    /// What an extension's word that it cannot go on means: how its process ends, which it does next, says more.
    pub async fn end_behind(&self, failure: &Failure) -> ExtensionEnd {
        let error_type = failure.phase.error_type().to_owned();
        let mut ends = self.ends.clone();
        let at = self.names.iter().position(|name| *name == failure.extension);
        let ended = async {
            let at = at?;
            let ends = ends.wait_for(|ends| ends.get(at).is_some_and(Option::is_some)).await.ok()?;
            ends.get(at)?.as_ref().map(exit_text)
        };
        let text = timeout(LAST_STEP, ended).await.ok().flatten();
        // Ours, for a thread or a process that lives on.
        let text =
            text.unwrap_or_else(|| format!("Extension {} reported {}", failure.extension, failure.reported));
        ExtensionEnd { error_type, text }
    }

    /// Resolves when all of these have ended.
    pub async fn ended(&self, names: &[String]) {
        let mut ends = self.ends.clone();
        let awaited: Vec<_> =
            names.iter().filter_map(|name| self.names.iter().position(|known| known == name)).collect();
        let gone = |ends: &Vec<Option<CompanionEnd>>| {
            awaited.iter().all(|at| ends.get(*at).is_none_or(Option::is_some))
        };
        // A sandbox that is gone has nobody to wait for.
        let _ = ends.wait_for(gone).await;
    }
}

/// How long an instance may take to end: in all, and of that its runtime. `None` when it is killed at once.
///
/// Source: "Using the Lambda Extensions API", "Shutdown phase".
pub fn shutdown_budget(external: bool, internal: bool) -> Option<(Duration, Duration)> {
    let milliseconds = Duration::from_millis;
    match (external, internal) {
        (true, false) => Some((milliseconds(2_000), milliseconds(300))),
        (true, true) => Some((milliseconds(2_000), milliseconds(500))),
        (false, true) => Some((milliseconds(500), milliseconds(500))),
        (false, false) => None,
    }
}

/// Why an instance ends whose run ended so.
pub fn shutdown_reason(timed_out: bool) -> ShutdownReason {
    if timed_out { ShutdownReason::Timeout } else { ShutdownReason::Failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_layers_each_once() {
        let layer = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(names([layer(&["b", "a"]), layer(&[]), layer(&["c", "a"])]), ["a", "b", "c"]);
    }

    #[test]
    fn what_extensions_are_not_told() {
        let function = ["_HANDLER", "PYTHONPATH", "LAMBDA_TASK_ROOT", "AWS_REGION", "TABLE"];
        let function = function.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        let names: Vec<_> = environment(function).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["AWS_REGION", "TABLE"]);
    }

    #[test]
    fn ends_in_words() {
        let check = |end: CompanionEnd, error_type: &str, text: &str| {
            let expected = ExtensionEnd { error_type: error_type.to_owned(), text: text.to_owned() };
            assert_eq!(ExtensionEnd::of(&end), expected);
        };
        check(CompanionEnd::Exited { status: Some(0), signal: None }, "Extension.Crash", "exit code 0");
        check(CompanionEnd::Exited { status: None, signal: Some(9) }, "Extension.Crash", "signal: killed");
        check(CompanionEnd::NotStarted("no".to_owned()), "Extension.LaunchError", "no");
    }
}
