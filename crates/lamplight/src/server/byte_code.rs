//! Byte code of our Python bootstrap, made once for each interpreter: compiling it took a third of a cold start.
//!
//! Called by `runtimes::publish`, as root. A directory's name tells the interpreter and the sources it was made from, so
//! what is there is right. Without one, whatever the reason, an interpreter runs the source.

use lamplight_model::managed_runtime::{RuntimeFamily, family};
use lamplight_runtime::InstalledRuntime;
use lamplight_runtime::managed::{Bootstrap, COMPILE_BOOTSTRAP, bootstraps};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// All interpreters together have so long; one of them takes about 10 ms.
const TIME: Duration = Duration::from_secs(3);
/// File beside source and byte code that tells whether they are whole.
const DIGEST: &str = "digest";
/// Bytes of one interpreter's output; it is about 45 KiB.
const OUTPUT_BYTES: usize = 1024 * 1024;

/// Interpreters at work; dropped without `finish`, they are left alone and what they write is lost.
pub struct Preparing {
    directory: PathBuf,
    sources: Vec<&'static Bootstrap>,
    /// By runtime identifier.
    names: BTreeMap<String, String>,
    working: Vec<(String, Child)>,
    until: Instant,
}

/// Has made what is not there yet beneath `directory` (`bootstraps/` of the data directory).
pub fn prepare(directory: &Path, runtimes: &[&InstalledRuntime]) -> Preparing {
    let sources: Vec<&Bootstrap> =
        bootstraps().iter().filter(|file| file.family == RuntimeFamily::Python).collect();
    let mut names = BTreeMap::new();
    let mut working = Vec::new();
    for runtime in runtimes.iter().filter(|runtime| has_hash_based_pycs(&runtime.identifier)) {
        let Ok(name) = directory_name(runtime, &sources) else { continue };
        if !is_whole(&directory.join(&name), &sources) {
            let Ok(child) = start(&runtime.interpreter, &sources) else { continue };
            working.push((name.clone(), child));
        }
        names.insert(runtime.identifier.clone(), name);
    }
    Preparing { directory: directory.to_owned(), sources, names, working, until: Instant::now() + TIME }
}

impl Preparing {
    /// Waits for the interpreters, not long. Gives the names of the directories that hold source and byte code, by runtime
    /// identifier; runtimes that must do without are left out.
    pub fn finish(mut self) -> BTreeMap<String, String> {
        let mut failed = Vec::new();
        for (name, child) in self.working {
            let temporary = self.directory.join(format!(".new-{}", uuid::Uuid::new_v4().simple()));
            let target = self.directory.join(&name);
            let made = finish(child, self.until).and_then(|output| {
                write(&temporary, &self.sources, &output)?;
                // What a loss of power left there in pieces.
                let _ = std::fs::remove_dir_all(&target);
                std::fs::rename(&temporary, &target)
            });
            if made.is_err() {
                let _ = std::fs::remove_dir_all(&temporary);
                failed.push(name);
            }
        }
        self.names.retain(|_, name| !failed.contains(name));
        self.names
    }
}

/// Removes what no runtime uses any more; before any sandbox is there.
pub fn remove_unused(directory: &Path, used: &BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let ours = name.starts_with("python3.") || name.starts_with(".new-");
        if ours && !used.contains(name) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn has_hash_based_pycs(identifier: &str) -> bool {
    let minor = identifier.strip_prefix("python3.").and_then(|minor| minor.parse::<u32>().ok());
    family(identifier) == RuntimeFamily::Python && minor.is_some_and(|minor| minor >= 7)
}

/// Everything the result depends on.
fn directory_name(runtime: &InstalledRuntime, sources: &[&Bootstrap]) -> io::Result<String> {
    let program = std::fs::metadata(&runtime.interpreter)?;
    let mut digest = Sha256::new();
    digest.update(runtime.interpreter.as_os_str().as_encoded_bytes());
    digest.update(format!("\n{}\n{}\n", runtime.version, COMPILE_BOOTSTRAP));
    digest.update(format!("{} {}.{}\n", program.len(), program.mtime(), program.mtime_nsec()));
    for source in sources {
        digest.update(format!("{} {}\n", source.name, source.content.len()));
        digest.update(source.content);
    }
    let digits: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{digits}", runtime.identifier))
}

/// Whether everything is in it as it was written. Nothing is synced when it is written, which takes longer than making it.
fn is_whole(directory: &Path, sources: &[&Bootstrap]) -> bool {
    let digest = || -> io::Result<Vec<u8>> {
        let mut digest = Sha256::new();
        for source in sources {
            digest.update(std::fs::read(directory.join(source.name))?);
            digest.update(std::fs::read(directory.join(format!("{}c", source.name)))?);
        }
        Ok(digest.finalize().to_vec())
    };
    let written = std::fs::read(directory.join(DIGEST));
    written.is_ok_and(|written| digest().is_ok_and(|found| found == written))
}

/// Starts an interpreter with all it needs to know. Never somebody else's program as root: it runs as its owner.
fn start(interpreter: &Path, sources: &[&Bootstrap]) -> io::Result<Child> {
    let owner = std::fs::metadata(interpreter)?;
    let mut child = Command::new(interpreter)
        .args(["-I", "-S", "-c", COMPILE_BOOTSTRAP])
        .args(sources.iter().flat_map(|source| [source.name.to_owned(), source.content.len().to_string()]))
        .uid(owner.uid())
        .gid(owner.gid())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // The sources fit into a pipe (64 KiB), so this does not wait for a reader.
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut input| sources.iter().try_for_each(|source| input.write_all(source.content)));
    // An interpreter that ended already says so by what it did not write.
    let _ = written;
    Ok(child)
}

