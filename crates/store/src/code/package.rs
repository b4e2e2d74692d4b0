//! Reads a hostile ZIP into a directory: nothing outside it, nothing but plain files, directories and
//! links that stay inside, nothing beyond the bounds.
//!
//! Two passes over the entries: the first decides from the names and modes alone, the second writes. The
//! library's own `extract` is never used: it has no bound on size and follows what the archive says about links.

use lamplight_model::{ErrorCode, ServiceError, limits};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{Cursor, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use zip::ZipArchive;
use zip::read::ZipFileEntry;

/// Bytes of a path inside a package; leaves room for the prefix below PATH_MAX.
const PATH_BYTES: usize = 3_000;
/// Bytes of one component: NAME_MAX of every file system we run on.
const COMPONENT_BYTES: usize = 255;
/// Bytes of a link's target.
const LINK_BYTES: u64 = 1_024;
/// Links followed while resolving one, as the kernel (path_resolution(7)).
const LINKS_FOLLOWED: usize = 40;

const NOT_A_ZIP: &str = "Could not unzip uploaded file. Please check your file, then try to upload again.";

/// Why a package was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is at fault; the text is for whoever uploaded it.
    #[error("{0}")]
    Rejected(ServiceError),
    /// Our disk is at fault.
    #[error("failed to unpack a package")]
    Io(#[from] std::io::Error),
}

fn rejected(message: impl Into<String>) -> UnpackError {
    UnpackError::Rejected(ServiceError::new(ErrorCode::InvalidParameterValueException, message))
}

fn not_a_zip() -> UnpackError {
    rejected(NOT_A_ZIP)
}

/// AWS's text, then what is wrong with which entry (its name escaped and cut).
fn bad_entry(name: &[u8], why: &str) -> UnpackError {
    let name: String = String::from_utf8_lossy(name).chars().take(100).collect();
    rejected(format!("{NOT_A_ZIP} Entry {name:?} {why}."))
}

fn too_many() -> UnpackError {
    rejected(format!("{NOT_A_ZIP} It holds more than {} files and directories.", limits::ZIP_ENTRIES))
}

fn too_large() -> UnpackError {
    rejected(format!("Unzipped size must be smaller than {} bytes", limits::UNZIPPED_BYTES))
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Directory,
    File {
        executable: bool,
    },
    /// The target, filled in while the contents are read.
    Link(Option<String>),
}

/// Names are paths without empty, `.` and `..` components, joined with `/`. In order, so a directory comes
/// before what is in it.
type Tree = BTreeMap<String, Node>;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// The beginning of every entry's record in the central directory (APPNOTE 4.3.12).
const CENTRAL_RECORD: &[u8] = b"PK\x01\x02";

/// Unpacks `zip` into the existing empty directory `target`. On error `target` holds rubbish: remove it.
///
/// Directories and executable files get mode 0755, other files 0644. Refuses with
/// `InvalidParameterValueException`: what is not a ZIP, more than `limits::UNZIPPED_BYTES` or
/// `limits::ZIP_ENTRIES`, absolute paths, `..`, backslashes, NUL, duplicates, devices, encrypted entries,
/// links that lead out of the package or are used as directories.
pub fn unpack(zip: &[u8], target: &Path) -> Result<(), UnpackError> {
    // The library keeps some hundred bytes per record it finds, so the records are counted before it looks.
    if zip.windows(CENTRAL_RECORD.len()).filter(|window| *window == CENTRAL_RECORD).count()
        > limits::ZIP_ENTRIES
    {
        return Err(too_many());
    }
    let mut archive: Archive<'_> = ZipArchive::new(Cursor::new(zip)).map_err(|_| not_a_zip())?;
    if archive.has_duplicate_names() {
        return Err(rejected(format!("{NOT_A_ZIP} It holds two entries of one name.")));
    }
    let mut tree = plan(&archive)?;
    make_directories(&tree, target)?;
    write_contents(&mut archive, &mut tree, target)?;
    make_links(&tree, target)?;
    Ok(())
}

fn plan(archive: &Archive<'_>) -> Result<Tree, UnpackError> {
    let mut tree = Tree::new();
    let mut declared_bytes = 0u64;
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(|_| not_a_zip())?;
        // A lie here is found out while reading; the truth spares us the work.
        declared_bytes = declared_bytes.saturating_add(entry.size());
        if declared_bytes >= limits::UNZIPPED_BYTES {
            return Err(too_large());
        }
        let Some(path) = clean_path(entry.name_raw())? else { continue };
        let node = node(&entry)?;
        insert_parents(&mut tree, &path, entry.name_raw())?;
        match tree.insert(path, node.clone()) {
            None => {}
            Some(Node::Directory) if node == Node::Directory => {}
            Some(_) => return Err(bad_entry(entry.name_raw(), "is there twice")),
        }
        if tree.len() > limits::ZIP_ENTRIES {
            return Err(too_many());
        }
    }
    Ok(tree)
}

/// The path without `.` and empty components; `None` for the package's own directory.
fn clean_path(raw: &[u8]) -> Result<Option<String>, UnpackError> {
    let name = std::str::from_utf8(raw).map_err(|_| bad_entry(raw, "has a name that is not UTF-8"))?;
    if name.starts_with('/') {
        return Err(bad_entry(raw, "has an absolute path"));
    }
    if name.contains(['\\', '\0']) {
        return Err(bad_entry(raw, "has a backslash or a NUL in its name"));
    }
    let components: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if components.contains(&"..") {
        return Err(bad_entry(raw, "leaves the package with \"..\""));
    }
    if name.len() > PATH_BYTES || components.iter().any(|part| part.len() > COMPONENT_BYTES) {
        return Err(bad_entry(raw, "has a path that is too long"));
    }
    Ok((!components.is_empty()).then(|| components.join("/")))
}

