//! What runtimes run on: found on the host by root, written down for the spawners and the daemon.

use super::byte_code;
use super::data_directory::write_whole;
use crate::failure::Failure;
use lamplight_api::RuntimeRow;
use lamplight_model::managed_runtime::{RuntimeFamily, family};
use lamplight_model::{ErrorCode, ServiceError};
use lamplight_pool::RuntimePlan;
use lamplight_runtime::managed::{Entry, SearchPaths, base_entries, bootstraps, discover, root_entries};
use lamplight_runtime::{InstalledRuntime, ManagedRuntimes};
use lamplight_sandbox::RootEntry;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

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

/// Directory of the bootstraps.
fn bootstraps_directory(data_directory: &Path) -> PathBuf {
    data_directory.join("bootstraps")
}

/// Removes byte code that no runtime uses. Only before the first sandbox: one being built may use it.
pub fn remove_unused_byte_code(data_directory: &Path, published: &ManagedRuntimes) {
    let used = published.available().map(|runtime| runtime.bootstrap.clone()).collect();
    byte_code::remove_unused(&bootstraps_directory(data_directory), &used);
}

/// Writes `bootstraps/`, `roots.json` and `runtimes.json`, in this order: what is named exists. Gives the table as written.
pub fn publish(data_directory: &Path, runtimes: &ManagedRuntimes) -> Result<ManagedRuntimes, Failure> {
    let context = |error: std::io::Error| {
        Failure::usage(format!("failed to write the runtimes to {}", data_directory.display())).because(error)
    };
    let directory = bootstraps_directory(data_directory);
    create_readable(&directory).map_err(context)?;
    let byte_code = byte_code::prepare(&directory, &runtimes.available().collect::<Vec<_>>());
    for file in bootstraps() {
        let family = directory.join(file.directory);
        create_readable(&family).map_err(context)?;
        write_whole(&family.join(file.name), file.content).map_err(context)?;
    }
    let byte_code = byte_code.finish();
    let mut runtimes = runtimes.clone();
    for runtime in runtimes.installed.values_mut().chain(runtimes.added.values_mut()) {
        *runtime = runtime.with_bootstrap(byte_code.get(&runtime.identifier).map(String::as_str));
    }
    let mut roots: BTreeMap<String, Vec<RootEntry>> = BTreeMap::new();
    roots.insert("provided".to_owned(), base_entries().into_iter().map(root_entry).collect());
    for runtime in runtimes.available() {
        let bootstrap = directory.join(&runtime.bootstrap);
        let entries = root_entries(runtime, &bootstrap).into_iter().map(root_entry).collect();
        roots.insert(root_name(runtime), entries);
    }
    let json = |value: serde_json::Result<Vec<u8>>| value.map_err(|error| context(error.into()));
    write_whole(&data_directory.join("roots.json"), &json(serde_json::to_vec_pretty(&roots))?)
        .map_err(context)?;
    write_whole(&runtimes_file(data_directory), &json(serde_json::to_vec_pretty(&runtimes))?)
        .map_err(context)?;
    Ok(runtimes)
}

/// Read inside sandboxes by users of their own, whatever the umask of whoever started us.
fn create_readable(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))
}

/// A root's name changes with what is in it: spawners keep the roots they have read, by name.
fn root_name(runtime: &InstalledRuntime) -> String {
    let mut digest = Sha256::new_with_prefix(runtime.interpreter.as_os_str().as_encoded_bytes());
    digest.update(format!("\n{}", runtime.bootstrap));
    let digest = digest.finalize();
    format!("{}-{:02x}{:02x}{:02x}{:02x}", runtime.identifier, digest[0], digest[1], digest[2], digest[3])
}

fn root_entry(entry: Entry) -> RootEntry {
    RootEntry { host: entry.host, inside: entry.inside, hide: entry.hide }
}

/// Which writing of the file was read: inode and time of change.
type Written = (u64, Option<SystemTime>);

/// The table as the daemon sees it: read again when root has written it anew.
#[derive(Debug)]
pub struct RuntimeTable {
    file: PathBuf,
    read: Mutex<Option<(Written, Arc<ManagedRuntimes>)>>,
}

impl RuntimeTable {
    /// A table over `runtimes.json`.
    pub fn new(data_directory: &Path) -> Arc<Self> {
        Arc::new(Self { file: runtimes_file(data_directory), read: Mutex::new(None) })
    }

    /// The table now. A file that cannot be read leaves what was read before.
    pub fn now(&self) -> Arc<ManagedRuntimes> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let written = std::fs::metadata(&self.file)
            .map(|metadata| (metadata.ino(), metadata.modified().ok()))
            .unwrap_or_default();
        if let Some((known, table)) = read.as_ref()
            && *known == written
        {
            return Arc::clone(table);
        }
        match ManagedRuntimes::load(&self.file) {
            Ok(table) => {
                let table = Arc::new(table);
                *read = Some((written, Arc::clone(&table)));
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
        Ok(RuntimePlan {
            root: root_name(installed),
            ..RuntimePlan::managed(&installed.identifier, installed.command.clone(), &installed.version)
        })
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
