//! The form of a backup: a gzipped tar whose first entry says what it is and whose last one holds the checksums.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::io::{Read, Result};
use std::path::{Component, Path};

/// Format of the archive, not of what is in it: the databases have formats of their own.
pub const FORMAT: u32 = 1;
/// First entry.
pub const HEAD: &str = "lamplight-backup.json";
/// Last entry.
pub const CHECKSUMS: &str = "checksums.json";

/// The first entry.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    /// `FORMAT`.
    pub format: u32,
    /// The release that made it.
    pub lamplight: String,
    /// When, as RFC 3339.
    pub made_at: String,
}

/// One line of the last entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// Path within the data directory.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// Reads through and knows the checksum of what it read.
pub struct Summed<Source> {
    source: Source,
    digest: Sha256,
    bytes: u64,
}

impl<Source: Read> Summed<Source> {
    /// Begins.
    pub fn new(source: Source) -> Self {
        Self { source, digest: Sha256::new(), bytes: 0 }
    }

    /// Of everything read so far, which was `path`.
    pub fn checksum(self, path: &str) -> Checksum {
        let sha256 = self.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Checksum { path: path.to_owned(), bytes: self.bytes, sha256 }
    }
}

impl<Source: Read> Read for Summed<Source> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.source.read(buffer)?;
        self.digest.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// Whether a path of an archive stays where it is unpacked.
pub fn is_plain(path: &Path) -> bool {
    path.components().next().is_some()
        && path.components().all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_unpacked() {
        for (path, expected) in [
            ("key", true),
            ("code/zip/a.zip", true),
            ("", false),
            ("../key", false),
            ("/etc/passwd", false),
            ("a/../../b", false),
        ] {
            assert_eq!(is_plain(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn the_checksum_is_that_of_the_whole() {
        let mut summed = Summed::new(&b"abc"[..]);
        std::io::copy(&mut summed, &mut std::io::sink()).unwrap();
        let checksum = summed.checksum("a");
        assert_eq!(checksum.bytes, 3);
        assert_eq!(checksum.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
