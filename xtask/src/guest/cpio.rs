//! Writes a directory as a "newc" cpio archive, the form of an initramfs. Source: kernel,
//! Documentation/driver-api/early-userspace/buffer-format.rst.

use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Archives everything below `root` into `archive`, owned by root.
pub fn write(root: &Path, archive: &Path) -> io::Result<()> {
    let mut writer = BufWriter::new(std::fs::File::create(archive)?);
    let mut number = 0;
    directory(&mut writer, root, root, &mut number)?;
    number += 1;
    entry(&mut writer, number, b"TRAILER!!!", 0, &[])?;
    writer.flush()
}

fn directory(writer: &mut impl Write, root: &Path, at: &Path, number: &mut u32) -> io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(at)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for found in entries {
        let path = found.path();
        let metadata = std::fs::symlink_metadata(&path)?;
        let name = path.strip_prefix(root).unwrap_or(&path);
        let content = if metadata.is_symlink() {
            std::fs::read_link(&path)?.as_os_str().as_bytes().to_vec()
        } else if metadata.is_file() {
            std::fs::read(&path)?
        } else {
            Vec::new()
        };
        *number += 1;
        entry(writer, *number, name.as_os_str().as_bytes(), metadata.mode(), &content)?;
        if metadata.is_dir() {
            directory(writer, root, &path, number)?;
        }
    }
    Ok(())
}

fn entry(writer: &mut impl Write, number: u32, name: &[u8], mode: u32, content: &[u8]) -> io::Result<()> {
    let size = u32::try_from(content.len()).map_err(io::Error::other)?;
    let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
    write!(writer, "070701")?;
    for field in [number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
        write!(writer, "{field:08X}")?;
    }
    let head = 110 + name.len() + 1;
    writer.write_all(name)?;
    writer.write_all(&vec![0; 1 + head.next_multiple_of(4) - head])?;
    writer.write_all(content)?;
    writer.write_all(&vec![0; content.len().next_multiple_of(4) - content.len()])
}
