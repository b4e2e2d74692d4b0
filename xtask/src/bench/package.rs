//! The ZIPs of the benchmark's functions: entries as they are, without compression, and base64 for the request.

use anyhow::Context as _;
use std::path::Path;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A ZIP of these (name, content, executable) entries, stored. Source: PKWARE APPNOTE 4.3.7 and 4.3.12.
pub fn zip(entries: &[(String, Vec<u8>, bool)]) -> anyhow::Result<Vec<u8>> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content, executable) in entries {
        let offset = u32::try_from(file.len())?;
        let (length, name_length) = (u32::try_from(content.len())?, u16::try_from(name.len())?);
        // Version, flags, method; a fixed time, so that the same content has the same digest; checksum and sizes.
        let mut common = Vec::new();
        for word in [20_u16, 0, 0, 0, 0x5821] {
            common.extend_from_slice(&word.to_le_bytes());
        }
        for word in [crc32(content), length, length] {
            common.extend_from_slice(&word.to_le_bytes());
        }
        common.extend_from_slice(&name_length.to_le_bytes());
        common.extend_from_slice(&[0, 0]);
        file.extend_from_slice(b"PK\x03\x04");
        file.extend_from_slice(&common);
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(content);
        let mode: u32 = if *executable { 0o100_755 } else { 0o100_644 };
        directory.extend_from_slice(b"PK\x01\x02\x14\x03");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 6]);
        directory.extend_from_slice(&(mode << 16).to_le_bytes());
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (start, count) = (u32::try_from(file.len())?, u16::try_from(entries.len())?);
    let directory_length = u32::try_from(directory.len())?;
    file.extend_from_slice(&directory);
    file.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    file.extend_from_slice(&count.to_le_bytes());
    file.extend_from_slice(&count.to_le_bytes());
    file.extend_from_slice(&directory_length.to_le_bytes());
    file.extend_from_slice(&start.to_le_bytes());
    file.extend_from_slice(&[0, 0]);
    Ok(file)
}

/// The ZIP of a folder's files, those of its folders included; what interpreters cached is left out.
pub fn zip_of(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let mut entries = Vec::new();
    collect(folder, "", &mut entries)?;
    entries.sort();
    zip(&entries)
}

fn collect(folder: &Path, prefix: &str, entries: &mut Vec<(String, Vec<u8>, bool)>) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for entry in std::fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "__pycache__" {
            continue;
        }
        let inside = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{inside}/"), entries)?;
        } else {
            let executable = path.metadata()?.permissions().mode() & 0o111 != 0;
            entries.push((inside, std::fs::read(&path)?, executable));
        }
    }
    Ok(())
}

/// The checksum of ZIP entries. Source: RFC 1952, section 8.
fn crc32(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256_u32)
        .map(|byte| {
            (0..8).fold(byte, |value, _| (value >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(value & 1)))
        })
        .collect();
    !bytes.iter().fold(u32::MAX, |crc, byte| table[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

/// Base64 with padding. Source: RFC 4648.
pub fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// The bytes of base64 text; `None` when it is none.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes().take_while(|&letter| letter != b'=') {
        word = word << 6 | u32::try_from(ALPHABET.iter().position(|&known| known == letter)?).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_both_ways() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(from_base64("!"), None);
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
