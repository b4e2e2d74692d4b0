//! `doctor`: what the wall and the work need, what this host has, and the command that gets what is missing.
//!
//! `serve` and `quickstart` refuse to start while a required row is missing: never a silent downgrade.

mod gateway;

use crate::cli::Global;
use crate::config::Config;
use crate::failure::Failure;
use crate::output;
use crate::server;
use lamplight_model::Timestamp;
use serde::Serialize;
use std::path::Path;

/// One thing a host has or lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Short name.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether it is there.
    pub ok: bool,
    /// Whether the server starts without it.
    pub required: bool,
    /// What was found, or why not.
    pub found: String,
    /// Command that gets it; empty when it is there.
    pub mend: &'static str,
}

/// What the probes read; filled from the host, or by tests.
#[derive(Debug, Clone, Default)]
struct Facts {
    kernel: String,
    root: bool,
    file_systems: String,
    namespaces: Vec<&'static str>,
    user_namespaces_most: u64,
    loop_control: bool,
    mkfs: Option<String>,
    nft: Option<String>,
    egress: bool,
    controllers: Vec<&'static str>,
    cgroup_version: &'static str,
    freezer: bool,
    seccomp: bool,
    landlock: bool,
    runtimes: Vec<(String, String)>,
}

/// Oldest kernel: idmapped mounts, with which durable directories and `/tmp` belong to the sandbox's own user.
const OLDEST_KERNEL: (u32, u32) = (5, 12);
const NAMESPACES: &[&str] = &["user", "pid", "net", "ipc", "uts", "cgroup", "mnt"];
const CONTROLLERS: &[&str] = &["memory", "cpu", "pids"];

/// Prints the table. Status 0 when nothing required is missing, else 2.
pub fn run(global: &Global, config: &Config) -> Result<u8, Failure> {
    let rows = all_rows(config);
    let complete = rows.iter().all(|row| row.ok || !row.required);
    if global.json {
        output::json(&serde_json::json!({ "ok": complete, "rows": rows }));
        return Ok(if complete { 0 } else { 2 });
    }
    let mut table = output::table(&["", "what", "for", "found"]);
    for row in &rows {
        table.add_row([state(row), row.name, row.purpose, &row.found]);
    }
    output::print_table(&table);
    for row in rows.iter().filter(|row| !row.ok) {
        output::line(format!(
            "{} {}: {}",
            if row.required { "missing" } else { "without" },
            row.name,
            row.mend
        ));
    }
    output::line(if complete { "this host can run Lamplight" } else { "this host cannot run Lamplight yet" });
    Ok(if complete { 0 } else { 2 })
}

/// Fails with one line for each required thing that is missing.
pub fn require(config: &Config) -> Result<(), Failure> {
    let missing: Vec<Row> = all_rows(config).into_iter().filter(|row| row.required && !row.ok).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::usage("this host lacks what the wall is made of");
    for row in missing {
        failure = failure.then(format!("{} ({}): {}", row.name, row.found, row.mend));
    }
    Err(failure)
}

/// One line for each optional thing that is missing.
pub fn remarks(config: &Config) -> Vec<String> {
    let absent = all_rows(config).into_iter().filter(|row| !row.required && !row.ok);
    absent.map(|row| format!("without {} ({}): {}", row.name, row.purpose, row.mend)).collect()
}

fn state(row: &Row) -> &'static str {
    match (row.ok, row.required) {
        (true, _) => "ok",
        (false, true) => "MISSING",
        (false, false) => "absent",
    }
}

fn all_rows(config: &Config) -> Vec<Row> {
    let mut rows = rows(&facts(config));
    rows.extend(gateway::rows(config, Timestamp::from_system(std::time::SystemTime::now())));
    rows
}

