//! Where things lie: the repository's root, its cache, and cargo's target directory.

use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// The root of the repository: the parent of this crate's folder.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Tools and reports that may be deleted at any time; ignored by git.
pub fn cache() -> PathBuf {
    root().join(".cache")
}

/// Results of the last test run.
pub fn reports() -> PathBuf {
    cache().join("report")
}

/// Cargo's target directory, wherever the environment has put it.
pub fn target() -> anyhow::Result<PathBuf> {
    let output = std::process::Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .context("failed to run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("failed to read cargo metadata")?;
    let directory =
        metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(directory))
}
