//! The table of managed runtimes: which identifiers can run on this host, and how.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How to run one managed runtime identifier on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledRuntime {
    /// `python3.11`, `nodejs20.x`.
    pub identifier: String,
    /// Full version as the interpreter prints it, e.g. `3.11.7`.
    pub version: String,
    /// Program and arguments, absolute paths inside the sandbox.
    pub command: Vec<String>,
    /// Host directory of the installation when it must be mounted at `/var/lang`; `None` for one below `/usr`.
    pub prefix: Option<PathBuf>,
    /// Where it was found, for people.
    pub interpreter: PathBuf,
}

/// All of them, with the operator's aliases.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ManagedRuntimes {
    /// By identifier.
    pub installed: BTreeMap<String, InstalledRuntime>,
    /// `runtime alias python3.13=python3.11`.
    pub aliases: BTreeMap<String, String>,
}
