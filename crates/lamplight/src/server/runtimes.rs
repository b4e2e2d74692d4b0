//! What runtimes run on: found on the host by root, written down for the spawners and the daemon.

use super::data_directory::write_whole;
use crate::failure::Failure;
use lamplight_api::RuntimeRow;
use lamplight_model::managed_runtime::{RuntimeFamily, family};
use lamplight_model::{ErrorCode, ServiceError};
use lamplight_pool::RuntimePlan;
use lamplight_runtime::ManagedRuntimes;
use lamplight_runtime::managed::{Entry, SearchPaths, base_entries, bootstraps, discover, root_entries};
use lamplight_sandbox::RootEntry;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// The table's file.
pub fn runtimes_file(data_directory: &Path) -> PathBuf {
    data_directory.join("runtimes.json")
}

/// What is on the host now, with what the operator added and aliased before.
pub fn find_runtimes(file: &Path) -> Result<ManagedRuntimes, Failure> {
    let before = ManagedRuntimes::load(file).map_err(|error| {
        Failure::usage(format!("failed to read the table of runtimes {}", file.display()))
            .because(error)
            .then(format!("remove it to look for interpreters anew: rm {}", file.display()))
    })?;
    let mut found = discover(&SearchPaths::of_host(), &probe_version);
    // What was added and is gone is left out: an instance could not start on it.
    found.added = before.added.into_iter().filter(|(_, runtime)| runtime.interpreter.exists()).collect();
    found.aliases = before.aliases;
    Ok(found)
}

/// Runs `<interpreter> --version`: for what an installation's files do not tell.
pub fn probe_version(interpreter: &Path) -> Option<String> {
    let output = Command::new(interpreter).arg("--version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Writes `bootstraps/`, `roots.json` and `runtimes.json`, in this order: what is named exists.
pub fn publish(data_directory: &Path, runtimes: &ManagedRuntimes) -> Result<(), Failure> {
    let context = |error: std::io::Error| {
        Failure::usage(format!("failed to write the runtimes to {}", data_directory.display())).because(error)
    };
    let directory = data_directory.join("bootstraps");
    for file in bootstraps() {
        let family = directory.join(file.directory);
        std::fs::create_dir_all(&family).map_err(context)?;
        write_whole(&family.join(file.name), file.content).map_err(context)?;
    }
    let mut roots: BTreeMap<String, Vec<RootEntry>> = BTreeMap::new();
    roots.insert("provided".to_owned(), base_entries().into_iter().map(root_entry).collect());
    for runtime in runtimes.available() {
        let name = bootstraps()
            .iter()
            .find(|file| file.family == family(&runtime.identifier))
            .map_or("", |file| file.directory);
        let entries = root_entries(runtime, &directory.join(name)).into_iter().map(root_entry).collect();
        roots.insert(runtime.identifier.clone(), entries);
    }
    let json = |value: serde_json::Result<Vec<u8>>| value.map_err(|error| context(error.into()));
    write_whole(&data_directory.join("roots.json"), &json(serde_json::to_vec_pretty(&roots))?)
        .map_err(context)?;
    write_whole(&runtimes_file(data_directory), &json(serde_json::to_vec_pretty(runtimes))?).map_err(context)
}

fn root_entry(entry: Entry) -> RootEntry {
    RootEntry { host: entry.host, inside: entry.inside, hide: entry.hide }
}

/// The table as the daemon sees it: read again when root has written it anew.
#[derive(Debug)]
pub struct RuntimeTable {
    file: PathBuf,
    read: Mutex<Option<(u64, Arc<ManagedRuntimes>)>>,
}

impl RuntimeTable {
    /// A table over `runtimes.json`.
    pub fn new(data_directory: &Path) -> Arc<Self> {
        Arc::new(Self { file: runtimes_file(data_directory), read: Mutex::new(None) })
    }

    /// The table now. A file that cannot be read leaves what was read before.
    pub fn now(&self) -> Arc<ManagedRuntimes> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // Every write makes a new file, so its inode tells the versions apart.
        let inode = std::fs::metadata(&self.file).map(|metadata| metadata.ino()).unwrap_or_default();
        if let Some((known, table)) = read.as_ref()
            && *known == inode
        {
            return Arc::clone(table);
        }
        match ManagedRuntimes::load(&self.file) {
            Ok(table) => {
                let table = Arc::new(table);
                *read = Some((inode, Arc::clone(&table)));
                table
            }
            Err(error) => {
                tracing::warn!(%error, "failed to read the table of runtimes");
                read.as_ref().map(|(_, table)| Arc::clone(table)).unwrap_or_default()
            }
        }
    }

    /// How to run an identifier; the error says what there is and how to add one.
    pub fn plan(&self, identifier: &str) -> Result<RuntimePlan, ServiceError> {
        if family(identifier) == RuntimeFamily::Provided {
            return Ok(RuntimePlan::provided(identifier));
        }
        let table = self.now();
        let installed = table
            .resolve(identifier)
            .map_err(|text| ServiceError::new(ErrorCode::InvalidRuntimeException, text))?;
        Ok(RuntimePlan::managed(&installed.identifier, installed.command.clone(), &installed.version))
    }

    /// The warning at create, when an identifier cannot run here.
    pub fn warning(&self, identifier: &str) -> Option<String> {
        self.plan(identifier).err().map(|error| error.message)
    }

    /// The rows of `runtime list`.
    pub fn rows(&self) -> Vec<RuntimeRow> {
        rows(&self.now())
    }
}

/// A row per runtime that can run, aliases last.
pub fn rows(table: &ManagedRuntimes) -> Vec<RuntimeRow> {
    let installed = table.available().map(|runtime| RuntimeRow {
        identifier: runtime.identifier.clone(),
        version: runtime.version.clone(),
        interpreter: runtime.interpreter.display().to_string(),
        alias_of: None,
    });
    let aliases = table.aliases.iter().map(|(identifier, target)| RuntimeRow {
        identifier: identifier.clone(),
        version: String::new(),
        interpreter: String::new(),
        alias_of: Some(target.clone()),
    });
    installed.chain(aliases).collect()
}
