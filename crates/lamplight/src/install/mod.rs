//! `install` and `uninstall`: Lamplight as a service of systemd.
//!
//! What is to be done is a list of steps, decided from the flags and the configuration; each step says whether it changed
//! something or found it done, so that both commands can be given twice. With `--root` everything lies beneath another directory,
//! as for an image, and nothing is started.

mod step;
mod unit;

use crate::cli::{Global, Install, Uninstall};
use crate::config::Config;
use crate::failure::Failure;
use crate::output;
use crate::server;
use std::path::{Path, PathBuf};
use step::{Done, Step};
use unit::{UNIT, UnitFacts};

/// Where the program is put when it is run from a place that is no usual one.
const PROGRAM: &str = "/usr/local/bin/lamplight";
/// A package manager's place: its program is left to it.
const PACKAGED_PROGRAM: &str = "/usr/bin/lamplight";
const CONFIG: &str = "/etc/lamplight/config.toml";
const UNITS: &str = "/etc/systemd/system";
const USERS: &str = "/etc/sysusers.d";
const USERS_FILE: &str = "lamplight.conf";
/// Name for the daemon's user, so that lists of processes and files show one.
const USER: &str = "lamplight";
/// Is there while systemd runs the machine. Source: sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

/// Everything both commands need to know.
struct Places {
    /// Beneath which all paths lie, `/` but for images.
    root: PathBuf,
    /// The program that will be run.
    program: PathBuf,
    data_directory: PathBuf,
    first_uid: u32,
    drain_seconds: u64,
    listen: String,
}

impl Places {
    fn find(root: Option<&Path>, config: &Config) -> Self {
        let running = std::env::current_exe().unwrap_or_default();
        let packaged = running == Path::new(PACKAGED_PROGRAM);
        Self {
            root: root.map_or_else(|| PathBuf::from("/"), Path::to_path_buf),
            program: PathBuf::from(if packaged { PACKAGED_PROGRAM } else { PROGRAM }),
            data_directory: config.data_dir.clone(),
            first_uid: server::planned_first_uid(&config.data_dir, config.first_uid),
            drain_seconds: config.drain_seconds,
            listen: config.listen.to_string(),
        }
    }

