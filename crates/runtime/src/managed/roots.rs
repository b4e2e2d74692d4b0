//! What a runtime's root tree is made of, as plain data for whoever builds roots.

use super::InstalledRuntime;
use std::path::{Path, PathBuf};

/// One read-only entry of a root tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Directory or file on the host.
    pub host: PathBuf,
    /// Absolute path inside.
    pub inside: PathBuf,
    /// Whether the host path must not be told inside.
    pub hide: bool,
}

/// What every root has: the host's programs, libraries, time zones and certificates. Entries a host does not
/// have are left out when the root is built.
pub fn base_entries() -> Vec<Entry> {
    [
        "/usr/bin",
        "/usr/sbin",
        "/usr/lib",
        "/usr/lib32",
        "/usr/lib64",
        "/usr/libexec",
        "/usr/share/zoneinfo",
        "/usr/share/locale",
        "/usr/share/nodejs",
        "/usr/share/ca-certificates",
        "/usr/local/share/ca-certificates",
        "/etc/ssl/certs",
        "/etc/pki/tls/certs",
        "/etc/alternatives",
    ]
    .map(|path| Entry { host: path.into(), inside: path.into(), hide: false })
    .into()
}

/// The whole list for one installed runtime, whose bootstrap files lie in `bootstrap` on the host.
pub fn root_entries(runtime: &InstalledRuntime, bootstrap: &Path) -> Vec<Entry> {
    let mut entries = base_entries();
    if let Some(prefix) = &runtime.prefix {
        entries.push(Entry { host: prefix.clone(), inside: "/var/lang".into(), hide: true });
    }
    entries.push(Entry { host: bootstrap.to_owned(), inside: "/var/runtime".into(), hide: true });
    entries
}
