//! Runs pip or npm into a copy of the folder when requirements.txt or package.json ask for it.

use super::guess::Family;
use crate::failure::Failure;
use crate::output;
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Lines of a failed installer that are shown.
const SHOWN_LINES: usize = 15;

/// A copy with everything installed; it is removed when dropped.
#[derive(Debug)]
pub struct Installed {
    directory: PathBuf,
}

impl Installed {
    /// The folder to pack.
    pub fn folder(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Installs what the folder asks for. `None` when it asks for nothing: pack it as it is.
///
/// `runtime` is the identifier, so that pip runs with the same Python version where there is one.
pub fn install(folder: &Path, family: Family, runtime: &str) -> Result<Option<Installed>, Failure> {
    match family {
        Family::Python if has_requirements(folder) => {
            let copy = copy_of(folder, &[])?;
            let python = python_for(runtime)?;
            let mut command = Command::new(&python);
            command
                .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile"])
                .args(["--root-user-action", "ignore", "-r", "requirements.txt", "--target"])
                .arg(copy.folder());
            run(command, copy.folder(), &format!("pip (of {python})"))?;
            Ok(Some(copy))
        }
        Family::Node if has_node_dependencies(folder) => {
            if find_program("npm").is_none() {
                return Err(Failure::usage("package.json asks for packages, and npm is not installed")
                    .then("apt-get install npm")
                    .then("or install them into node_modules yourself and deploy with --no-install"));
            }
            let copy = copy_of(folder, &["node_modules"])?;
            let locked = copy.folder().join("package-lock.json").exists();
            let mut command = Command::new("npm");
            command.arg(if locked { "ci" } else { "install" }).args([
                "--omit=dev",
                "--no-audit",
                "--no-fund",
                "--no-update-notifier",
            ]);
            run(command, copy.folder(), "npm")?;
            Ok(Some(copy))
        }
        _ => Ok(None),
    }
}

/// Whether requirements.txt names anything.
fn has_requirements(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("requirements.txt"))
        .is_ok_and(|text| text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#')))
}

/// Whether package.json names anything that a deployed function needs.
fn has_node_dependencies(folder: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(folder.join("package.json")) else { return false };
    let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    ["dependencies", "optionalDependencies"].iter().any(|key| {
        document.get(key).and_then(serde_json::Value::as_object).is_some_and(|packages| !packages.is_empty())
    })
}

/// `python3.11` for `python3.11` where it works, else `python3` with a remark; pip must be there.
fn python_for(runtime: &str) -> Result<String, Failure> {
    let with_pip = |program: &str| {
        let pip = Command::new(program).args(["-m", "pip", "--version"]).output();
        pip.is_ok_and(|output| output.status.success())
    };
    if runtime.starts_with("python3") && find_program(runtime).is_some() && with_pip(runtime) {
        return Ok(runtime.to_owned());
    }
    if find_program("python3").is_some() && with_pip("python3") {
        output::remark(format!(
            "note: there is no {runtime} with pip here; packages with compiled parts are installed for python3"
        ));
        return Ok("python3".to_owned());
    }
    Err(Failure::usage("requirements.txt asks for packages, and there is no Python with pip")
        .then("apt-get install python3-pip")
        .then("or install them into the folder yourself and deploy with --no-install"))
}

/// Where a program of this name is on the PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// Copies a folder into a new private temporary directory.
fn copy_of(folder: &Path, without: &[&str]) -> Result<Installed, Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let directory = std::env::temp_dir().join(format!("lamplight-{}", uuid::Uuid::new_v4().simple()));
    let context =
        |error: std::io::Error| Failure::usage(format!("failed to copy {}", folder.display())).because(error);
    std::fs::DirBuilder::new().mode(0o700).create(&directory).map_err(context)?;
    let copy = Installed { directory };
    copy_tree(folder, copy.folder(), without, 0).map_err(context)?;
    Ok(copy)
}

fn copy_tree(from: &Path, to: &Path, without: &[&str], depth: usize) -> std::io::Result<()> {
    /// As deep as packing goes.
    const DEPTH: usize = 64;
    if depth > DEPTH {
        return Err(std::io::Error::other("it is nested too deeply"));
    }
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let left_out = name.to_str().is_some_and(|name| without.contains(&name) || name == ".git");
        if left_out || entry.path().join("pyvenv.cfg").exists() {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            std::fs::create_dir(&target)?;
            copy_tree(&source, &target, &[], depth + 1)?;
        } else if kind.is_symlink() && std::fs::read_link(&source)?.is_relative() {
            std::os::unix::fs::symlink(std::fs::read_link(&source)?, &target)?;
        } else if std::fs::metadata(&source)?.is_file() {
            std::fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

/// Runs an installer, showing its last line while it works and its last lines when it fails.
fn run(mut command: Command, directory: &Path, name: &str) -> Result<(), Failure> {
    let context = |error: std::io::Error| Failure::usage(format!("failed to run {name}")).because(error);
    let (reader, writer) = std::io::pipe().map_err(context)?;
    let errors = writer.try_clone().map_err(context)?;
    command.current_dir(directory).stdin(Stdio::null()).stdout(writer).stderr(errors);
    let mut child = command.spawn().map_err(context)?;
    // The writing ends live in `command`; the pipe must end with the child.
    drop(command);
    let progress = std::io::stderr().is_terminal().then(|| {
        let spinner = indicatif::ProgressBar::new_spinner();
        spinner.enable_steady_tick(Duration::from_millis(120));
        spinner
    });
    if progress.is_none() {
        output::remark(format!("{name}: installing packages"));
    }
    let mut last_lines = VecDeque::new();
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if let Some(progress) = &progress {
            progress.set_message(format!("{name}: {}", line.chars().take(100).collect::<String>()));
        }
        if last_lines.len() == SHOWN_LINES {
            last_lines.pop_front();
        }
        last_lines.push_back(line);
    }
    let status = child.wait().map_err(context)?;
    if let Some(progress) = progress {
        progress.finish_and_clear();
    }
    if status.success() {
        return Ok(());
    }
    Err(Failure::usage(format!("{name} could not install the packages"))
        .because(last_lines.into_iter().collect::<Vec<_>>().join("\n"))
        .then(
            "mend requirements.txt or package.json, or deploy with --no-install to pack the folder as it is",
        ))
}
