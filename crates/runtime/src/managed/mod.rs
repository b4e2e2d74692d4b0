//! The table of managed runtimes: which identifiers can run on this host, and how.
//!
//! Filled by [`discover`] at the start of the server and by `lamplight runtime add`, written to `runtimes.json`
//! by root, read by the daemon whenever it starts an instance.

mod bootstraps;
mod discover;
mod roots;
mod size;

pub use bootstraps::{Bootstrap, COMPILE_BOOTSTRAP, Compiled, bootstraps, compile_command};
pub use discover::{SearchPaths, discover, examine};
pub use roots::{Entry, base_entries, root_entries};
pub use size::sized_command;

use lamplight_model::managed_runtime::{RuntimeFamily, family, is_known};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// How to run one managed runtime identifier on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledRuntime {
    /// `python3.11`, `nodejs20.x`.
    pub identifier: String,
    /// Full version where it can be told from the installation's files, else the minor one, e.g. `3.11.7`.
    pub version: String,
    /// Program and arguments, absolute paths inside the sandbox.
    pub command: Vec<String>,
    /// Host directory of the installation when it must be mounted at `/var/lang`; `None` for one below `/usr`.
    pub prefix: Option<PathBuf>,
    /// Where it was found, for people.
    pub interpreter: PathBuf,
    /// Directory beneath `bootstraps/` of the data directory that is mounted at `/var/runtime`; empty until root has
    /// written it.
    #[serde(default)]
    pub bootstrap: String,
}

/// All of them, with the operator's aliases.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ManagedRuntimes {
    /// By identifier, as found on the host.
    pub installed: BTreeMap<String, InstalledRuntime>,
    /// Named by the operator; these win over what was found.
    pub added: BTreeMap<String, InstalledRuntime>,
    /// `runtime alias python3.13=python3.11`.
    pub aliases: BTreeMap<String, String>,
}

impl ManagedRuntimes {
    /// The installation that runs `identifier`, aliases followed once.
    ///
    /// # Errors
    /// A text that names what there is and how to add what is missing.
    pub fn resolve(&self, identifier: &str) -> Result<&InstalledRuntime, String> {
        let target = self.aliases.get(identifier).map_or(identifier, String::as_str);
        if let Some(found) = self.added.get(target).or_else(|| self.installed.get(target)) {
            return Ok(found);
        }
        Err(self.missing(identifier))
    }

    /// All that can be run, by identifier, aliases not included.
    pub fn available(&self) -> impl Iterator<Item = &InstalledRuntime> {
        let added = self.added.values();
        added.chain(self.installed.values().filter(|found| !self.added.contains_key(&found.identifier)))
    }

    /// Whether and why `identifier` cannot run here; for warnings at create.
    pub fn missing(&self, identifier: &str) -> String {
        let (language, program) = match family(identifier) {
            RuntimeFamily::Python => ("python", identifier),
            RuntimeFamily::Node => ("nodejs", "node"),
            RuntimeFamily::Provided => return String::new(),
            RuntimeFamily::Unserved => {
                return format!("The runtime {identifier} is not served by this Lamplight release yet.");
            }
        };
        let mut have: Vec<&str> = self
            .available()
            .map(|found| found.identifier.as_str())
            .filter(|found| found.starts_with(language))
            .collect();
        have.sort_unstable();
        let have = if have.is_empty() { format!("no {language} at all") } else { have.join(", ") };
        let mut text = format!(
            "No interpreter for {identifier} was found on this host; it has {have}. Add one: lamplight runtime \
             add {identifier} /path/to/{program}"
        );
        if let Some(other) =
            self.available().map(|found| &found.identifier).find(|found| found.starts_with(language))
        {
            text.push_str(&format!(
                "; or let another one stand in: lamplight runtime alias {identifier}={other}"
            ));
        }
        text
    }

