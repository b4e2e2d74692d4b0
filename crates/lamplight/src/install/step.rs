//! One step of installing or uninstalling: does it unless it is done already, and undoes nothing half.

use crate::failure::Failure;
use std::fmt;
use std::fs::Permissions;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Put the program at its place, in one step for whoever runs the old one.
    CopyProgram { from: PathBuf, to: PathBuf },
    /// Write a file that is ours.
    Write { path: PathBuf, content: String },
    /// Write a file that is the operator's from then on.
    WriteOnce { path: PathBuf, content: String },
    /// Make a directory that others may pass.
    MakeDirectory { path: PathBuf },
    /// Run a command that does nothing when all is done.
    Run { command: Vec<String> },
    /// Remove a file.
    Remove { path: PathBuf },
    /// Remove a file that is still as it was written.
    RemoveUnchanged { path: PathBuf, content: String },
    /// Remove a directory if nothing is in it.
    RemoveEmpty { path: PathBuf },
    /// Remove a directory with all that is in it.
    RemoveTree { path: PathBuf },
    /// Remove a user, and with it its group.
    RemoveUser { root: PathBuf, name: String },
}

/// Whether there was something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Something is different now.
    Changed,
    /// It was so already.
    Already,
}

impl Step {
    /// Does it.
    pub fn run(&self) -> std::result::Result<Done, Failure> {
        self.try_run().map_err(|error| Failure::usage(format!("failed to {self}")).because(error))
    }

    fn try_run(&self) -> Result<Done> {
        match self {
            Self::CopyProgram { from, to } => {
                if is_same(from, to)? {
                    return Ok(Done::Already);
                }
                replace(to, 0o755, |new| std::fs::copy(from, new).map(|_| ()))
            }
            Self::Write { path, content } => {
                if std::fs::read_to_string(path).is_ok_and(|found| found == *content) {
                    return Ok(Done::Already);
                }
                replace(path, 0o644, |new| std::fs::write(new, content))
            }
            Self::WriteOnce { path, content } => match path.symlink_metadata() {
                Ok(_) => Ok(Done::Already),
                Err(_) => replace(path, 0o644, |new| std::fs::write(new, content)),
            },
            Self::MakeDirectory { path } => {
                if path.is_dir() {
                    return Ok(Done::Already);
                }
                std::fs::create_dir_all(path)?;
                Ok(Done::Changed)
            }
            Self::Run { command } => run(command).map(|()| Done::Changed),
            Self::Remove { path } => removed(std::fs::remove_file(path)),
            Self::RemoveUnchanged { path, content } => match std::fs::read_to_string(path) {
                Ok(found) if found == *content => removed(std::fs::remove_file(path)),
                _ => Ok(Done::Already),
            },
            Self::RemoveEmpty { path } => match std::fs::remove_dir(path) {
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(Done::Already),
                other => removed(other),
            },
            Self::RemoveTree { path } => match crate::server::holder(path) {
                Some(process) => Err(Error::other(format!("a server uses it: process {process}"))),
                None => removed(std::fs::remove_dir_all(path)),
            },
            Self::RemoveUser { root, name } => {
                // Whether removing a user removes its group is a setting of the machine.
                let user = remove_named(root, "etc/passwd", "userdel", name)?;
                let group = remove_named(root, "etc/group", "groupdel", name)?;
                Ok(if user == Done::Changed { user } else { group })
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CopyProgram { to, .. } => write!(formatter, "put the program at {}", to.display()),
            Self::Write { path, .. } => write!(formatter, "write {}", path.display()),
            Self::WriteOnce { path, .. } => write!(formatter, "write {} unless it is there", path.display()),
            Self::MakeDirectory { path } => write!(formatter, "make {}", path.display()),
            Self::Run { command } => write!(formatter, "run {}", command.join(" ")),
            Self::Remove { path } => write!(formatter, "remove {}", path.display()),
            Self::RemoveUnchanged { path, .. } => {
                write!(formatter, "remove {} unless it was changed", path.display())
            }
            Self::RemoveEmpty { path } => write!(formatter, "remove {} if it is empty", path.display()),
            Self::RemoveTree { path } => {
                write!(formatter, "remove {} with all that is in it", path.display())
            }
            Self::RemoveUser { name, .. } => write!(formatter, "remove the user {name}"),
        }
    }
}

/// Makes a file beside its place and renames it, so that nobody sees half of it.
fn replace(path: &Path, mode: u32, make: impl FnOnce(&Path) -> Result<()>) -> Result<Done> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let new = path.with_added_extension("new");
    let made = make(&new)
        .and_then(|()| std::fs::set_permissions(&new, Permissions::from_mode(mode)))
        .and_then(|()| std::fs::rename(&new, path));
    if made.is_err() {
        // Best effort: what could not be made whole is not left behind.
        let _ = std::fs::remove_file(&new);
    }
    made.map(|()| Done::Changed)
}

fn is_same(from: &Path, to: &Path) -> Result<bool> {
    let Ok(there) = std::fs::metadata(to) else { return Ok(false) };
    Ok(there.len() == std::fs::metadata(from)?.len() && std::fs::read(from)? == std::fs::read(to)?)
}

/// Runs `program` for what `file` has a line of.
fn remove_named(root: &Path, file: &str, program: &str, name: &str) -> Result<Done> {
    let lines = match std::fs::read_to_string(root.join(file)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Done::Already),
        lines => lines?,
    };
    if !lines.lines().any(|line| line.split(':').next() == Some(name)) {
        return Ok(Done::Already);
    }
    let mut command = vec![program.to_owned()];
    if root != Path::new("/") {
        command.push(format!("--prefix={}", root.display()));
    }
    command.push(name.to_owned());
    run(&command).map(|()| Done::Changed)
}

fn removed(result: Result<()>) -> Result<Done> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Done::Already),
        other => other.map(|()| Done::Changed),
    }
}

/// Runs a program; its own words are the reason when it fails.
fn run(command: &[String]) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let output = Command::new(program).args(arguments).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::new(ErrorKind::NotFound, format!("there is no program {program}")),
        _ => error,
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::other(format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_done_is_done_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("etc/a");
        let step = Step::Write { path: path.clone(), content: "one".to_owned() };
        assert_eq!(step.run().unwrap(), Done::Changed);
        assert_eq!(step.run().unwrap(), Done::Already);
        let once = Step::WriteOnce { path: path.clone(), content: "two".to_owned() };
        assert_eq!(once.run().unwrap(), Done::Already);
        let unchanged = Step::RemoveUnchanged { path: path.clone(), content: "two".to_owned() };
        assert_eq!(unchanged.run().unwrap(), Done::Already);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(Step::Remove { path: path.clone() }.run().unwrap(), Done::Changed);
        assert_eq!(Step::Remove { path }.run().unwrap(), Done::Already);
    }

    #[test]
    fn a_command_that_fails_is_told_in_its_own_words() {
        let step = Step::Run { command: vec!["ls".to_owned(), "/absent-directory".to_owned()] };
        let text = step.run().unwrap_err().text();
        assert!(
            text.contains("failed to run ls /absent-directory") && text.contains("No such file"),
            "{text}"
        );
        let step = Step::Run { command: vec!["no-such-program".to_owned()] };
        assert!(step.run().unwrap_err().text().contains("there is no program no-such-program"));
    }
}
