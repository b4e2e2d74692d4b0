//! The guest's file tree: programs of this host with the libraries they name, at the same paths.

use crate::command;
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tree under construction.
pub struct Tree {
    root: PathBuf,
    libraries: BTreeSet<PathBuf>,
}

impl Tree {
    /// Begins an empty tree with the links of a merged-usr system.
    pub fn new(root: &Path) -> anyhow::Result<Self> {
        for directory in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "modules", "tests", "proc", "sys", "dev", "tmp", "newroot", "data", "etc"] {
            std::fs::create_dir_all(root.join(directory))?;
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name))?;
        }
        Ok(Self { root: root.to_owned(), libraries: BTreeSet::new() })
    }

    /// A place in the tree; the links of a merged-usr system are resolved, because copying follows none.
    fn place(&self, inside: &str) -> PathBuf {
        let inside = inside.trim_start_matches('/');
        let merged = ["bin/", "sbin/", "lib/", "lib64/"].iter().any(|prefix| inside.starts_with(prefix));
        self.root.join(if merged { format!("usr/{inside}") } else { inside.to_owned() })
    }

    /// Copies one file.
    pub fn copy(&self, from: &Path, inside: &str) -> anyhow::Result<()> {
        let target = self.place(inside);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(from, &target).with_context(|| format!("failed to copy {}", from.display()))?;
        if inside == "/init" {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Copies a program found on the path to `/usr/bin`.
    pub fn program_by_name(&mut self, name: &str) -> anyhow::Result<()> {
        let found = ["/usr/bin", "/bin", "/usr/sbin"]
            .iter()
            .map(|directory| Path::new(directory).join(name))
            .find(|path| path.exists())
            .with_context(|| format!("this host has no {name}"))?;
        self.program(&found, &format!("/usr/bin/{name}"))
    }

    /// Copies a program and every library it names.
    pub fn program(&mut self, from: &Path, inside: &str) -> anyhow::Result<()> {
        self.copy(from, inside)?;
        // Fails for static programs, which name none.
        let Some(listed) = command::output(Command::new("ldd").arg(from)) else { return Ok(()) };
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            if self.libraries.insert(library.into()) {
                self.copy(Path::new(library), library)?;
            }
        }
        Ok(())
    }
}
