//! Landlock as a second wall around the file tree, where the kernel has it (5.13 and later).
//!
//! The tree itself is already the allow-list; Landlock adds that a mount made visible by mistake would still
//! not be writable, and (6.12 and later) that signals and abstract sockets do not leave the sandbox.

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope,
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
    let everywhere = AccessFs::from_read(abi);
    for (path, access) in [
        ("/", everywhere),
        ("/tmp", AccessFs::from_all(abi)),
        ("/mnt", AccessFs::from_all(abi)),
        ("/dev", everywhere | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev),
        ("/proc", everywhere | AccessFs::WriteFile | AccessFs::Truncate),
    ] {
        let directory = PathFd::new(path).map_err(|error| io::Error::other(error.to_string()))?;
        ruleset = ruleset.add_rule(PathBeneath::new(directory, access)).map_err(failed)?;
    }
    ruleset.restrict_self().map_err(failed)?;
    Ok(())
}
