//! The guest's root: programs of this Debian with the libraries they name, Python, the clients, our programs, the suites.

use super::archive::Archive;
use super::kernel::Kernel;
use crate::command;
use crate::paths;
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that the suites, the product or sandboxed functions run. One that this machine lacks is left out.
const PROGRAMS: &[&str] = &[
    "bash",
    "dash",
    "cat",
    "chmod",
    "cp",
    "dd",
    "df",
    "echo",
    "env",
    "false",
    "head",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "pwd",
    "rm",
    "seq",
    "sleep",
    "stat",
    "sync",
    "tail",
    "test",
    "touch",
    "tr",
    "true",
    "truncate",
    "uname",
    "wc",
    "grep",
    "sed",
    "mount",
    "umount",
    "dmesg",
    "setpriv",
    "unshare",
    "nsenter",
    "ps",
    "ip",
    "nft",
    "mkfs.ext4",
    "mke2fs",
    "debugfs",
    "cut",
    "hostname",
    "printf",
    "setsid",
    "sort",
    "uniq",
    "timeout",
    "find",
    "curl",
    "python3.11",
];
/// Only these services of botocore's model are needed; all of them are 100 MB.
const SERVICES: &[&str] = &["lambda", "logs", "sts", "iam"];

enum Entry {
    Directory,
    File(PathBuf),
    Text(Vec<u8>, u32),
    Link(String),
}

#[derive(Default)]
struct Image {
    entries: BTreeMap<String, Entry>,
    libraries: BTreeSet<PathBuf>,
}

/// Writes the image: `programs` go to /guest/bin under the names given.
pub fn build(kernel: &Kernel, programs: &[(PathBuf, String)], to: &Path) -> anyhow::Result<()> {
    let mut image = Image::default();
    for (link, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
    {
        image.entries.insert(link.into(), Entry::Link(target.into()));
    }
    for directory in [
        "usr/lib64",
        "dev",
        "proc",
        "sys",
        "tmp",
        "run",
        "etc",
        "root",
        "var/lib",
        "var/tmp",
        "opt",
        "mnt",
        "guest/bin",
    ] {
        image.directory(directory);
    }
    image.text("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n");
    image.text("etc/group", "root:x:0:\nnogroup:x:65534:\n");
    image.text("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
    image.text("etc/resolv.conf", "");
    for optional in ["etc/mke2fs.conf", "etc/ssl/certs/ca-certificates.crt", "usr/share/ca-certificates"] {
        let path = Path::new("/").join(optional);
        if path.is_file() {
            image.file(optional, path.canonicalize()?);
        }
    }
    for program in PROGRAMS {
        image.program(program)?;
    }
    image.entries.insert("usr/bin/sh".into(), Entry::Link("dash".into()));
    image.entries.insert("usr/bin/python3".into(), Entry::Link("python3.11".into()));
    image.tree(Path::new("/usr/lib/python3.11"), "usr/lib/python3.11", &|path| {
        ![
            "test",
            "idlelib",
            "tkinter",
            "lib2to3",
            "ensurepip",
            "turtledemo",
            "pydoc_data",
            "__pycache__",
            "config-3.11-x86_64-linux-gnu",
        ]
        .iter()
        .any(|name| path.file_name().is_some_and(|found| found == *name))
    })?;
    let site = site_packages()?;
    image.tree(&site, "guest/site", &|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let in_models = path.parent().is_some_and(|parent| parent.ends_with("botocore/data"));
        !(name == "__pycache__" || name == "pip" || name == "setuptools" || name == "awscrt")
            && !(in_models && path.is_dir() && !SERVICES.contains(&name.as_str()))
    })?;
    let suites = paths::root().join("tests");
    image
        .tree(&suites, "guest/tests", &|path| !path.ends_with("clients") && !path.ends_with("__pycache__"))?;
    for (program, name) in programs {
        image.libraries_of(program)?;
        image.file(&format!("guest/bin/{name}"), program.clone());
    }
    for (number, module) in kernel.modules.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        image.file(&format!("guest/modules/{number:02}-{name}"), module.clone());
    }
    image.entries.insert("init".into(), Entry::Text(compile_init(to)?, 0o755));
    for library in std::mem::take(&mut image.libraries) {
        // The name is what the loader asks for; the content is what it leads to.
        let name = library.to_string_lossy().trim_start_matches('/').to_owned();
        let name = if name.starts_with("lib") { format!("usr/{name}") } else { name };
        image.file(&name, library.canonicalize()?);
    }
    image.write(to)
}