    /// Names an interpreter for `identifier`.
    ///
    /// `probe` runs `<interpreter> --version` and gives its output; this crate starts no process.
    ///
    /// # Errors
    /// A text for the operator: unknown identifier, no such program, wrong language or version.
    pub fn add(
        &mut self,
        identifier: &str,
        interpreter: &Path,
        probe: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<&InstalledRuntime, String> {
        if !is_known(identifier) {
            return Err(format!(
                "{identifier} is not a runtime identifier of AWS Lambda, such as python3.13 or nodejs22.x"
            ));
        }
        if !matches!(family(identifier), RuntimeFamily::Python | RuntimeFamily::Node) {
            return Err(format!("{identifier} needs no interpreter: only python3.* and nodejs* do"));
        }
        let interpreter = std::fs::canonicalize(interpreter)
            .map_err(|error| format!("failed to find {}: {error}", interpreter.display()))?;
        let found = examine(&interpreter, probe).ok_or_else(|| {
            format!("{} is neither a Python nor a Node.js interpreter", interpreter.display())
        })?;
        if found.identifier != identifier {
            return Err(format!(
                "{} is {} {}, not {identifier}; to let it stand in: lamplight runtime alias {identifier}={}",
                interpreter.display(),
                found.identifier,
                found.version,
                found.identifier
            ));
        }
        Ok(self.added.entry(identifier.to_owned()).insert_entry(found).into_mut())
    }

    /// Lets `target` run what asks for `identifier`.
    ///
    /// # Errors
    /// A text for the operator: unknown identifiers, another language, or a target that is not there.
    pub fn alias(&mut self, identifier: &str, target: &str) -> Result<(), String> {
        for name in [identifier, target] {
            if !is_known(name) {
                return Err(format!(
                    "{name} is not a runtime identifier of AWS Lambda, such as python3.13 or nodejs22.x"
                ));
            }
        }
        if family(identifier) != family(target) {
            return Err(format!("{target} cannot stand in for {identifier}: it is another language"));
        }
        if !self.added.contains_key(target) && !self.installed.contains_key(target) {
            return Err(self.missing(target));
        }
        self.aliases.insert(identifier.to_owned(), target.to_owned());
        Ok(())
    }

    /// Reads `runtimes.json`; an absent file is an empty table.
    pub fn load(file: &Path) -> io::Result<Self> {
        match std::fs::read(file) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes `runtimes.json` whole or not at all.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let temporary = file.with_extension("json.new");
        std::fs::write(&temporary, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&temporary, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(identifier: &str) -> InstalledRuntime {
        InstalledRuntime {
            identifier: identifier.to_owned(),
            version: "1".to_owned(),
            command: vec![],
            prefix: None,
            interpreter: PathBuf::from("/usr/bin/x"),
            bootstrap: String::new(),
        }
    }

    fn table(identifiers: &[&str]) -> ManagedRuntimes {
        let installed = identifiers.iter().map(|name| ((*name).to_owned(), installed(name))).collect();
        ManagedRuntimes { installed, ..ManagedRuntimes::default() }
    }

    #[test]
    fn what_is_missing_says_what_there_is_and_what_to_do() {
        let table = table(&["python3.11", "python3.9", "nodejs20.x"]);
        assert_eq!(table.resolve("python3.11").unwrap().identifier, "python3.11");
        assert_eq!(
            table.resolve("python3.13").unwrap_err(),
            "No interpreter for python3.13 was found on this host; it has python3.11, python3.9. Add one: lamplight \
             runtime add python3.13 /path/to/python3.13; or let another one stand in: lamplight runtime alias \
             python3.13=python3.11"
        );
        assert!(table.resolve("java21").unwrap_err().contains("not served"));
        assert!(
            super::ManagedRuntimes::default().resolve("nodejs22.x").unwrap_err().contains("no nodejs at all")
        );
    }

    #[test]
    fn an_alias_is_the_operators_choice_within_one_language() {
        let mut table = table(&["python3.11", "nodejs20.x"]);
        assert!(table.alias("python3.13", "nodejs20.x").unwrap_err().contains("another language"));
        assert!(table.alias("python3.13", "python3.12").unwrap_err().contains("python3.12"));
        assert!(table.alias("python9", "python3.11").unwrap_err().contains("python9"));
        table.alias("python3.13", "python3.11").unwrap();
        assert_eq!(table.resolve("python3.13").unwrap().identifier, "python3.11");
    }

    #[test]
    fn the_file_survives_a_round() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("runtimes.json");
        assert_eq!(ManagedRuntimes::load(&file).unwrap(), ManagedRuntimes::default());
        let table = table(&["python3.11"]);
        table.save(&file).unwrap();
        assert_eq!(ManagedRuntimes::load(&file).unwrap(), table);
    }
}