fn rows(facts: &Facts) -> Vec<Row> {
    let has_file_system =
        |name: &str| facts.file_systems.lines().any(|line| line.trim_start_matches("nodev").trim() == name);
    let lacking = |all: &[&'static str], have: &[&'static str]| {
        all.iter().filter(|name| !have.contains(name)).copied().collect::<Vec<_>>().join(" ")
    };
    let missing_controllers = lacking(CONTROLLERS, &facts.controllers);
    let missing_namespaces = lacking(NAMESPACES, &facts.namespaces);
    let python =
        facts.runtimes.iter().filter(|(name, _)| name.starts_with("python")).map(shown).collect::<Vec<_>>();
    let node =
        facts.runtimes.iter().filter(|(name, _)| name.starts_with("nodejs")).map(shown).collect::<Vec<_>>();
    let row = |name, purpose, ok: bool, required, found: String, mend| Row {
        name,
        purpose,
        ok,
        required,
        found,
        mend: if ok { "" } else { mend },
    };
    let present = |ok: bool| if ok { "present" } else { "not there" }.to_owned();
    vec![
        row(
            "kernel",
            "idmapped mounts",
            kernel_is_enough(&facts.kernel),
            true,
            facts.kernel.clone(),
            "install a kernel of 5.12 or newer: apt-get install linux-image-amd64, then reboot",
        ),
        row(
            "root",
            "building the wall",
            facts.root,
            true,
            if facts.root { "yes" } else { "no" }.to_owned(),
            "start as root: sudo lamplight ...",
        ),
        row(
            "namespaces",
            "processes, files, network apart",
            missing_namespaces.is_empty(),
            true,
            if missing_namespaces.is_empty() {
                NAMESPACES.join(" ")
            } else {
                format!("no {missing_namespaces}")
            },
            "boot a kernel with namespaces (any distribution's has them); in a container, allow them",
        ),
        row(
            "user namespaces",
            "a user of its own per sandbox",
            facts.user_namespaces_most > 0,
            true,
            format!("at most {}", facts.user_namespaces_most),
            "sysctl -w user.max_user_namespaces=65536",
        ),
        row(
            "overlay",
            "root trees",
            has_file_system("overlay"),
            true,
            present(has_file_system("overlay")),
            "modprobe overlay",
        ),
        row(
            "ext4",
            "/tmp of its own size",
            has_file_system("ext4"),
            true,
            present(has_file_system("ext4")),
            "modprobe ext4",
        ),
        row(
            "loop devices",
            "/tmp of its own size",
            facts.loop_control,
            true,
            present(facts.loop_control),
            "modprobe loop",
        ),
        row(
            "mkfs.ext4",
            "/tmp of its own size",
            facts.mkfs.is_some(),
            true,
            facts.mkfs.clone().unwrap_or_else(|| present(false)),
            "apt-get install e2fsprogs",
        ),
        row(
            "cgroups",
            "memory, processor, processes",
            missing_controllers.is_empty(),
            true,
            if missing_controllers.is_empty() {
                format!("{} with {}", facts.cgroup_version, CONTROLLERS.join(" "))
            } else {
                format!("{} without {missing_controllers}", facts.cgroup_version)
            },
            "mount -t cgroup2 none /sys/fs/cgroup; for memory on some boards boot with cgroup_enable=memory",
        ),
        row(
            "freezer",
            "idle instances stand still",
            facts.freezer,
            true,
            present(facts.freezer),
            "mount -t cgroup2 none /sys/fs/cgroup (or its unified directory)",
        ),
        row(
            "seccomp",
            "system calls",
            facts.seccomp,
            true,
            present(facts.seccomp),
            "boot a kernel with CONFIG_SECCOMP_FILTER",
        ),
        row(
            "landlock",
            "files, once more",
            facts.landlock,
            false,
            present(facts.landlock),
            "boot with lsm=landlock,... (a second wall; the first stands without it)",
        ),
        row(
            "python",
            "runtimes python3.*",
            !python.is_empty(),
            false,
            or_none(&python),
            "apt-get install python3, or lamplight runtime add python3.13 PATH",
        ),
        row(
            "node",
            "runtimes nodejs*",
            !node.is_empty(),
            false,
            or_none(&node),
            "apt-get install nodejs, or lamplight runtime add nodejs22.x PATH",
        ),
        row(
            "nft",
            "functions with egress",
            facts.nft.is_some(),
            facts.egress,
            facts.nft.clone().unwrap_or_else(|| present(false)),
            "apt-get install nftables",
        ),
    ]
}