    /// Whether this is about the running machine.
    fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    fn within(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn unit(&self) -> String {
        unit::text(&UnitFacts {
            program: &self.program,
            config: Path::new(CONFIG),
            data_directory: &self.data_directory,
            drain_seconds: self.drain_seconds,
        })
    }

    fn configuration(&self) -> String {
        format!(
            "# Lamplight's configuration. `lamplight --dump-config` prints every key with its value.\n\
             # `systemctl reload {USER}` takes over what can change while it runs; the log says what needs a restart.\n\
             listen = \"{}\"\ndata_dir = \"{}\"\n",
            self.listen,
            self.data_directory.display()
        )
    }

    fn users(&self) -> String {
        let (id, home) = (self.first_uid, self.data_directory.display());
        format!(
            "# The user of Lamplight's daemon. Sandboxes have the 65,535 after it, which need no names.\n\
             u {USER} {id} \"Lamplight\" {home}\n"
        )
    }

    /// `systemctl`, of this machine or of the image.
    fn systemctl(&self, arguments: &[&str]) -> Step {
        let mut command = vec!["systemctl".to_owned()];
        if !self.is_live() {
            command.push(format!("--root={}", self.root.display()));
        }
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Step::Run { command }
    }
}

/// `install`.
pub fn install(global: &Global, flags: &Install, config: &Config) -> Result<u8, Failure> {
    config.check()?;
    let places = Places::find(flags.root.as_deref(), config);
    if flags.print {
        output::raw(places.unit().as_bytes());
        return Ok(0);
    }
    if !flags.dry_run {
        server::require_root("install")?;
        require_systemd(&places)?;
    }
    let running = std::env::current_exe()
        .map_err(|error| Failure::usage("failed to find this program's own file").because(error))?;
    run(global, &install_steps(&places, &running, flags.no_start), flags.dry_run)?;
    if !global.json && !flags.dry_run && places.is_live() && !flags.no_start {
        output::remark("it runs: systemctl status lamplight, journalctl -u lamplight -f, lamplight list");
    }
    Ok(0)
}

/// `uninstall`.
pub fn uninstall(global: &Global, flags: &Uninstall, config: &Config) -> Result<u8, Failure> {
    let places = Places::find(flags.root.as_deref(), config);
    if !flags.dry_run {
        server::require_root("uninstall")?;
    }
    let data = places.within(&places.data_directory);
    if flags.data && data.exists() && !server::is_data_directory(&data) {
        return Err(Failure::usage(format!("{} is no data directory of Lamplight", data.display()))
            .because("nothing in it is a server's")
            .then("name the right one: --data-dir DIRECTORY"));
    }
    run(global, &uninstall_steps(&places, flags.data), flags.dry_run)?;
    if !global.json && !flags.data && data.exists() {
        output::remark(format!(
            "kept: {} (functions, logs, the key); --data removes it, too",
            data.display()
        ));
    }
    Ok(0)
}

fn install_steps(places: &Places, running: &Path, no_start: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    if places.program != Path::new(PACKAGED_PROGRAM) {
        steps.push(Step::CopyProgram { from: running.to_owned(), to: places.within(&places.program) });
    }
    steps.extend([
        Step::WriteOnce { path: places.within(CONFIG), content: places.configuration() },
        Step::MakeDirectory { path: places.within(&places.data_directory) },
        Step::Write { path: places.within(USERS).join(USERS_FILE), content: places.users() },
        Step::Run {
            command: vec![
                "systemd-sysusers".to_owned(),
                format!("--root={}", places.root.display()),
                // By its plain name it is looked for beneath the root.
                USERS_FILE.to_owned(),
            ],
        },
        Step::Write { path: places.within(UNITS).join(UNIT), content: places.unit() },
    ]);
    if places.is_live() {
        steps.push(places.systemctl(&["daemon-reload"]));
    }
    steps.push(places.systemctl(&["enable", UNIT]));
    if places.is_live() && !no_start {
        // Also when it runs already: what was installed is what runs then.
        steps.push(places.systemctl(&["restart", UNIT]));
    }
    steps
}

fn uninstall_steps(places: &Places, data: bool) -> Vec<Step> {
    let unit = places.within(UNITS).join(UNIT);
    let mut steps = Vec::new();
    if unit.exists() {
        if places.is_live() && Path::new(BOOTED).exists() {
            steps.push(places.systemctl(&["stop", UNIT]));
        }
        steps.push(places.systemctl(&["disable", UNIT]));
    }
    steps.push(Step::Remove { path: unit });
    if places.is_live() && Path::new(BOOTED).exists() {
        steps.push(places.systemctl(&["daemon-reload"]));
    }
    steps.push(Step::Remove { path: places.within(USERS).join(USERS_FILE) });
    steps.push(Step::RemoveUser { root: places.root.clone(), name: USER.to_owned() });
    if places.program != Path::new(PACKAGED_PROGRAM) {
        steps.push(Step::Remove { path: places.within(&places.program) });
    }
    let config = places.within(CONFIG);
    if data {
        steps.push(Step::Remove { path: config.clone() });
        steps.push(Step::RemoveTree { path: places.within(&places.data_directory) });
    } else {
        steps.push(Step::RemoveUnchanged { path: config.clone(), content: places.configuration() });
    }
    if let Some(folder) = config.parent() {
        steps.push(Step::RemoveEmpty { path: folder.to_owned() });
    }
    steps
}

fn require_systemd(places: &Places) -> Result<(), Failure> {
    if !places.is_live() || Path::new(BOOTED).exists() {
        return Ok(());
    }
    let program = output::program();
    Err(Failure::usage("systemd does not run this machine, so there is nothing to install the service into")
        .because(format!("{BOOTED} is absent"))
        .then(format!("run it yourself:                       sudo {program} serve"))
        .then(format!("see the unit:                          {program} install --print"))
        .then(format!("put it into an image of a machine:     sudo {program} install --root DIRECTORY")))
}

/// Does the steps in order, or only says them.
fn run(global: &Global, steps: &[Step], dry_run: bool) -> Result<(), Failure> {
    let mut said = Vec::new();
    for step in steps {
        let (state, text) = if dry_run {
            ("would", step.to_string())
        } else {
            (if step.run()? == Done::Changed { "done" } else { "already" }, step.to_string())
        };
        if global.json {
            said.push(serde_json::json!({ "step": text, "state": state }));
        } else {
            output::line(format!("{state:<8} {text}"));
        }
    }
    if global.json {
        output::json(&serde_json::json!({ "steps": said }));
    }
    Ok(())
}
