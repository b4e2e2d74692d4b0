//! Landlock as a second wall around the file tree, where the kernel has it (5.13 and later).
//!
//! The tree itself is already the allow-list; Landlock adds that a mount made visible by mistake would still
//! not be writable, and (6.12 and later) that signals and abstract sockets do not leave the sandbox.

#![allow(unsafe_code)]

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, Scope,
};
use std::io;

/// Whether this kernel has Landlock and it is switched on. Restricts nothing.
pub fn is_available() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}

/// What may be done beneath which directory.
fn rules(abi: ABI) -> [(&'static str, BitFlags<AccessFs>); 5] {
    let everywhere = AccessFs::from_read(abi);
    let all = AccessFs::from_all(abi);
    let of_this_kernel = |access: BitFlags<AccessFs>| access & all;
    [
        ("/", everywhere),
        ("/tmp", all),
        ("/mnt", all),
        ("/dev", everywhere | of_this_kernel(AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev)),
        ("/proc", everywhere | of_this_kernel(AccessFs::WriteFile | AccessFs::Truncate)),
    ]
}

/// The restriction as the numbers a program hands to the kernel itself. Source: linux/landlock.h.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Plan {
    /// `handled_access_fs`.
    pub handled_files: u64,
    /// `scoped`; 0 where the kernel has no scopes and no field for them.
    pub scoped: u64,
    /// Directories and `allowed_access`.
    pub rules: Vec<(String, u64)>,
}

/// What [`restrict`] does on this kernel, for a process that cannot call it. `None` without Landlock.
pub fn plan() -> Option<Plan> {
    const VERSION: u32 = 1; // LANDLOCK_CREATE_RULESET_VERSION
    // SAFETY: with this flag the kernel reads neither pointer nor length and gives a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    let abi = match version {
        ..=0 => return None,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        _ => ABI::V5,
    };
    Some(Plan {
        handled_files: AccessFs::from_all(abi).bits(),
        scoped: if version >= 6 { Scope::from_all(ABI::V6).bits() } else { 0 },
        rules: rules(abi).map(|(path, access)| (path.to_owned(), access.bits())).into(),
    })
}

/// Restricts the calling process and all that it starts. Does what the kernel supports, without an error for less.
pub fn restrict() -> io::Result<()> {
    let abi = ABI::V5;
    let failed = |error: landlock::RulesetError| io::Error::other(error.to_string());
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .map_err(failed)?
        .scope(Scope::from_all(ABI::V6))
        .map_err(failed)?
        .create()
        .map_err(failed)?;
    for (path, access) in rules(abi) {
        let directory = PathFd::new(path).map_err(|error| io::Error::other(error.to_string()))?;
        ruleset = ruleset.add_rule(PathBeneath::new(directory, access)).map_err(failed)?;
    }
    ruleset.restrict_self().map_err(failed)?;
    Ok(())
}
