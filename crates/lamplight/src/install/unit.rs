//! The systemd unit: what the keeper needs, and everything else taken away.
//!
//! Tried with `setpriv` and a device cgroup by tests/living/test_install.py, which read the lists from this text.

use std::path::Path;

/// Name of the unit.
pub const UNIT: &str = "lamplight.service";
/// Beyond what running invocations may take to finish, seconds: sandboxes and cgroups are taken down.
const STOP_SECONDS: u64 = 15;

/// What the unit depends on.
#[derive(Debug, Clone)]
pub struct UnitFacts<'a> {
    /// The installed program.
    pub program: &'a Path,
    /// The configuration file.
    pub config: &'a Path,
    /// Where the server keeps everything.
    pub data_directory: &'a Path,
    /// `drain_seconds` of the configuration.
    pub drain_seconds: u64,
}

/// The text of the unit file. Sources: systemd.service(5), systemd.exec(5), systemd.resource-control(5).
pub fn text(facts: &UnitFacts<'_>) -> String {
    let (program, config, data) =
        (facts.program.display(), facts.config.display(), facts.data_directory.display());
    let stop_seconds = facts.drain_seconds.saturating_add(STOP_SECONDS);
    format!(
        "\
# Written by `lamplight install`; `lamplight uninstall` removes it. Changes of yours: systemctl edit lamplight
[Unit]
Description=Lamplight: AWS Lambda functions on this machine
After=network.target

[Service]
Type=notify
# The unprivileged daemon says that it is ready, and it is a child of the main process.
NotifyAccess=all
ExecStart={program} serve --config {config}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1s
# A mistake in the configuration, or a host without what the wall is made of, does not go away by itself.
RestartPreventExitStatus=2
TimeoutStartSec=120s
TimeoutStopSec={stop_seconds}s
# The keeper is told; it ends its own.
KillMode=mixed
# Every sandbox has control groups of its own beneath the unit's.
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
# A function that uses up its memory is killed in its own group; that must not stop the platform.
OOMPolicy=continue

# Privileges. The keeper (root) builds sandboxes, then the daemon and every sandbox drop to users of their own without any
# capability. What is listed is what the building takes: mounts and namespaces, cgroups and loop devices (SYS_ADMIN), links and
# packet filters (NET_ADMIN), becoming another user and giving up the bounding set (SETUID, SETGID, SETPCAP), files of those
# users (CHOWN, DAC_OVERRIDE, FOWNER), their namespaces (SYS_PTRACE), their roots (SYS_CHROOT) with /dev/null and the like
# (MKNOD), ending them (KILL), limits (SYS_RESOURCE), and ports below 1024 for the gateway (NET_BIND_SERVICE).
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_NET_ADMIN CAP_SETUID CAP_SETGID CAP_SETPCAP CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL CAP_MKNOD CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_RESOURCE CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={data}
ProtectHome=read-only
PrivateTmp=yes
DevicePolicy=closed
DeviceAllow=/dev/loop-control rw
DeviceAllow=block-loop rw
# Not set, and why: filters of system calls (SystemCallFilter, RestrictNamespaces, RestrictAddressFamilies, LockPersonality and the
# like) would be inherited by every function and run at each of its calls, beside the filter it has anyway. Covers over /proc
# (ProtectProc, ProtectKernelTunables, ProtectKernelLogs) keep the kernel from mounting a fresh /proc in a sandbox.
# ProtectControlGroups, ProtectHostname, PrivateDevices and PrivateNetwork take away what sandboxes are made of.

[Install]
WantedBy=multi-user.target
"
    )
}
