//! The binary in a folder of its own, its words made the same on every host, and a real server.

// Each test file uses its own part; what fails here fails the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_lamplight");
/// `nobody` of every distribution.
const NOBODY: u32 = 65_534;

/// Runs the program in an empty folder and an empty environment.
pub struct Program {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
    nobody: bool,
}

/// What a run gave.
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Everything, for a snapshot.
    pub fn text(&self) -> String {
        let mut text = format!("status {}\n", self.status);
        for (name, part) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !part.is_empty() {
                text.push_str(&format!("--- {name}\n{part}"));
            }
        }
        text
    }
}

impl Program {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        // Nothing listens on port 1.
        let variables = vec![("LAMPLIGHT_ENDPOINT".to_owned(), "http://127.0.0.1:1".to_owned())];
        Self { folder, variables, nobody: false }
    }

    /// Sets a variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs as a user without privileges (needs root).
    pub fn without_privileges(mut self) -> Self {
        self.nobody = true;
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with_input(arguments, b"")
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let binary = if self.nobody {
            // The build's own folder may be closed to others.
            let copy = self.path("lamplight");
            if !copy.exists() {
                std::fs::copy(BINARY, &copy).unwrap();
            }
            copy
        } else {
            PathBuf::from(BINARY)
        };
        let mut command = Command::new(binary);
        command
            .arg0("lamplight")
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().unwrap();
        // A program that does not read its input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| self.plain(&String::from_utf8(bytes).unwrap());
        Ran {
            status: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Compares the whole words with the snapshot of that name.
    pub fn check(&self, name: &str, arguments: &[&str]) {
        let ran = self.run(arguments);
        let shown = self.plain(&arguments.join(" "));
        let text = mask_ids(&format!("$ lamplight {shown}\n{}", ran.text()));
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_snapshot_path("../snapshots");
        settings.bind(|| insta::assert_snapshot!(name, text));
    }

    /// Without what differs from run to run.
    fn plain(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "[FOLDER]")
    }
}

/// Replaces request ids, ports of tests, process ids and temporary folders.
fn mask_ids(text: &str) -> String {
    let mut before = String::new();
    text.split_inclusive(|character: char| character.is_whitespace() || "\"'(),".contains(character))
        .map(|word| {
            let plain = word.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
            let rest = &word[plain.len()..];
            if plain.len() == 36 && plain.chars().filter(|character| *character == '-').count() == 4 {
                return format!("[ID]{rest}");
            }
            if let Some((host, port)) = plain.rsplit_once("127.0.0.1:")
                && port.len() == 5
                && port.bytes().all(|byte| byte.is_ascii_digit())
            {
                return format!("{host}127.0.0.1:[PORT]{rest}");
            }
            if plain.starts_with("/tmp/.tmp") {
                return format!("[DATA]{rest}");
            }
            let names_a_process = matches!(before.as_str(), "process" | "kill");
            plain.clone_into(&mut before);
            if names_a_process && !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit()) {
                return format!("[PROCESS]{rest}");
            }
            word.to_owned()
        })
        .collect()
}

/// Whether this is root. A skip is told, and is a failure where CI=true.
pub fn root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped {test}: it needs root");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} was skipped: it needs root");
    }
    root
}

/// A real server on a free port, with a data directory of its own.
pub struct Server {
    child: Child,
    data: Option<tempfile::TempDir>,
    pub endpoint: String,
}

impl Server {
    /// `None` where there is no root.
    pub fn start(test: &str) -> Option<Self> {
        if !root_or_skip(test) {
            return None;
        }
        let data = tempfile::Builder::new().prefix(".tmp").tempdir_in("/tmp").unwrap();
        let (child, endpoint) = serve(&data, "127.0.0.1:0");
        Some(Self { child, data: Some(data), endpoint })
    }

    pub fn data_directory(&self) -> String {
        self.data.as_ref().unwrap().path().display().to_string()
    }

    /// Kills the first process without warning, and starts another at once on the same port and directory.
    pub fn kill_and_start_again(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let data = self.data.take().unwrap();
        let (child, endpoint) = serve(&data, self.endpoint.trim_start_matches("http://"));
        Self { child, data: Some(data), endpoint }
    }

    /// A Python this host has.
    pub fn python(&self, program: &Program) -> String {
        let listed = program.run(&["runtime", "list", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
        let identifiers = listed["Runtimes"].as_array().unwrap().iter();
        let mut pythons = identifiers
            .filter_map(|row| row["Identifier"].as_str())
            .filter(|name| name.starts_with("python3.1"));
        pythons.next().expect("no Python on this host").to_owned()
    }
}

fn serve(data: &tempfile::TempDir, listen: &str) -> (Child, String) {
    let mut child = Command::new(BINARY)
        .args(["serve", "--listen", listen, "--log", "error", "--data-dir"])
        .arg(data.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/root")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let endpoint = line.trim().strip_prefix("lamplight: listening on ").unwrap_or_default().to_owned();
    assert!(!endpoint.is_empty(), "the server said {line:?}");
    (child, endpoint)
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.data.is_none() {
            return; // It was killed, and another took its place.
        }
        let process = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        let status = self.child.wait().unwrap();
        if !std::thread::panicking() {
            assert!(status.success(), "the server ended with {status}");
        }
    }
}

/// Something that speaks HTTP and is no Lamplight.
pub struct Stranger {
    pub endpoint: String,
}

impl Stranger {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut connection in listener.incoming().map_while(Result::ok) {
                let mut head = [0; 4096];
                let _ = connection.read(&mut head);
                let _ = connection.write_all(
                    b"HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html>no<html",
                );
            }
        });
        Self { endpoint }
    }
}
