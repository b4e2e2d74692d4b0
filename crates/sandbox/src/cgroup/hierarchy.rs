//! Which cgroup version this host has, and where our directories go in it.

use super::{at, write};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Version of the resource controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Controllers in hierarchies of their own; the unified one beside them for life-cycle.
    One,
    /// Everything in the unified hierarchy.
    Two,
}

/// The mounts in use. Version 1: memory, cpu, pids, [cpuacct,] unified. Version 2: unified alone.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    /// See [`Version`].
    pub version: Version,
    /// Directory in each hierarchy beneath which parents are made; memory first, the unified one last.
    pub bases: Vec<PathBuf>,
}

/// Name of the leaf our own processes move to when we own a delegated subtree.
const OWN_LEAF: &str = "lamplight-main";
/// Looks at a cgroup whose members are moved away.
const MOVE_ROUNDS: u32 = 32;
const CONTROLLERS: &str = "+memory +cpu +pids";

impl Hierarchy {
    /// Looks at the mounts of this process.
    ///
    /// # Errors
    /// When neither version has memory, cpu and pids controllers; the text says which is missing and what to do.
    pub fn detect() -> io::Result<Self> {
        Self::from_mounts(
            &fs::read_to_string("/proc/self/mountinfo")?,
            &fs::read_to_string("/proc/self/cgroup")?,
        )
    }

    fn from_mounts(mountinfo: &str, own: &str) -> io::Result<Self> {
        let mounts = parse_mounts(mountinfo);
        let unified = mounts.iter().find(|mount| mount.kind == "cgroup2");
        let controllers = unified
            .and_then(|mount| fs::read_to_string(mount.point.join("cgroup.controllers")).ok())
            .unwrap_or_default();
        let has = |name: &str| controllers.split_whitespace().any(|controller| controller == name);
        if let Some(unified) = unified
            && ["memory", "cpu", "pids"].into_iter().all(has)
        {
            return Ok(Self { version: Version::Two, bases: vec![base_of_two(&unified.point, own)] });
        }
        let mut bases = Vec::new();
        for controller in ["memory", "cpu", "pids"] {
            let found = mounts.iter().find(|mount| {
                mount.kind == "cgroup" && mount.options.split(',').any(|option| option == controller)
            });
            let Some(found) = found else {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!(
                        "the {controller} cgroup controller is not available: boot with cgroup v2 \
                         (systemd.unified_cgroup_hierarchy=1), or mount it: mount -t cgroup -o {controller} \
                         cgroup /sys/fs/cgroup/{controller}"
                    ),
                ));
            };
            bases.push(found.point.clone());
        }
        let Some(unified) = unified else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the unified cgroup hierarchy is not mounted: mkdir -p /sys/fs/cgroup/unified && \
                 mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
            ));
        };
        bases.push(unified.point.clone());
        // cpu and cpuacct, or cpu and memory, may share one hierarchy.
        let mut distinct: Vec<PathBuf> = Vec::new();
        let all_distinct = bases.iter().all(|base| {
            let new = !distinct.contains(base);
            distinct.push(base.clone());
            new
        });
        if !all_distinct {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the memory, cpu and pids cgroup controllers share a hierarchy: boot with cgroup v2 \
                 (systemd.unified_cgroup_hierarchy=1)",
            ));
        }
        Ok(Self { version: Version::One, bases })
    }

    /// Makes the controllers available to the children of `parents` (version 2 only).
    pub(super) fn enable_controllers(&self, parents: &[PathBuf]) -> io::Result<()> {
        if self.version == Version::One {
            return Ok(());
        }
        let base = &self.bases[0];
        // A cgroup with members cannot hand controllers down, except the root of all (which has no type): what
        // is in it moves aside. That is this process and its siblings in a delegated subtree, or everything of
        // the container in its own cgroup namespace.
        if base.join("cgroup.type").exists() {
            move_members(base, &base.join(OWN_LEAF))?;
        }
        write(base, "cgroup.subtree_control", CONTROLLERS)?;
        parents.iter().try_for_each(|parent| write(parent, "cgroup.subtree_control", CONTROLLERS))
    }
}

/// Moves every member of `from` to the leaf `to`. New ones may be born meanwhile, hence the rounds.
fn move_members(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to).map_err(|error| at(to, error))?;
    for _ in 0..MOVE_ROUNDS {
        let members = fs::read_to_string(from.join("cgroup.procs")).map_err(|error| at(from, error))?;
        if members.is_empty() {
            return Ok(());
        }
        for member in members.lines() {
            match fs::write(to.join("cgroup.procs"), member) {
                // It ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                other => other.map_err(|error| at(to, error))?,
            }
        }
    }
    Err(io::Error::other(format!("the processes of {} could not be moved to a leaf", from.display())))
}

/// Our own cgroup when it was delegated to us, else the root of the hierarchy.
fn base_of_two(point: &Path, own: &str) -> PathBuf {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // After a restart by the same service manager we may already sit in our leaf.
    let own = own.strip_suffix(OWN_LEAF).unwrap_or(own).trim_end_matches('/');
    let own = point.join(own);
    if own != point && is_delegated(&own) { own } else { point.to_owned() }
}

/// Whether systemd (`Delegate=yes`) marked the directory as ours. Source: systemd's cgroup delegation document.
fn is_delegated(directory: &Path) -> bool {
    let mut value = [0_u8; 8];
    ["trusted.delegate", "user.delegate"].into_iter().any(|name| {
        rustix::fs::getxattr(directory, name, &mut value[..])
            .is_ok_and(|length| length > 0 && value[0] == b'1')
    })
}

struct Mount {
    point: PathBuf,
    kind: String,
    options: String,
}

/// The fields of `/proc/self/mountinfo` that matter here. Source: proc_pid_mountinfo(5).
fn parse_mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut after = after.split(' ');
            Some(Mount {
                point: PathBuf::from(before.split(' ').nth(4)?),
                kind: after.next()?.to_owned(),
                options: after.nth(1)?.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:27 / /cg/memory rw,relatime shared:9 - cgroup cgroup rw,memory
32 23 0:28 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 23 0:29 / /cg/pids rw - cgroup cgroup rw,pids
34 23 0:30 / /cg/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid_uses_each_controllers_own_mount() {
        let found = Hierarchy::from_mounts(HYBRID, "0::/\n").unwrap();
        assert_eq!(found.version, Version::One);
        let bases: Vec<_> = found.bases.iter().filter_map(|base| base.to_str()).collect();
        assert_eq!(bases, ["/cg/memory", "/cg/cpu,cpuacct", "/cg/pids", "/cg/unified"]);
    }

    #[test]
    fn a_missing_controller_is_named_with_its_remedy() {
        let without: String =
            HYBRID.lines().filter(|line| !line.contains("pids")).map(|line| format!("{line}\n")).collect();
        let error = Hierarchy::from_mounts(&without, "0::/\n").unwrap_err().to_string();
        assert!(
            error.contains("the pids cgroup controller") && error.contains("mount -t cgroup -o pids"),
            "{error}"
        );
        let without: String =
            HYBRID.lines().filter(|line| !line.contains("unified")).map(|line| format!("{line}\n")).collect();
        let error = Hierarchy::from_mounts(&without, "0::/\n").unwrap_err().to_string();
        assert!(error.contains("mount -t cgroup2"), "{error}");
    }
}