fn node(entry: &ZipFileEntry<'_>) -> Result<Node, UnpackError> {
    const TYPE: u32 = 0o170_000;
    if entry.encrypted() {
        return Err(bad_entry(entry.name_raw(), "is encrypted"));
    }
    let mode = entry.unix_mode().unwrap_or(0);
    match mode & TYPE {
        0o120_000 => Ok(Node::Link(None)),
        // Tools disagree about the mode of directories; the trailing slash decides.
        0 | 0o100_000 | 0o040_000 if entry.name_raw().ends_with(b"/") => Ok(Node::Directory),
        0o040_000 => Ok(Node::Directory),
        0 | 0o100_000 => Ok(Node::File { executable: mode & 0o111 != 0 }),
        _ => Err(bad_entry(entry.name_raw(), "is a device, a socket or a pipe")),
    }
}

fn insert_parents(tree: &mut Tree, path: &str, raw: &[u8]) -> Result<(), UnpackError> {
    for (at, _) in path.match_indices('/') {
        match tree.get(&path[..at]) {
            Some(Node::Directory) => {}
            Some(Node::File { .. } | Node::Link(_)) => {
                return Err(bad_entry(raw, "lies beneath a file or a link"));
            }
            None => {
                tree.insert(path[..at].to_owned(), Node::Directory);
            }
        }
    }
    Ok(())
}

fn make_directories(tree: &Tree, target: &Path) -> Result<(), UnpackError> {
    // The umask may have taken bits away, here and below.
    std::fs::set_permissions(target, Permissions::from_mode(0o755))?;
    for (path, node) in tree {
        if *node == Node::Directory {
            let path = target.join(path);
            DirBuilder::new().mode(0o755).create(&path)?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

fn write_contents(archive: &mut Archive<'_>, tree: &mut Tree, target: &Path) -> Result<(), UnpackError> {
    let mut left = limits::UNZIPPED_BYTES;
    for index in 0..archive.len() {
        let raw_name = archive.by_index_data(index).map_err(|_| not_a_zip())?.name_raw().to_vec();
        let Some(path) = clean_path(&raw_name)? else { continue };
        let node = tree.get_mut(&path).ok_or_else(not_a_zip)?;
        match node {
            Node::Directory => {}
            Node::File { executable } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                let mut content = open(archive, index, &raw_name)?;
                let mut file =
                    OpenOptions::new().write(true).create_new(true).mode(mode).open(target.join(&path))?;
                left -= copy(&mut content, &mut file, left, &raw_name)?;
                file.set_permissions(Permissions::from_mode(mode))?;
            }
            Node::Link(link) => {
                let mut bytes = Vec::new();
                let mut content = open(archive, index, &raw_name)?;
                copy(&mut content, &mut bytes, LINK_BYTES, &raw_name).map_err(|_| {
                    bad_entry(&raw_name, "is a link whose target cannot be read or is too long")
                })?;
                let text = String::from_utf8(bytes)
                    .ok()
                    .filter(|text| !text.is_empty() && !text.starts_with('/') && !text.contains('\0'))
                    .ok_or_else(|| bad_entry(&raw_name, "is a link to an absolute path, or to none"))?;
                *link = Some(text);
            }
        }
    }
    Ok(())
}

fn open<'a>(
    archive: &'a mut Archive<'_>,
    index: usize,
    raw_name: &[u8],
) -> Result<impl Read + 'a, UnpackError> {
    archive
        .by_index(index)
        .map_err(|_| bad_entry(raw_name, "is compressed in a way that is not supported, or damaged"))
}

/// Copies until the end, or refuses at `bound` bytes: what an entry claims about its size is not believed.
fn copy(
    source: &mut impl Read,
    sink: &mut impl Write,
    bound: u64,
    raw_name: &[u8],
) -> Result<u64, UnpackError> {
    let mut buffer = [0u8; 32 * 1024];
    let mut copied = 0u64;
    loop {
        let bytes = match source.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // The source is memory: only the archive can be at fault (damaged stream, wrong checksum).
            Err(_) => return Err(bad_entry(raw_name, "is damaged")),
        };
        copied += bytes as u64;
        if copied >= bound {
            return Err(too_large());
        }
        sink.write_all(&buffer[..bytes])?;
    }
}

/// Links come last, so no file was written through one; each was resolved against the whole tree before.
fn make_links(tree: &Tree, target: &Path) -> Result<(), UnpackError> {
    for (path, node) in tree {
        let Node::Link(Some(link)) = node else { continue };
        if !stays_inside(tree, path) {
            return Err(bad_entry(path.as_bytes(), "is a link that leaves the package"));
        }
        symlink(link, target.join(path))?;
    }
    Ok(())
}

/// Walks the link as the kernel would, inside the planned tree. A dangling end is fine, a loop is not.
fn stays_inside(tree: &Tree, path: &str) -> bool {
    let mut walked: Vec<&str> = Vec::new();
    // Next component last.
    let mut ahead: Vec<&str> = path.rsplit('/').collect();
    let mut followed = 0;
    while let Some(component) = ahead.pop() {
        match component {
            "" | "." => continue,
            ".." => {
                if walked.pop().is_none() {
                    return false;
                }
                continue;
            }
            component => walked.push(component),
        }
        if let Some(Node::Link(Some(link))) = tree.get(&walked.join("/")) {
            followed += 1;
            if followed > LINKS_FOLLOWED {
                return false;
            }
            walked.pop();
            ahead.extend(link.rsplit('/'));
        }
    }
    true
}