fn shown((identifier, version): &(String, String)) -> String {
    format!("{identifier} ({version})")
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn kernel_is_enough(release: &str) -> bool {
    let mut numbers =
        release.split(|character: char| !character.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= OLDEST_KERNEL
}

fn facts(config: &Config) -> Facts {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let uname = rustix::system::uname();
    let mounts = read("/proc/self/mountinfo");
    let file_systems = read("/proc/filesystems");
    let (cgroup_version, controllers) = controllers(&mounts, &read("/sys/fs/cgroup/cgroup.controllers"));
    Facts {
        kernel: uname.release().to_string_lossy().into_owned(),
        root: crate::config::is_root(),
        namespaces: NAMESPACES
            .iter()
            .filter(|name| Path::new("/proc/self/ns").join(name).exists())
            .copied()
            .collect(),
        user_namespaces_most: read("/proc/sys/user/max_user_namespaces").trim().parse().unwrap_or(0),
        loop_control: Path::new("/dev/loop-control").exists(),
        mkfs: find_program("mkfs.ext4"),
        nft: find_program("nft"),
        egress: config.network.egress || config.instances.egress,
        controllers,
        cgroup_version,
        freezer: mounts.contains(" - cgroup2 ") || mounts.contains("freezer"),
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        landlock: lamplight_sandbox::landlock::is_available(),
        runtimes: server::find_runtimes(&server::runtimes_file(&config.data_dir))
            .map(|table| {
                let rows = table.available().map(|found| (found.identifier.clone(), found.version.clone()));
                rows.collect()
            })
            .unwrap_or_default(),
        file_systems,
    }
}

/// Which cgroup version limits resources here, and with what: a v1 mount per controller, or one v2 tree.
fn controllers(mounts: &str, unified: &str) -> (&'static str, Vec<&'static str>) {
    let version_2: Vec<_> = CONTROLLERS
        .iter()
        .filter(|name| unified.split_whitespace().any(|have| have == **name))
        .copied()
        .collect();
    if !version_2.is_empty() {
        return ("version 2", version_2);
    }
    let of_version_1 = |name: &str| {
        mounts.lines().filter_map(|line| line.split_once(" - cgroup ")).any(|(_, rest)| {
            rest.split_whitespace()
                .last()
                .is_some_and(|options| options.split(',').any(|option| option == name))
        })
    };
    ("version 1", CONTROLLERS.iter().filter(|name| of_version_1(name)).copied().collect())
}

/// Root's own PATH may lack the directories of system programs.
fn find_program(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].iter().map(std::path::PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .map(|file| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Facts {
        Facts {
            kernel: "6.1.0-18-amd64".to_owned(),
            root: true,
            file_systems: "nodev\toverlay\n\text4\n".to_owned(),
            namespaces: NAMESPACES.to_vec(),
            user_namespaces_most: 1,
            loop_control: true,
            mkfs: Some("/sbin/mkfs.ext4".to_owned()),
            nft: None,
            egress: false,
            controllers: CONTROLLERS.to_vec(),
            cgroup_version: "version 2",
            freezer: true,
            seccomp: true,
            landlock: false,
            runtimes: vec![("python3.11".to_owned(), "3.11.2".to_owned())],
        }
    }

    fn check_missing(change: impl FnOnce(&mut Facts), name: &str, mend: &str) {
        let mut facts = complete();
        change(&mut facts);
        let missing: Vec<Row> = rows(&facts).into_iter().filter(|row| row.required && !row.ok).collect();
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert_eq!(missing[0].name, name);
        assert!(missing[0].mend.contains(mend), "{}", missing[0].mend);
    }

    #[test]
    fn a_debian_host_is_enough_and_what_is_optional_is_told_apart() {
        let rows = rows(&complete());
        assert!(rows.iter().all(|row| row.ok || !row.required));
        let absent: Vec<&str> = rows.iter().filter(|row| !row.ok).map(|row| row.name).collect();
        assert_eq!(absent, ["landlock", "node", "nft"]);
    }

    #[test]
    fn each_missing_wall_names_its_cure() {
        check_missing(|facts| facts.kernel = "5.10.0".to_owned(), "kernel", "5.12");
        check_missing(|facts| facts.root = false, "root", "sudo");
        check_missing(|facts| facts.user_namespaces_most = 0, "user namespaces", "sysctl");
        check_missing(|facts| facts.file_systems = "\text4\n".to_owned(), "overlay", "modprobe overlay");
        check_missing(
            |facts| facts.file_systems = "nodev\toverlay\n\text3\n".to_owned(),
            "ext4",
            "modprobe ext4",
        );
        check_missing(|facts| facts.loop_control = false, "loop devices", "modprobe loop");
        check_missing(|facts| facts.mkfs = None, "mkfs.ext4", "e2fsprogs");
        check_missing(|facts| facts.controllers = vec!["cpu", "pids"], "cgroups", "cgroup_enable=memory");
        check_missing(|facts| facts.seccomp = false, "seccomp", "CONFIG_SECCOMP_FILTER");
        check_missing(|facts| facts.freezer = false, "freezer", "cgroup2");
        check_missing(|facts| facts.egress = true, "nft", "nftables");
    }

    #[test]
    fn both_cgroup_versions_are_read() {
        let version_1 = "30 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                         31 29 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                         32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(controllers(version_1, ""), ("version 1", vec!["memory", "cpu"]));
        assert_eq!(
            controllers("", "cpuset cpu io memory pids\n"),
            ("version 2", vec!["memory", "cpu", "pids"])
        );
        assert_eq!(controllers("", ""), ("version 1", vec![]));
    }
}
