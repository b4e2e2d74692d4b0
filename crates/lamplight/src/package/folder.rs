//! Packs a folder into a ZIP whose bytes depend only on names, contents and executable bits.

use crate::failure::Failure;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;

/// Never part of a package.
const LEFT_OUT: &[&str] =
    &[".git", ".hg", ".svn", "__pycache__", ".DS_Store", ".pytest_cache", ".mypy_cache"];
/// Deepest folder that is packed; against loops that are not links.
const DEPTH: usize = 64;

/// One thing to pack, beneath the folder.
enum Entry {
    File { executable: bool },
    Link { target: PathBuf },
}

/// Packs `folder`. Version control, caches and virtual environments are left out.
///
/// Links that stay inside are kept as links; a link that leaves the folder is replaced by the file it means.
pub fn pack(folder: &Path) -> Result<Vec<u8>, Failure> {
    let root = std::fs::canonicalize(folder)
        .map_err(|error| Failure::usage(format!("failed to read {}", folder.display())).because(error))?;
    let mut entries = Vec::new();
    collect(&root, &root, &PathBuf::new(), &mut entries, 0)?;
    if entries.is_empty() {
        return Err(Failure::usage(format!("the folder {} is empty", folder.display()))
            .because("a function needs at least the file its handler is in")
            .then("lamplight deploy the folder that holds app.py, index.mjs or bootstrap"));
    }
    let most = lamplight_model::limits::ZIP_ENTRIES;
    if entries.len() > most {
        return Err(Failure::usage(format!("the folder has {} files", entries.len()))
            .because(format!("a package holds at most {most}")));
    }
    entries.sort_by(|left, right| left.0.as_os_str().cmp(right.0.as_os_str()));
    write(&root, &entries)
        .map_err(|error| Failure::usage(format!("failed to pack {}", folder.display())).because(error))
}

fn collect(
    root: &Path,
    directory: &Path,
    below: &Path,
    entries: &mut Vec<(PathBuf, Entry)>,
    depth: usize,
) -> Result<(), Failure> {
    let context = |error: std::io::Error| {
        Failure::usage(format!("failed to read {}", directory.display())).because(error)
    };
    if depth > DEPTH {
        return Err(Failure::usage(format!("{} is nested too deeply", directory.display())));
    }
    for entry in std::fs::read_dir(directory).map_err(context)? {
        let entry = entry.map_err(context)?;
        let name = entry.file_name();
        if name.to_str().is_none_or(|name| LEFT_OUT.contains(&name) || name.ends_with(".pyc")) {
            if name.to_str().is_none() {
                return Err(Failure::usage(format!(
                    "{} has a name that is not UTF-8",
                    entry.path().display()
                ))
                .then("rename it"));
            }
            continue;
        }
        let path = entry.path();
        let inside = below.join(&name);
        let mut kind = entry.file_type().map_err(context)?;
        if kind.is_symlink() {
            if let Some(target) = link_that_stays(root, &path) {
                entries.push((inside, Entry::Link { target }));
                continue;
            }
            kind = std::fs::metadata(&path)
                .map_err(|error| {
                    Failure::usage(format!("the link {} leads nowhere", path.display()))
                        .because(error)
                        .then("remove it")
                })?
                .file_type();
            if kind.is_dir() {
                return Err(Failure::usage(format!(
                    "the link {} leads to a folder outside the package",
                    path.display()
                ))
                .then("copy the folder, or leave the link out"));
            }
        }
        if kind.is_dir() {
            // A virtual environment holds an interpreter's copy of everything; its packages belong in requirements.txt.
            if path.join("pyvenv.cfg").exists() {
                continue;
            }
            collect(root, &path, &inside, entries, depth + 1)?;
        } else if kind.is_file() {
            let mode = std::fs::metadata(&path).map_err(context)?.permissions().mode();
            entries.push((inside, Entry::File { executable: mode & 0o111 != 0 }));
        }
        // Sockets, pipes and devices mean nothing in a package.
    }
    Ok(())
}

/// The target of a relative link that resolves inside `root`.
fn link_that_stays(root: &Path, link: &Path) -> Option<PathBuf> {
    let target = std::fs::read_link(link).ok()?;
    let resolved = std::fs::canonicalize(link).ok()?;
    (target.is_relative() && resolved.starts_with(root)).then_some(target)
}

fn write(root: &Path, entries: &[(PathBuf, Entry)]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    // A fixed time and fixed modes: the same files are the same package.
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default());
    for (inside, entry) in entries {
        let name = inside.to_str().ok_or("a name is not UTF-8")?;
        match entry {
            Entry::Link { target } => {
                archive.add_symlink(
                    name,
                    target.to_str().ok_or("a link is not UTF-8")?,
                    options.unix_permissions(0o777),
                )?;
            }
            Entry::File { executable } => {
                archive
                    .start_file(name, options.unix_permissions(if *executable { 0o755 } else { 0o644 }))?;
                let mut file = std::fs::File::open(root.join(inside))
                    .map_err(|error| format!("{}: {error}", inside.display()))?;
                std::io::copy(&mut file, &mut archive)?;
            }
        }
    }
    archive.flush()?;
    Ok(archive.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn names(bytes: &[u8]) -> Vec<String> {
        zip::ZipArchive::new(Cursor::new(bytes))
            .unwrap()
            .file_names()
            .map(|name| name.unwrap().into_owned())
            .collect()
    }

    #[test]
    fn the_same_files_are_the_same_package_whenever_and_wherever() {
        let make = |order: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("sub")).unwrap();
            for name in order {
                std::fs::write(folder.path().join(name), name.as_bytes()).unwrap();
            }
            pack(folder.path()).unwrap()
        };
        let first = make(&["b.py", "a.py", "sub/c.py"]);
        assert_eq!(first, make(&["sub/c.py", "a.py", "b.py"]));
        assert_eq!(names(&first), ["a.py", "b.py", "sub/c.py"]);
    }

    #[test]
    fn modes_links_and_what_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "from outside").unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("bootstrap"), "#!/bin/sh").unwrap();
        std::fs::set_permissions(at("bootstrap"), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::create_dir_all(at(".git/objects")).unwrap();
        std::fs::create_dir_all(at("venv/lib")).unwrap();
        std::fs::write(at("venv/pyvenv.cfg"), "").unwrap();
        std::fs::write(at("old.pyc"), "").unwrap();
        std::os::unix::fs::symlink("bootstrap", at("inner")).unwrap();
        std::os::unix::fs::symlink(outside.path(), at("outer")).unwrap();
        let bytes = pack(folder.path()).unwrap();
        assert_eq!(names(&bytes), ["bootstrap", "inner", "outer"]);
        let mut archive = zip::ZipArchive::new(Cursor::new(&bytes)).unwrap();
        assert_eq!(archive.by_name("bootstrap").unwrap().unix_mode().unwrap() & 0o777, 0o755);
        assert!(archive.by_name("inner").unwrap().is_symlink());
        let mut text = String::new();
        archive.by_name("outer").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "from outside");
    }

    #[test]
    fn an_empty_folder_and_a_dead_link_are_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(pack(folder.path()).unwrap_err().text().contains("is empty"));
        std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
        assert!(pack(folder.path()).unwrap_err().text().contains("leads nowhere"));
    }
}