/// The init is C, linked statically: it has to set up what a Rust program's start already needs.
fn compile_init(beside: &Path) -> anyhow::Result<Vec<u8>> {
    let program = beside.with_file_name("init");
    command::run(
        Command::new("cc")
            .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&program)
            .arg(paths::root().join("tests/guest/init.c")),
    )?;
    Ok(std::fs::read(program)?)
}

fn site_packages() -> anyhow::Result<PathBuf> {
    let directory = paths::cache().join("python/lib/python3.11/site-packages");
    if !directory.join("boto3").exists() {
        bail!("no Python 3.11 clients in {}; run cargo xtask tools", directory.display());
    }
    Ok(directory)
}

impl Image {
    fn directory(&mut self, name: &str) {
        let mut path = String::new();
        for part in name.split('/').filter(|part| !part.is_empty()) {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(part);
            self.entries.entry(path.clone()).or_insert(Entry::Directory);
        }
    }

    fn file(&mut self, name: &str, from: PathBuf) {
        if let Some((directory, _)) = name.rsplit_once('/') {
            self.directory(directory);
        }
        self.entries.insert(name.to_owned(), Entry::File(from));
    }

    fn text(&mut self, name: &str, content: &str) {
        self.entries.insert(name.to_owned(), Entry::Text(content.as_bytes().to_vec(), 0o644));
    }

    /// A program of this machine under its usual path, with its libraries.
    fn program(&mut self, name: &str) -> anyhow::Result<()> {
        for directory in ["usr/bin", "usr/sbin"] {
            let path = Path::new("/").join(directory).join(name);
            if let Ok(real) = path.canonicalize() {
                self.libraries_of(&real)?;
                self.file(&format!("{directory}/{name}"), real);
                return Ok(());
            }
        }
        println!("note: {name} is not on this machine and so not in the guest");
        Ok(())
    }

    fn libraries_of(&mut self, program: &Path) -> anyhow::Result<()> {
        // A static program or a script has none and makes ldd fail.
        let listed = command::output(Command::new("ldd").arg(program)).unwrap_or_default();
        for line in listed.lines() {
            let path = line.split_whitespace().find(|word| word.starts_with('/'));
            self.libraries.extend(path.map(PathBuf::from));
        }
        Ok(())
    }

    /// Everything below `from` that `wanted` takes, links followed.
    fn tree(&mut self, from: &Path, to: &str, wanted: &dyn Fn(&Path) -> bool) -> anyhow::Result<()> {
        self.directory(to);
        let listed = std::fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))?;
        for entry in listed {
            let path = entry?.path();
            if !wanted(&path) {
                continue;
            }
            let name = format!("{to}/{}", path.file_name().unwrap_or_default().to_string_lossy());
            let Ok(real) = path.canonicalize() else { continue };
            if real.is_dir() {
                self.tree(&path, &name, wanted)?;
            } else {
                if real.to_string_lossy().contains(".so") {
                    self.libraries_of(&real)?;
                }
                self.file(&name, real);
            }
        }
        Ok(())
    }

    fn write(&self, to: &Path) -> anyhow::Result<()> {
        let file = std::fs::File::create(to).with_context(|| format!("failed to make {}", to.display()))?;
        let mut archive = Archive::new(BufWriter::new(file));
        for (name, entry) in &self.entries {
            match entry {
                Entry::Directory => archive.directory(name)?,
                Entry::Link(target) => archive.link(name, target)?,
                Entry::Text(content, permissions) => archive.file(name, *permissions, content)?,
                Entry::File(from) => {
                    let content =
                        std::fs::read(from).with_context(|| format!("failed to read {}", from.display()))?;
                    let permissions = std::fs::metadata(from)?.permissions().mode();
                    archive.file(name, permissions, &content)?;
                }
            }
        }
        archive.finish()?;
        Ok(())
    }
}
