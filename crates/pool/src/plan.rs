//! What a version runs on: root tree, command and protocol, decided from the table of managed runtimes.

use lamplight_model::managed_runtime::{RuntimeFamily, family};
use lamplight_model::{Region, ServiceError};
use lamplight_sandbox::Protocol;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// How to run one runtime identifier on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimePlan {
    /// Name of the root tree registered with the sandbox host.
    pub root: String,
    /// Program and arguments, absolute paths inside.
    pub command: Vec<String>,
    /// How it talks.
    pub protocol: Protocol,
    /// Which family it is of.
    pub family: RuntimeFamily,
    /// For the `INIT_START` line, e.g. `python:3.11.7`.
    pub version_label: String,
}

/// Looks a runtime identifier up; fails with `InvalidRuntimeException` naming what there is and how to add one.
/// Asked at every start of an instance, so that a runtime added meanwhile is found.
pub type RuntimeSource = Arc<dyn Fn(&str) -> Result<RuntimePlan, ServiceError> + Send + Sync>;

impl RuntimePlan {
    /// The plan of `provided*`: the package's own executable, over the HTTP Runtime API.
    pub fn provided(identifier: &str) -> Self {
        Self {
            root: "provided".to_owned(),
            command: vec!["/var/task/bootstrap".to_owned()],
            protocol: Protocol::HttpRuntimeApi,
            family: RuntimeFamily::Provided,
            version_label: identifier.replacen('.', ":", 1),
        }
    }

    /// An ARN that stands for exactly this interpreter, as `INIT_START` names it.
    pub fn version_arn(&self, region: &Region) -> String {
        let digest = Sha256::digest(format!("{}\n{}", self.root, self.version_label));
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("arn:aws:lambda:{}::runtime:{digits}", region.as_str())
    }

    /// The plan of an interpreter with one of our own bootstraps. `root` is the identifier it was installed as.
    pub fn managed(installed_as: &str, command: Vec<String>, version: &str) -> Self {
        let family = family(installed_as);
        let language = match family {
            RuntimeFamily::Python => "python",
            RuntimeFamily::Node => "nodejs",
            RuntimeFamily::Provided => "provided",
            RuntimeFamily::Unserved => "unknown",
        };
        Self {
            root: installed_as.to_owned(),
            command,
            protocol: Protocol::Frames,
            family,
            version_label: format!("{language}:{version}"),
        }
    }
}