fn finish(mut child: Child, until: Instant) -> io::Result<Vec<u8>> {
    let output = read_output(&mut child, until);
    if output.is_err() {
        let _ = child.kill();
    }
    let status = child.wait()?;
    if status.success() { output } else { Err(io::Error::other("the interpreter failed")) }
}

fn read_output(child: &mut Child, until: Instant) -> io::Result<Vec<u8>> {
    let Some(stdout) = child.stdout.as_mut() else { return Ok(Vec::new()) };
    let mut output = Vec::new();
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&*stdout, PollFlags::IN)], Some(&left))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match stdout.read(&mut buffer)? {
            0 => return Ok(output),
            count => output.extend_from_slice(&buffer[..count]),
        }
        if output.len() > OUTPUT_BYTES {
            return Err(io::Error::other("the interpreter's output is too long"));
        }
    }
}

/// Writes sources, byte code and their digest; `output` is what `COMPILE_BOOTSTRAP` wrote.
fn write(directory: &Path, sources: &[&Bootstrap], mut output: &[u8]) -> io::Result<()> {
    std::fs::create_dir(directory)?;
    // Read inside sandboxes by users of their own, whatever the umask of whoever started us.
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    let add = |name: &str, content: &[u8]| {
        let file = directory.join(name);
        std::fs::write(&file, content)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))
    };
    let mut digest = Sha256::new();
    for source in sources {
        let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (length, rest) = output.split_first_chunk::<4>().ok_or_else(short)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(io::Error::other)?;
        let (byte_code, rest) = rest.split_at_checked(length).ok_or_else(short)?;
        output = rest;
        for (name, content) in
            [(source.name.to_owned(), source.content), (format!("{}c", source.name), byte_code)]
        {
            digest.update(content);
            add(&name, content)?;
        }
    }
    if !output.is_empty() {
        return Err(io::Error::other("the interpreter wrote more than asked for"));
    }
    add(DIGEST, &digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(interpreter: &Path) -> InstalledRuntime {
        InstalledRuntime {
            identifier: "python3.99".to_owned(),
            version: "3.99.1".to_owned(),
            command: vec!["/usr/bin/python3".to_owned(), "/var/runtime/bootstrap.py".to_owned()],
            prefix: None,
            interpreter: interpreter.to_owned(),
            bootstrap: String::new(),
        }
    }

    fn program(directory: &Path, script: &str) -> PathBuf {
        let path = directory.join("python");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_python_makes_byte_code_it_runs() {
        let python = ["/usr/bin/python3", "/usr/local/bin/python3"]
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists());
        let Some(python) = python else { return };
        let directory = tempfile::tempdir().unwrap();
        let runtime = runtime(python);
        let names = prepare(directory.path(), &[&runtime]).finish();
        let made = directory.path().join(&names["python3.99"]);
        let check = "import marshal, sys; from importlib.util import MAGIC_NUMBER; data = open(sys.argv[1], 'rb').read(); \
                     assert data[:8] == MAGIC_NUMBER + b'\\1\\0\\0\\0'; print(marshal.loads(data[16:]).co_filename)";
        for name in ["bootstrap.py", "faults_and_logs.py", "warm.py"] {
            let output =
                Command::new(python).args(["-c", check]).arg(made.join(format!("{name}c"))).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("/var/runtime/{name}\n"));
            assert!(made.join(name).exists());
        }
        // Found, not made again: an interpreter that is asked nothing cannot fail.
        let inode = std::fs::metadata(&made).unwrap().ino();
        assert_eq!(prepare(directory.path(), &[&runtime]).finish(), names);
        assert_eq!(std::fs::metadata(&made).unwrap().ino(), inode);
        // What a loss of power cut is made anew.
        std::fs::write(made.join("bootstrap.pyc"), "").unwrap();
        assert_eq!(prepare(directory.path(), &[&runtime]).finish(), names);
        assert!(std::fs::metadata(made.join("bootstrap.pyc")).unwrap().len() > 10_000);
        remove_unused(directory.path(), &names.values().cloned().collect());
        assert!(made.exists());
        remove_unused(directory.path(), &BTreeSet::new());
        assert!(!made.exists());
    }

    #[test]
    fn interpreters_that_fail_run_the_source() {
        let directory = tempfile::tempdir().unwrap();
        for script in [
            "#!/bin/sh\nexit 1\n",
            "#!/bin/sh\nprintf 'abc'\n",
            "#!/bin/sh\nexec cat /dev/zero\n",
            "no program",
        ] {
            let bootstraps = directory.path().join("bootstraps");
            std::fs::create_dir_all(&bootstraps).unwrap();
            let runtime = runtime(&program(directory.path(), script));
            assert!(prepare(&bootstraps, &[&runtime]).finish().is_empty(), "{script}");
            assert_eq!(std::fs::read_dir(&bootstraps).unwrap().count(), 0, "{script}");
        }
        assert!(
            !has_hash_based_pycs("python3.6")
                && has_hash_based_pycs("python3.7")
                && !has_hash_based_pycs("nodejs20.x")
        );
    }
}
