//! Where configuration and data lie by default.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Whether this program was started as root. The daemon, which is not root any more, finds the same files as before.
pub fn is_root() -> bool {
    static STARTED_AS_ROOT: OnceLock<bool> = OnceLock::new();
    *STARTED_AS_ROOT.get_or_init(|| rustix::process::geteuid().is_root())
}

/// `/var/lib/lamplight` for root, else `$XDG_DATA_HOME/lamplight`.
pub fn default_data_directory() -> PathBuf {
    if is_root() {
        return PathBuf::from("/var/lib/lamplight");
    }
    below_home("XDG_DATA_HOME", ".local/share").join("lamplight")
}

/// The first of the default configuration files that exists: the user's own (unless root), then `/etc`'s.
pub fn configuration_file() -> Option<PathBuf> {
    let mut candidates = Vec::new();
    if !is_root() {
        candidates.push(below_home("XDG_CONFIG_HOME", ".config").join("lamplight/config.toml"));
    }
    candidates.push(PathBuf::from("/etc/lamplight/config.toml"));
    candidates.into_iter().find(|file| file.exists())
}

/// The XDG directory, or its default below the home directory. Relative values are to be ignored
/// (XDG Base Directory Specification).
fn below_home(variable: &str, default: &str) -> PathBuf {
    if let Some(directory) = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute()) {
        return directory;
    }
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from).join(default)
}
