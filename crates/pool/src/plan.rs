//! What a version runs on: root tree, command and protocol, decided from the table of managed runtimes.

use lamplight_model::managed_runtime::{RuntimeFamily, family};
use lamplight_model::{ErrorCode, Region, ServiceError};
use lamplight_runtime::ManagedRuntimes;
use lamplight_sandbox::Protocol;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Name of the program of `provided*`, in the package or in a layer.
pub const BOOTSTRAP: &str = "bootstrap";
/// Starts the function's own program instead of the interpreter, with the interpreter's command as its arguments, and says
/// of one that is not there what AWS's runtimes say. Source: Lambda guide, "Using a wrapper script"; the shell script
/// `/var/runtime/bootstrap` of AWS's Python and Node images.
const WRAPPER_SCRIPT: &str = r#"
if [ ! -f "$0" ]; then echo "$0: does not exist"; exit 127; fi
if [ ! -x "$0" ]; then echo "$0: is not an executable"; exit 126; fi
exec "$0" "$@"
"#;

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
    /// From the table of what is installed, the operator's aliases followed. The root tree of an installed
    /// runtime has its identifier for a name, that of `provided*` is `provided`.
    ///
    /// Fails with `InvalidRuntimeException` and the table's text: what there is and how to add what is missing.
    pub fn from_table(table: &ManagedRuntimes, identifier: &str) -> Result<Self, ServiceError> {
        if family(identifier) == RuntimeFamily::Provided {
            return Ok(Self::provided(identifier));
        }
        let installed = table
            .resolve(identifier)
            .map_err(|text| ServiceError::new(ErrorCode::InvalidRuntimeException, text))?;
        Ok(Self::managed(&installed.identifier, installed.command.clone(), &installed.version))
    }

    /// The plan of `provided*`: the package's own executable, over the HTTP Runtime API.
    pub fn provided(identifier: &str) -> Self {
        Self {
            root: "provided".to_owned(),
            command: vec![format!("/var/task/{BOOTSTRAP}")],
            protocol: Protocol::HttpRuntimeApi,
            family: RuntimeFamily::Provided,
            version_label: identifier.replacen('.', ":", 1),
        }
    }

    /// The command behind a wrapper, the program that `AWS_LAMBDA_EXEC_WRAPPER` names.
    pub fn wrapped(wrapper: &str, command: Vec<String>) -> Vec<String> {
        ["/bin/sh", "-c", WRAPPER_SCRIPT, wrapper].into_iter().map(str::to_owned).chain(command).collect()
    }

    /// Names this interpreter among those that compile packages: what one version made, the same version can use.
    pub fn compiler(&self) -> String {
        let plain = |character: char| character.is_ascii_alphanumeric() || character == '.';
        self.version_label.chars().map(|character| if plain(character) { character } else { '-' }).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use lamplight_runtime::InstalledRuntime;

    #[test]
    fn plans_of_a_table() {
        let mut table = ManagedRuntimes::default();
        let installed = InstalledRuntime {
            identifier: "python3.11".to_owned(),
            version: "3.11.7".to_owned(),
            command: vec!["/var/lang/bin/python3.11".to_owned()],
            prefix: None,
            interpreter: "/opt/python".into(),
            bootstrap: String::new(),
        };
        table.installed.insert("python3.11".to_owned(), installed);
        table.aliases.insert("python3.13".to_owned(), "python3.11".to_owned());
        let stand_in = RuntimePlan::from_table(&table, "python3.13").unwrap();
        assert_eq!((stand_in.root.as_str(), stand_in.protocol), ("python3.11", Protocol::Frames));
        assert_eq!(stand_in.version_label, "python:3.11.7");
        let custom = RuntimePlan::from_table(&table, "provided.al2023").unwrap();
        assert_eq!((custom.root.as_str(), custom.protocol), ("provided", Protocol::HttpRuntimeApi));
        let missing = RuntimePlan::from_table(&table, "nodejs22.x").unwrap_err();
        assert_eq!(missing.code, ErrorCode::InvalidRuntimeException);
    }
}
