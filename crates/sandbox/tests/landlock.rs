//! Landlock around a real program, in a process that could otherwise write everywhere its user may.

#![allow(clippy::unwrap_used)] // The helpers of tests are outside the functions the lint exempts.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Whether this kernel has Landlock. Source: landlock_create_ruleset(2), LANDLOCK_CREATE_RULESET_VERSION.
fn supported() -> bool {
    // SAFETY: asks for the version; takes no pointer.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) };
    if version < 1 {
        println!("skipped: this kernel has no Landlock");
    }
    version >= 1
}

#[track_caller]
fn check(script: &str, expected: &str) {
    let mut command = Command::new("bash");
    command.args(["-c", script]);
    // SAFETY: the C library keeps its allocator usable between fork and exec; nothing else is shared.
    unsafe {
        command.pre_exec(lamplight_sandbox::landlock::restrict);
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), expected, "{}: {errors}", output.status);
}

#[test]
fn only_temporary_and_mounted_directories_are_writable() {
    if !supported() {
        return;
    }
    // Not below /tmp, which stays writable.
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    let inside = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::write(elsewhere.path().join("old"), "old").unwrap();
    let script = format!(
        "cd {elsewhere}; for attempt in 'echo 1 >new' 'echo 1 >>old' 'truncate -s 0 old' 'mkdir d' 'rm old' 'ln -s a b' \
         'mv old {inside}/' 'mkfifo f'; do (eval $attempt) 2>/dev/null && echo did $attempt; done; cat old; echo; \
         cd {inside} && echo 1 >a && mkdir d && mv a d/b && ln d/b c && mkfifo f && rm -r d c f && echo fine",
        elsewhere = elsewhere.path().display(),
        inside = inside.path().display(),
    );
    check(&script, "old\nfine");
}

#[test]
fn ordinary_programs_go_on() {
    let script = "echo a | tee /dev/null | cat; echo b >/dev/stderr; echo c >/dev/stdout; head -c 3 /dev/zero | wc -c; \
                  ls /proc/self/fd >/dev/null && cat <(echo d) && exec 3<>/dev/tcp/127.0.0.1/9 || echo refused";
    check(&format!("({script}) 2>/dev/null"), "a\nc\n3\nd\nrefused");
}
