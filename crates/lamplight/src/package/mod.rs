//! A folder or ZIP becomes a code package: dependencies installed, packed the same way every time.
//!
//! Called by `deploy` and `quickstart`. Packing twice gives the same bytes, so an unchanged folder is an
//! unchanged function.

mod dependencies;
mod folder;
mod guess;

pub use dependencies::{find_program, install};
pub use folder::pack;
pub use guess::{Family, Guess, guess};

use crate::failure::Failure;
use std::io::Read as _;
use std::path::Path;

/// What was found at `deploy`'s path.
#[derive(Debug)]
pub enum Source {
    /// A folder to pack.
    Folder,
    /// A ZIP, with its bytes.
    Zip(Vec<u8>),
}

/// Largest file read as a ZIP, bytes: what one request can carry.
const ZIP_BYTES: u64 = lamplight_model::limits::ZIP_BYTES as u64;

/// Looks at what `path` is. Fails when it is neither a folder nor a ZIP that can be sent.
pub fn open(path: &Path) -> Result<Source, Failure> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::usage(format!("there is no folder or ZIP at {shown}"))
            .because(format!("looked from {}", std::env::current_dir().unwrap_or_default().display()))
            .then("lamplight deploy ./my-function"),
        _ => Failure::usage(format!("failed to read {shown}")).because(error),
    })?;
    if metadata.is_dir() {
        return Ok(Source::Folder);
    }
    if !metadata.is_file() {
        return Err(Failure::usage(format!("{shown} is neither a folder nor a ZIP")));
    }
    check_size(metadata.len())?;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(ZIP_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::usage(format!("failed to read {shown}")).because(error))?;
    if zip::ZipArchive::new(std::io::Cursor::new(&bytes)).is_err() {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Err(Failure::usage(format!("{shown} is not a ZIP"))
            .because("a function is deployed as the folder that holds its files, or as a ZIP of it")
            .then(format!("lamplight deploy {}", folder.display())));
    }
    Ok(Source::Zip(bytes))
}

/// Refuses what the API would refuse, before it is sent.
pub fn check_size(bytes: u64) -> Result<(), Failure> {
    if bytes <= ZIP_BYTES {
        return Ok(());
    }
    Err(Failure::usage(format!("the package has {}", crate::output::bytes(bytes)))
        .because(format!("a request carries at most {} of ZIP (Lambda's limit)", crate::output::bytes(ZIP_BYTES)))
        .then("leave out tests, documentation and data; put large files on a file system: --file-system NAME:/mnt/NAME"))
}

/// The names a ZIP holds and the text of those a handler may be in; as `guess` wants them.
pub fn zip_listing(bytes: &[u8]) -> Vec<(String, Option<String>, bool)> {
    let Ok(mut archive) = zip::ZipArchive::new(std::io::Cursor::new(bytes)) else { return Vec::new() };
    let mut listing = Vec::new();
    for index in 0..archive.len() {
        let Ok(mut file) = archive.by_index(index) else { continue };
        let Ok(name) = file.name().map(std::borrow::Cow::into_owned) else { continue };
        if name.contains('/') || file.is_dir() {
            continue;
        }
        let executable = file.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
        let mut text = String::new();
        let readable = guess::is_source(&name)
            && file.by_ref().take(guess::SOURCE_BYTES).read_to_string(&mut text).is_ok();
        listing.push((name, readable.then_some(text), executable));
    }
    listing
}

/// The top-level files of a folder, as `guess` wants them.
pub fn folder_listing(folder: &Path) -> Vec<(String, Option<String>, bool)> {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut listing: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let metadata = std::fs::metadata(entry.path()).ok().filter(std::fs::Metadata::is_file)?;
            let name = entry.file_name().into_string().ok()?;
            let text = guess::is_source(&name).then(|| {
                let mut text = String::new();
                let file = std::fs::File::open(entry.path()).ok()?;
                file.take(guess::SOURCE_BYTES).read_to_string(&mut text).ok().map(|_| text)
            });
            Some((name, text.flatten(), metadata.permissions().mode() & 0o111 != 0))
        })
        .collect();
    listing.sort();
    listing
}

/// A function name from a folder's or file's name: what is not allowed becomes a hyphen.
pub fn name_for(path: &Path) -> Option<String> {
    let absolute = std::fs::canonicalize(path).ok()?;
    let stem = if absolute.is_dir() { absolute.file_name() } else { absolute.file_stem() };
    let name: String = stem?
        .to_str()?
        .chars()
        .map(
            |character| {
                if character.is_ascii_alphanumeric() || "-_".contains(character) { character } else { '-' }
            },
        )
        .take(64)
        .collect();
    let name = name.trim_matches('-').to_owned();
    (!name.is_empty()).then_some(name)
}
