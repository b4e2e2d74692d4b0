//! The system call filter around real programs: what they do in ordinary work goes on, what is forbidden fails
//! as stated. Needs no root: the filter is installed in a child between fork and exec.

#![allow(clippy::unwrap_used)] // The helpers of tests are outside the functions the lint exempts.
#![allow(unsafe_code)]

use lamplight_sandbox::seccomp;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

/// Runs a program under the filter.
fn filtered(program: &str, arguments: &[&str]) -> Output {
    let filter = seccomp::compile();
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", "/usr/local/go/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    // SAFETY: between fork and exec only prctl and seccomp are called; the filter was compiled before.
    unsafe {
        command.pre_exec(move || {
            rustix::thread::set_no_new_privs(true)?;
            seccomp::install(&filter)
        });
    }
    command.output().unwrap_or_else(|error| panic!("failed to start {program}: {error}"))
}

#[track_caller]
fn check(program: &str, arguments: &[&str], expected: &str) {
    let output = filtered(program, arguments);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} ended with {}: {errors}", output.status);
    assert_eq!(text.trim_end(), expected, "{errors}");
}

/// An interpreter a developer's machine may lack; continuous integration must have it.
fn present(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "{program} is not installed");
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

const PYTHON: &str = "/usr/bin/python3";

#[test]
fn python_works() {
    if !present(PYTHON) {
        return;
    }
    let script = r#"
import asyncio, concurrent.futures, os, signal, socket, sqlite3, ssl, subprocess, tempfile, threading, time
assert subprocess.run(["sh", "-c", "echo child | tr a-z A-Z"], capture_output=True, text=True).stdout == "CHILD\n"
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert sum(pool.map(lambda x: x * x, range(100))) == 328350
with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "a.db")
    database = sqlite3.connect(path)
    database.execute("pragma journal_mode=wal")
    database.execute("create table t(x)")
    database.executemany("insert into t values(?)", [(i,) for i in range(1000)])
    database.commit()
    assert database.execute("select sum(x) from t").fetchone() == (499500,)
    os.chmod(path, 0o600); os.symlink(path, path + ".l"); os.link(path, path + ".h"); os.rename(path + ".h", path + ".r")
    assert len(os.listdir(directory)) >= 3
pid = os.fork()
if pid == 0:
    os._exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
async def main():
    server = await asyncio.start_server(lambda r, w: (w.write(b"hello"), w.close()), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b"hello"
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
asyncio.run(main())
left, right = socket.socketpair(); left.send(b"x"); assert right.recv(1) == b"x"
signal.signal(signal.SIGALRM, lambda *_: None); signal.setitimer(signal.ITIMER_REAL, 0.001); signal.pause()
ssl.create_default_context(); socket.getaddrinfo("127.0.0.1", 80); socket.if_nameindex()
import multiprocessing
with multiprocessing.Pool(2) as workers:
    assert workers.map(abs, [-1, -2]) == [1, 2]
print("fine")
"#;
    check(PYTHON, &["-c", script], "fine");
}

#[test]
fn node_works() {
    if !present("node") {
        return;
    }
    let script = r#"
const { Worker } = require('worker_threads'), fs = require('fs'), net = require('net'), os = require('os');
const { execFileSync } = require('child_process'), crypto = require('crypto'), zlib = require('zlib');
if (execFileSync('sh', ['-c', 'echo child']).toString() !== 'child\n') throw 1;
const directory = fs.mkdtempSync('/tmp/seccomp-');
fs.writeFileSync(directory + '/a', 'x'); fs.copyFileSync(directory + '/a', directory + '/b'); fs.rmSync(directory, { recursive: true });
zlib.gzipSync('a'); os.networkInterfaces(); os.cpus();
const server = net.createServer(socket => socket.end('hello')).listen(0, '127.0.0.1', () => {
  net.connect(server.address().port).on('data', data => {
    server.close();
    crypto.pbkdf2('a', 'b', 1000, 8, 'sha256', () => fs.promises.readFile('/etc/passwd').then(() =>
      new Worker('require("worker_threads").parentPort.postMessage(7)', { eval: true })
        .on('message', seven => console.log(data.toString() + seven))));
  });
});
"#;
    check("node", &["-e", script], "hello7");
}

#[test]
fn the_jvm_works() {
    if !present("java") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("Hello.java");
    std::fs::write(
        &source,
        r#"import java.net.*; import java.util.stream.*;
public class Hello { public static void main(String[] a) throws Exception {
  int sum = IntStream.range(0, 1000).parallel().sum();
  Process p = new ProcessBuilder("echo", "child").start();
  String child = new String(p.getInputStream().readAllBytes()).trim();
  try (ServerSocket s = new ServerSocket(0)) { new Socket("127.0.0.1", s.getLocalPort()).close(); s.accept().close(); }
  System.out.println(child + sum); } }"#,
    )
    .unwrap();
    check("java", &[source.to_str().unwrap()], "child499500");
}

#[test]
fn shell_pipelines_and_archives_work() {
    let script = "set -e; d=$(mktemp -d); cd $d; seq 1000 | sort -rn | head -1; echo a >a; tar czf a.tgz a; rm a; \
                  tar xzf a.tgz; cat a; find . -type f | wc -l; (sleep 0.01 & wait); date >/dev/null; \
                  ls -l /proc/self/fd >/dev/null; cd /; rm -r $d";
    check("bash", &["-c", script], "1000\na\n2");
}

#[test]
fn forbidden_calls_fail_as_stated() {
    if !present(PYTHON) {
        return;
    }
    // Each call gets arguments that could not succeed anyway, but would fail in another way.
    let expected = [
        ("mount", libc::SYS_mount, libc::EPERM),
        ("ptrace", libc::SYS_ptrace, libc::EPERM),
        ("process_vm_readv", libc::SYS_process_vm_readv, libc::EPERM),
        ("bpf", libc::SYS_bpf, libc::EPERM),
        ("userfaultfd", libc::SYS_userfaultfd, libc::EPERM),
        ("io_uring_setup", libc::SYS_io_uring_setup, libc::EPERM),
        ("keyctl", libc::SYS_keyctl, libc::EPERM),
        ("perf_event_open", libc::SYS_perf_event_open, libc::EPERM),
        ("setns", libc::SYS_setns, libc::EPERM),
        ("unshare", libc::SYS_unshare, libc::EPERM),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, libc::EPERM),
        ("pivot_root", libc::SYS_pivot_root, libc::EPERM),
        ("chroot", libc::SYS_chroot, libc::EPERM),
        ("fsopen", libc::SYS_fsopen, libc::EPERM),
        ("kexec_load", libc::SYS_kexec_load, libc::EPERM),
        ("clone3", libc::SYS_clone3, libc::ENOSYS),
        ("nonsense", 999, libc::ENOSYS),
    ];
    let mut script =
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfor name, number in [".to_owned();
    for (name, number, _) in expected {
        script += &format!("({name:?}, {number}),");
    }
    script += "]:\n    ctypes.set_errno(0)\n    print(name, libc.syscall(ctypes.c_long(number), -1, -1, -1, -1, -1, -1), ctypes.get_errno())";
    let lines: Vec<String> = expected.iter().map(|(name, _, errno)| format!("{name} -1 {errno}")).collect();
    check(PYTHON, &["-c", &script], &lines.join("\n"));
}

#[test]
fn forbidden_sockets_and_namespaces_fail_as_stated() {
    if !present(PYTHON) {
        return;
    }
    let script = r#"
import ctypes, errno, os, socket
def attempt(*arguments):
    try:
        socket.socket(*arguments).close()
        return "made"
    except OSError as error:
        return errno.errorcode[error.errno]
print(attempt(socket.AF_PACKET, socket.SOCK_RAW), attempt(socket.AF_VSOCK, socket.SOCK_STREAM), attempt(38, socket.SOCK_SEQPACKET))
print(attempt(socket.AF_NETLINK, socket.SOCK_RAW, 12), attempt(socket.AF_NETLINK, socket.SOCK_RAW, 0))
print(attempt(socket.AF_INET, socket.SOCK_STREAM, 262), attempt(socket.AF_INET, socket.SOCK_STREAM), attempt(socket.AF_INET6, socket.SOCK_DGRAM))
libc = ctypes.CDLL(None, use_errno=True)
for flag in (0x10000000, 0x00020000, 0x40000000, 0x20000000):
    assert libc.syscall(ctypes.c_long(SYS_CLONE), ctypes.c_ulong(flag | 17), 0, 0, 0, 0) == -1
    assert ctypes.get_errno() == errno.EPERM, ctypes.get_errno()
print("no namespaces")
"#;
    let script = script.replace("SYS_CLONE", &libc::SYS_clone.to_string());
    check(
        PYTHON,
        &["-c", &script],
        "EAFNOSUPPORT EAFNOSUPPORT EAFNOSUPPORT\nEAFNOSUPPORT made\nEPROTONOSUPPORT made made\nno namespaces",
    );
}
